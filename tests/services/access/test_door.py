"""Who gets in, and as whom: through the guard, as every request comes."""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest

from services.access import roles
from services.access.principals import Role
from services.identifiers import identifier
from services.retraining.rows import Request
from services.settings import Settings, SettingsError
from services.web import rest
from services.wiring import connect
from tests import guarded
from tests.guarded import BROWSER, Browser, Site
from tests.served import MODEL

PROMOTION = {"version": 2, "reason": "better", "actor": "mallory"}
SOMEBODY = [each for each in Role if each is not Role.ANYONE]
# What stands for a parameter: well-formed, and of nothing that exists.
FILLED = {
    "model": MODEL, "version": "1", "position": "99", "name": "no.js",
    "prediction_id": "01HZ0000000000000000000000", "retraining_id": "01HZ0000000000000000000000",
    "alarm_id": "0" * 26, "event_id": "01HZ0000000000000000000000", "suspicion_id": "0" * 26,
}  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    with guarded.site(tmp_path_factory.mktemp("site"), sign_in="keys") as made:
        yield made


@pytest.fixture
def browser(site) -> Browser:
    made = Browser(site)
    assert 303 == made.sign_in(site.key("ada", Role.APPROVER)).status_code
    return made


@pytest.mark.parametrize("route", sorted(roles.ROLES))
def test_each_role_reaches_what_the_table_says_and_nothing_more(site, route) -> None:
    verb, path = route.split(" ")
    path = re.sub(r"\{(\w+)\}", lambda found: FILLED[found[1]], path)
    needed = roles.needed(*route.split(" "), open_predictions=True)

    assert (needed is Role.ANYONE) == (401 != site.ask(verb, path, content=b"?").status_code)
    for role in SOMEBODY:
        if needed is not Role.ANYONE and role in (needed - 1, needed):
            answer = site.ask(verb, path, content=b"?", headers=site.bearer(role.word, role))
            assert (role < needed) == (answer.status_code == 403), (role, answer.text)


def test_a_wrong_key_gets_the_same_answer_whatever_is_wrong(site) -> None:
    right = site.key("eve", Role.VIEWER)
    other = site.key("bob", Role.VIEWER)
    revoked = site.key("gone", Role.ADMIN)
    site.door.keys.revoke(revoked.split("_")[1], now=site.clock())
    wrong = [
        *("", "x", revoked, right[:-1], right[:-4] + "AAAA", right.upper(), f"{right} {right}"),
        f"rightly_{other.split('_')[1]}_{right.split('_', 2)[2]}",
    ]
    site.clock.ahead += timedelta(minutes=5)
    answers = [
        site.ask("GET", "/v1/models", headers={"authorization": f"Bearer {each}"})
        for each in wrong
    ]

    assert {401} == {each.status_code for each in answers}
    assert 1 == len({each.content for each in answers})
    assert "Bearer" in answers[0].headers["www-authenticate"]
    assert (
        200
        == site.ask("GET", "/v1/models", headers={"authorization": f"bearer {right}"}).status_code
    )


def test_wrong_keys_are_slowed_down_and_right_ones_are_not(site) -> None:
    site.clock.ahead += timedelta(minutes=5)
    wrong = {"authorization": "Bearer nonsense"}
    seen = [site.ask("GET", "/v1/models", headers=wrong).status_code for _ in range(12)]
    slowed = site.ask("GET", "/v1/models", headers=wrong)

    assert [401] * 10 + [429] * 2 == seen
    assert 0 < int(slowed.headers["retry-after"]) <= 60
    assert 429 == Browser(site).sign_in("nonsense").status_code
    right = site.bearer("ada", Role.VIEWER)
    assert 200 == site.ask("GET", "/v1/models", headers=right).status_code
    site.clock.ahead += timedelta(seconds=61)
    assert 401 == site.ask("GET", "/v1/models", headers=wrong).status_code


def test_the_name_in_the_trail_is_the_signed_in_one(site, browser) -> None:
    path = f"/v1/models/{MODEL}/promotions"
    by_cookie = browser.ask("POST", path, json=PROMOTION, headers=browser.token)
    robot = site.bearer("robot", Role.APPROVER)
    by_key = site.ask("POST", path, json=PROMOTION | {"version": 1}, headers=robot)
    moves = site.serving.registry.pointer(MODEL).history

    assert (200, 200) == (by_cookie.status_code, by_key.status_code), by_cookie.text
    assert ["ada", "robot"] == [each.actor for each in moves[-2:]]


