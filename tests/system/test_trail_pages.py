"""Signing in and the audit trail in a real browser: by mouse, by keyboard, for everybody."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from audit.store import connections
from audit.store.ledger import Ledger
from services import clock, secret
from services.access.keys import Keys
from services.access.principals import Role
from services.auditing import auditor
from tests import browser, graphs, served

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(bool(browser.missing()), reason=str(browser.missing())),
]
MODEL = served.MODEL
LIMIT = 200_000  # bytes of a page beside its images


def png(pixels) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[SimpleNamespace]:
    """A server with sign-in, sixty answers in its store, one of them reviewed."""
    home = tmp_path_factory.mktemp("trail")
    registry = served.registry_of_colours(home, 40.0, 20.0)
    with served.serve(home, registry, sign_in="keys") as server, browser.browser() as running:
        keys = Keys(server.settings.keys)
        roles = [each for each in Role if each is not Role.ANYONE]
        held = {each.word: keys.add(f"{each.word}-ada", each, now=clock.now()) for each in roles}
        ids = []
        for number in range(60):
            image = graphs.patch(graphs.CLASSES[number % 3], 4 * (number % 4), 4)
            region = png(image.max(axis=2) > 200)
            answer = server.post_form("/predict", ("image", png(image)), ("region", region))
            ids.append(answer.json()["prediction_id"])
        verdict = b'{"verdict": "wrong-reason", "note": "the corner", "actor": "mallory"}'
        told = server.ask(
            "POST",
            f"/v1/predictions/{ids[0]}/reviews",
            verdict,
            content_type="application/json",
            authorization=f"Bearer {held['reviewer']}",
        )
        assert 202 == told.status, told.body
        ledger = Ledger(
            connections.open_writer(server.settings.store),
            secret.secret_key(server.settings.chain_key),
        )
        audited = auditor.connect(server.settings, ledger)
        audited.prepare(now=clock.now())
        while audited.step(now=clock.now()):
            pass
        yield SimpleNamespace(server=server, browser=running, held=held, ids=ids, audited=audited)
        ledger.engine.dispose()


@contextmanager
def opened(
    site, path: str, role: str = "approver", *, strict: bool = True, **options: object
) -> Iterator:
    """A page of somebody with this role; what it should not have done fails the test."""
    context = site.browser.new_context(bypass_csp=not strict, **options)
    watch = browser.Watch(urlsplit(site.server.url).netloc)
    try:
        page = context.new_page()
        page.set_default_timeout(15_000)
        watch.follow(page)
        page.goto(site.server.url + path)
        if role:
            page.get_by_label("API key").fill(site.held[role])
            page.keyboard.press("Enter")
            page.wait_for_url(lambda url: "/sign-in" not in url)
        page.wait_for_load_state("networkidle")
        yield page
        assert [] == watch.errors
        assert [] == watch.elsewhere
        assert watch.transferred < LIMIT
    finally:
        context.close()


PLACES = {"sign-in": ("/sign-in", ""), "trail": ("/trail", "approver"), "record": ("", "viewer")}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_nothing_keeps_anybody_out(site, place, scheme, width) -> None:
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415 - skipped without

    path, role = PLACES[place]
    size = {"width": width, "height": 800}
    where = path or f"/trail/{site.ids[0]}"
    with opened(site, where, role, strict=False, color_scheme=scheme, viewport=size) as page:
        found = Axe().run(page).response["violations"]
        shown = [(each["id"], [node["html"][:150] for node in each["nodes"]]) for each in found]

        assert [] == shown
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_signing_in_and_out_by_keyboard_alone(site) -> None:
    with opened(site, "/alarms?show=all", "") as page:
        assert page.url.endswith("/sign-in?next=/alarms%3Fshow%3Dall")
        page.keyboard.type(site.held["viewer"])  # the field has the focus
        page.keyboard.press("Enter")
        page.wait_for_url("**/alarms?show=all")
        assert "viewer-ada" in page.locator("header").inner_text()
        page.get_by_role("button", name="Sign out").focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**/sign-in")
        page.goto(site.server.url + "/trail")
        assert "/sign-in" in page.url


def test_a_wrong_key_is_said_and_the_way_back_is_kept(site) -> None:
    context = site.browser.new_context()
    page = context.new_page()
    page.goto(site.server.url + "/trail")
    page.get_by_label("API key").fill("nonsense")
    page.get_by_role("button", name="Sign in").click()
    assert "does not count" in page.get_by_role("alert").inner_text()
    page.get_by_label("API key").fill(site.held["viewer"])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/trail")
    context.close()


def test_a_change_from_a_page_carries_the_signed_in_name(site) -> None:
    with opened(site, f"/models/{MODEL}") as page:
        form = page.locator("form[action$=promotions]")
        assert form.get_by_label("Your name").count() == 0
        form.get_by_label("Reason").fill("better")
        form.get_by_role("button", name="Promote").click()
        page.get_by_text("Promoted 2").wait_for()

    assert "approver-ada" == site.server.registry.pointer(MODEL).history[-1].actor


def test_what_a_role_may_not_do_is_not_offered(site) -> None:
    with opened(site, f"/models/{MODEL}", "viewer") as page:
        assert page.get_by_role("button", name="Promote").count() == 0
    with opened(site, "/trail", "viewer") as page:
        assert page.get_by_role("button", name="Verify now").count() == 0
        assert page.get_by_role("button", name="Export").count() == 0


def test_errors_are_pages_for_people_and_problems_for_programs(site) -> None:
    key = f"Bearer {site.held['viewer']}"
    for path, status, word in (("/nothing", 404, "Not Found"), ("/models/none", 404, "none")):
        page = site.server.ask("GET", path, accept="text/html", authorization=key)
        problem = site.server.ask("GET", path, authorization=key)

        assert (status, status) == (page.status, problem.status)
        assert page.headers["content-type"].startswith("text/html")
        assert word in page.body.decode()
        assert problem.headers["content-type"] == "application/problem+json"
    rest = site.server.ask("GET", "/v1/nothing", accept="text/html", authorization=key)
    assert rest.headers["content-type"] == "application/problem+json"


def test_the_trail_is_paged_and_filtered_by_mouse(site) -> None:
    with opened(site, "/trail") as page:
        numbers = page.locator("table.events tbody tr")
        assert numbers.count() == 50
        page.get_by_role("link", name="Older events").click()
        page.wait_for_url("**cursor=*")
        older = numbers.count()
        page.get_by_label("Kind").select_option("review")
        page.get_by_role("button", name="Filter").click()
        page.wait_for_url("**kind=review*")

        assert 11 <= older <= 50
        assert numbers.count() == 1
        assert "wrong reason: the corner" in numbers.first.inner_text()
        assert "reviewer-ada" in numbers.first.inner_text()  # and not mallory
        page.get_by_label("Class").fill("no such class")
        page.get_by_label("Class").press("Enter")
        page.get_by_role("heading", name="Nothing fits").wait_for()


def test_one_answer_shows_everything_by_keyboard(site) -> None:
    with opened(site, "/trail", "viewer") as page:
        page.get_by_label("Identifier of an answer").focus()
        page.keyboard.type(site.ids[0])
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/trail/{site.ids[0]}")
        text = page.locator("main").inner_text()
        natural = page.locator("img[alt^='The pixels']").evaluate("image => image.naturalWidth")

        assert graphs.SIDE == natural
        for words in ("Activation Recall", "wrong reason: the corner", "reviewer-ada", "Seal"):
            assert words in text
        assert f"{MODEL} 1" in text
        assert "the first one" in text  # why the version was promoted
        page.get_by_role("link", name="Review", exact=True).last.focus()


def test_the_trail_is_verified_and_a_change_is_found(site) -> None:
    with opened(site, "/trail") as page:
        page.get_by_role("button", name="Verify now").focus()
        page.keyboard.press("Enter")
        page.get_by_text("events, 0 of them erased").wait_for()
        assert "approver-ada" in page.locator("#checked").inner_text()
        with site.audited.ledger.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE predictions SET class_label = 'none' WHERE seq = 3")
        page.get_by_role("button", name="Verify now").click()
        page.get_by_text("not intact").wait_for()

        assert "class_label" in page.locator(".findings").inner_text()
        with site.audited.ledger.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE predictions SET class_label = 'red' WHERE seq = 3")


def test_the_export_comes_with_its_checker(site) -> None:
    with opened(site, "/trail") as page:
        with page.expect_download() as coming:
            page.get_by_role("button", name="Export").click()
        names = zipfile.ZipFile(coming.value.path()).namelist()

    assert {"events.jsonl", "check.py"} <= set(names)
    assert coming.value.suggested_filename.startswith("rightly-audit-1-")
    assert np.all([each.isascii() for each in names])
