"""Signing in through a provider: a real one on loopback, with real tokens and real lies."""

from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from services.access import opening
from services.access.principals import Role
from services.settings import Settings, SettingsError
from tests import guarded, identity
from tests.guarded import Browser
from tests.served import MODEL

CHOSEN = {
    "sign_in": "oidc",
    "public_url": "http://rightly",
    "oidc_client_id": identity.CLIENT,
    "oidc_client_secret": identity.SECRET,
    "oidc_roles": "staff=viewer, leads=approver, robots=client",
}


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[SimpleNamespace]:
    with identity.provider() as provider:
        home = tmp_path_factory.mktemp("oidc")
        with guarded.site(home, **CHOSEN, oidc_issuer=provider.url) as site:
            yield SimpleNamespace(site=site, provider=provider)


@pytest.fixture(autouse=True)
def honest(running) -> None:
    """Each test begins with a provider that tells the truth about Ada."""
    running.provider.person, running.provider.lies = dict(identity.ADA), {}
    running.provider.forge = running.provider.silent = False


def to_provider(browser: Browser, target: str = "/") -> str:
    """Go there, agree, and return the path with which the provider sends the browser back."""
    sent = browser.ask("GET", f"/sign-in/provider?next={target}")
    assert 303 == sent.status_code, sent.text
    with httpx.Client() as client:
        back = client.get(sent.headers["location"]).headers["location"]
    parts = urlsplit(back)
    assert ("http://rightly", "/sign-in/callback") == (
        f"{parts.scheme}://{parts.netloc}",
        parts.path,
    )
    return f"{parts.path}?{parts.query}"


def test_the_provider_says_who_it_is_and_the_mapping_what_may_be_done(running) -> None:
    browser = Browser(running.site)
    back = browser.ask("GET", to_provider(browser, "/alarms%3Fshow%3Dall"))
    promoted = browser.ask(
        "POST",
        f"/v1/models/{MODEL}/promotions",
        json={"version": 2, "reason": "better", "actor": "mallory"},
        headers=browser.token,
    )

    assert (303, "/alarms?show=all") == (back.status_code, back.headers["location"])
    assert 200 == promoted.status_code, promoted.text
    moves = running.site.serving.registry.pointer(MODEL).history
    assert "ada@example.org" == moves[-1].actor


def test_the_question_keeps_its_secret_and_cannot_be_replayed(running) -> None:
    browser = Browser(running.site)
    asked = browser.ask("GET", "/sign-in/provider").headers["location"]
    said = parse_qs(urlsplit(asked).query)

    assert ["S256"] == said["code_challenge_method"]
    assert {"state", "nonce", "code_challenge"} <= set(said)
    assert "code_verifier" not in said
    path = to_provider(browser)
    copy = Browser(running.site, cookies=httpx.Cookies(browser.cookies))
    assert 303 == browser.ask("GET", path).status_code
    assert 401 == copy.ask("GET", path).status_code  # the code counts once


@pytest.mark.parametrize(
    "lies",
    [
        {"nonce": "another"},
        {"aud": "another client"},
        {"iss": "https://evil.example"},
        {"exp": 1},
    ],
    ids=lambda lies: next(iter(lies)),
)
def test_a_token_that_was_not_made_for_this_sign_in_does_not_count(running, lies) -> None:
    running.provider.lies = lies
    browser = Browser(running.site)
    answer = browser.ask("GET", to_provider(browser))

    assert 401 == answer.status_code
    assert "did not work" in answer.text
    assert 401 == browser.ask("GET", "/v1/models").status_code


def test_a_token_that_somebody_else_signed_does_not_count(running) -> None:
    running.provider.forge = True
    browser = Browser(running.site)

    assert 401 == browser.ask("GET", to_provider(browser)).status_code


def test_only_the_browser_that_asked_comes_in(running) -> None:
    """Somebody else's answer, put under a victim's nose, signs nobody in."""
    mallory, victim = Browser(running.site), Browser(running.site)
    path = to_provider(mallory)

    assert 401 == victim.ask("GET", path).status_code
    to_provider(victim)
    assert 401 == victim.ask("GET", path).status_code


def test_the_way_back_is_open_for_ten_minutes(running) -> None:
    browser = Browser(running.site)
    path = to_provider(browser)
    cookies = httpx.Cookies(browser.cookies)
    running.site.clock.ahead += timedelta(minutes=11)
    late = Browser(running.site, cookies=cookies).ask("GET", path)
    running.site.clock.ahead -= timedelta(minutes=11)

    assert 401 == late.status_code


@pytest.mark.parametrize(
    "person",
    [
        {"groups": []},
        {"groups": ["strangers"]},
        {"groups": ["robots"]},
        {"groups": None},
        {"email": ""},
        {"email_verified": False},
    ],
    ids=str,
)
def test_one_without_role_or_name_stays_outside(running, person) -> None:
    running.provider.person |= person
    browser = Browser(running.site)
    answer = browser.ask("GET", to_provider(browser))

    assert 403 == answer.status_code
    assert 401 == browser.ask("GET", "/v1/models").status_code


def test_one_word_instead_of_a_list_is_a_role_as_well(running) -> None:
    running.provider.person["groups"] = "staff"
    browser = Browser(running.site)
    browser.ask("GET", to_provider(browser))

    assert 200 == browser.ask("GET", "/v1/models").status_code
    assert "viewer" in browser.ask("GET", "/docs").text


def test_keys_count_beside_the_provider(running) -> None:
    key = running.site.bearer("robot", Role.VIEWER)

    assert 200 == running.site.ask("GET", "/v1/models", headers=key).status_code


def test_a_provider_that_is_away_or_refuses_is_said_in_words(running, tmp_path) -> None:
    refused = Browser(running.site).ask("GET", "/sign-in/callback?error=access_denied&state=x")
    with guarded.site(tmp_path, **CHOSEN, oidc_issuer=running.provider.url) as fresh:
        running.provider.silent = True
        away = Browser(fresh).ask("GET", "/sign-in/provider")

    assert (401, 503) == (refused.status_code, away.status_code)
    assert "does not answer" in away.text


def test_without_a_provider_there_is_no_such_way(tmp_path) -> None:
    with guarded.site(tmp_path, sign_in="keys") as site:
        for path in ("/sign-in/provider", "/sign-in/callback?code=x&state=y"):
            assert 404 == site.ask("GET", path).status_code


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"oidc_issuer": ""}, "oidc_issuer"),
        ({"public_url": ""}, "public_url"),
        ({"oidc_issuer": "http://id.example"}, "needs https"),
        ({"oidc_roles": "staff=king"}, "no role"),
        ({"oidc_roles": "staff"}, "word=role"),
    ],
)
def test_a_sign_in_that_cannot_work_is_said_at_the_start(tmp_path, change, words) -> None:
    chosen = {**CHOSEN, "oidc_issuer": "https://id.example", **change}
    with pytest.raises(SettingsError, match=words):
        opening.check(Settings(home=tmp_path, **chosen))