@pytest.mark.parametrize("headers", [{}, {"x-csrf-token": ""}, {"x-csrf-token": "0" * 64}])
def test_a_change_by_cookie_needs_the_token_of_its_session(site, browser, headers) -> None:
    before = len(site.serving.registry.pointer(MODEL).history)
    path = f"/v1/models/{MODEL}/promotions"
    answer = browser.ask("POST", path, json=PROMOTION, headers=headers)
    other = Browser(site)
    other.sign_in(site.key("bob", Role.ADMIN))
    borrowed = browser.ask("POST", path, json=PROMOTION, headers=other.token)

    assert (403, 403) == (answer.status_code, borrowed.status_code)
    assert "token" in answer.json()["detail"]
    assert before == len(site.serving.registry.pointer(MODEL).history)


def test_another_site_changes_nothing_even_with_cookie_and_token(browser) -> None:
    foreign = {"sec-fetch-site": "cross-site", **browser.token}
    answer = browser.ask("POST", f"/v1/models/{MODEL}/promotions", json=PROMOTION, headers=foreign)

    assert (403, "another site may not change anything here") == (
        answer.status_code,
        answer.json()["detail"],
    )


def test_a_session_ends_by_time(site, browser) -> None:
    assert 200 == browser.ask("GET", "/v1/models").status_code
    site.clock.ahead += timedelta(hours=site.serving.settings.session_hours, seconds=1)

    # The browser forgets the cookie by itself; one that is kept nevertheless does not count.
    assert 401 == browser.ask("GET", "/v1/models").status_code


def test_a_session_ends_by_signing_out_for_every_copy_of_its_cookie(site, browser) -> None:
    copy = Browser(site, cookies=browser.cookies)
    token = browser.token["x-csrf-token"]
    assert 403 == browser.ask("POST", "/sign-out", data={"csrf": "forged"}).status_code
    left = browser.ask("POST", "/sign-out", data={"csrf": token})

    assert (303, "/sign-in") == (left.status_code, left.headers["location"])
    assert "Max-Age=0" in left.headers["set-cookie"]
    assert 401 == copy.ask("GET", "/v1/models").status_code


def test_a_session_ends_with_the_key_that_it_began_with(site) -> None:
    key = site.key("carl", Role.VIEWER)
    browser = Browser(site)
    browser.sign_in(key)
    assert 200 == browser.ask("GET", "/v1/models").status_code
    site.door.keys.revoke(key.split("_")[1], now=site.clock())

    assert 401 == browser.ask("GET", "/v1/models").status_code


def test_a_forged_cookie_does_not_count(site, browser) -> None:
    name = "rightly"
    cookie = browser.cookies[name]
    body, tag = cookie.split(".")
    for forged in (
        body,
        f"{body}.",
        f"{body}A.{tag}",
        f".{tag}",
        "x" * 5000,
        "%.%",
    ):
        answer = site.ask("GET", "/v1/models", headers={"cookie": f"{name}={forged}"})
        assert 401 == answer.status_code, forged


def test_the_cookie_is_out_of_reach(site) -> None:
    said = Browser(site).sign_in(site.key("ada", Role.VIEWER)).headers["set-cookie"]

    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(said.split("; "))
    assert "Max-Age=43200" in said
    assert "Secure" not in said


def test_over_https_the_cookie_stays_there(tmp_path) -> None:
    chosen = {"sign_in": "keys", "public_url": "https://rightly.example"}
    with guarded.site(tmp_path, **chosen) as site:
        said = Browser(site).sign_in(site.key("ada", Role.VIEWER)).headers["set-cookie"]

    assert said.startswith("__Host-rightly=")
    assert "Secure" in said


def test_a_page_asks_to_sign_in_and_comes_back(site) -> None:
    browser = Browser(site, headers=BROWSER)
    asked = browser.ask("GET", "/alarms?show=all&model=digits")
    form = browser.ask("GET", asked.headers["location"])
    back = browser.sign_in(site.key("ada", Role.VIEWER), next="/alarms?show=all&model=digits")

    assert (303, "/sign-in?next=/alarms%3Fshow%3Dall%26model%3Ddigits") == (
        asked.status_code,
        asked.headers["location"],
    )
    assert 'value="/alarms?show=all&amp;model=digits"' in form.text
    assert (303, "/alarms?show=all&model=digits") == (back.status_code, back.headers["location"])


@pytest.mark.parametrize(
    "target",
    [
        *("//evil.example", "///evil.example", "/\\evil.example", "\\\\evil", "/\t/evil.example"),
        *(
            "https://evil.example",
            "http:evil.example",
            "javascript:alert(1)",
            "/\n/evil",
            "evil",
            "",
        ),
    ],
)
def test_signing_in_never_leads_to_another_site(site, target) -> None:
    answer = Browser(site).sign_in(site.key("ada", Role.VIEWER), next=target)

    assert (303, "/") == (answer.status_code, answer.headers["location"])


def test_a_part_of_a_page_that_asks_without_session_sends_the_page_to_the_sign_in(site) -> None:
    headers = {"hx-request": "true", "hx-current-url": "http://rightly/alarms?show=all"}
    answer = site.ask("GET", "/overview/models", headers=headers)

    assert (401, "/sign-in?next=/alarms%3Fshow%3Dall") == (
        answer.status_code,
        answer.headers["hx-redirect"],
    )


def test_predictions_are_open_or_not_as_the_settings_say(site, tmp_path) -> None:
    path = f"/v1/models/{MODEL}/predictions"
    assert (200, 415) == (
        site.ask("POST", "/predict").status_code,
        site.ask("POST", path).status_code,
    )
    with guarded.site(tmp_path, sign_in="keys", open_predictions=False) as closed:
        key = closed.bearer("camera", Role.CLIENT)

        assert 401 == closed.ask("POST", "/predict").status_code
        assert 401 == closed.ask("POST", path).status_code
        assert 200 == closed.ask("POST", "/predict", headers=key).status_code
        assert 415 == closed.ask("POST", path, headers=key).status_code


def test_a_client_may_not_speak_as_a_reviewer(site) -> None:
    path = "/v1/predictions/01HZ0000000000000000000000/region"
    camera = site.bearer("camera", Role.CLIENT)
    body = {"region": "AAAA", "source": "reviewer"}

    assert 403 == site.ask("PUT", path, json=body, headers=camera).status_code
    body["source"] = "client"
    assert 404 == site.ask("PUT", path, json=body, headers=camera).status_code


def test_without_sign_in_everything_is_open_and_says_so(tmp_path) -> None:
    with guarded.site(tmp_path) as site:
        assert "no sign-in" in site.ask("GET", "/docs").text
        assert 200 == site.ask("GET", "/v1/models").status_code
        moved = site.ask("POST", f"/v1/models/{MODEL}/promotions", json=PROMOTION)
        assert 200 == moved.status_code
        assert "mallory" == site.serving.registry.pointer(MODEL).history[-1].actor
        assert 303 == site.ask("GET", "/sign-in").status_code
        assert not site.serving.settings.session_key.exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "rightly.example"])  # noqa: S104
def test_others_are_not_served_without_sign_in_unless_that_is_meant(tmp_path, host) -> None:
    with pytest.raises(SettingsError, match="RIGHTLY_SIGN_IN=keys"):
        connect(Settings(home=tmp_path, host=host))


def test_past_the_door_nobody_is_anybody(tmp_path) -> None:
    """The REST application by itself lets nobody decide where there is a sign-in."""
    with guarded.site(tmp_path, sign_in="keys") as site:
        application = rest.create()
        rest.connect(application, site.serving)
        site.guard = application  # type: ignore[assignment]
        answer = site.ask("POST", f"/v1/models/{MODEL}/promotions", json=PROMOTION)

    assert 403 == answer.status_code


def test_two_persons_are_two_names_however_many_keys_one_has(site) -> None:
    rows, now = site.serving.retrainings, site.clock()
    made = rows.add(identifier(now), Request(MODEL, "auto", "drift", "ada"), key=None, now=now)
    rows.move(made.retraining_id, expected=("queued",), status="awaiting_approval", now=now)
    path = f"/v1/retrainings/{made.retraining_id}/approvals"
    first = Browser(site)
    first.sign_in(site.key("ada", Role.APPROVER))
    said = {"approved": True, "reason": "fine", "actor": "bob"}
    answers = [
        first.ask("POST", path, json=said | {"actor": "ada"}, headers=first.token),
        site.ask("POST", path, json=said, headers=site.bearer("ada", Role.ADMIN)),
        site.ask("POST", path, json=said, headers=site.bearer("carl", Role.APPROVER)),
    ]

    assert [200, 409, 200] == [each.status_code for each in answers]
    assert ["ada", "carl"] == [each.actor for each in rows.approvals(made.retraining_id)]
