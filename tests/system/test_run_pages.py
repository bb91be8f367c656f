"""A retraining from the alarm to the promotion and back, on pages, with a real runner."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from audit import records
from audit.store import connections
from audit.store.ledger import Ledger
from services import clock, secret
from services.auditing import auditor
from services.identifiers import identifier
from services.settings import Settings
from tests import browser, lamps, served

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(1500),  # a real training, however busy the machine is
    pytest.mark.skipif(bool(browser.missing()), reason=str(browser.missing())),
]
MODEL = lamps.MODEL
ALARM = "0123456789abcdef0123456789"
LIMIT = 200_000  # bytes of a page beside its images
SECONDS = 1000  # milliseconds of Playwright's


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[SimpleNamespace]:
    """A server, its runner, a plan that asks for one person, and one alarm that stands."""
    home = tmp_path_factory.mktemp("runs")
    registry, _ = lamps.champion(home)
    chosen = {"default_model": MODEL, "change_control": lamps.plan(home, by="one")}
    raise_alarm(Settings(home=home, **chosen))
    with served.serve(home, registry, auditor=False, **chosen) as server:
        loop = lamps.Loop(server.settings)
        loop.start()
        with browser.browser() as running:
            yield SimpleNamespace(server=server, loop=loop, browser=running)
        loop.kill()
        loop.rows.engine.dispose()


def raise_alarm(chosen: Settings) -> None:
    ledger = Ledger(connections.open_writer(chosen.store), secret.secret_key(chosen.chain_key))
    now = clock.now()
    auditor.connect(chosen, ledger).prepare(now=now)
    with ledger.batch(now=now) as batch:
        batch.append(
            records.AlarmEvent(
                event_id=identifier(now),
                event_time=now,
                alarm_id=ALARM,
                model=MODEL,
                version=1,
                measure="activation_recall",
                class_label="bright",
                side="low",
                source="client",
                state="alarm",
                evidence={"observations": 70.0, "value": 21000.0, "threshold": 20000.0},
                actor="auditor",
            )
        )
    ledger.engine.dispose()


@contextmanager
def opened(site, path: str, *, strict: bool = True, **options: object) -> Iterator:
    """A page in a browser context of its own; what it should not have done fails the test."""
    context = site.browser.new_context(bypass_csp=not strict, **options)
    watch = browser.Watch(urlsplit(site.server.url).netloc)
    try:
        page = context.new_page()
        page.set_default_timeout(30 * SECONDS)
        watch.follow(page)
        page.goto(site.server.url + path)
        page.locator("h1").wait_for()
        yield page
        assert [] == watch.errors
        assert [] == watch.elsewhere
        assert watch.transferred < LIMIT
    finally:
        context.close()


@pytest.fixture(scope="module")
def waiting(site) -> str:
    """Asked for on the alarm's page, watched until it waits for approval."""
    with opened(site, "/alarms") as page:
        page.get_by_role("button", name="Open a retraining…").click()
        dialog = page.locator("dialog[open]")
        assert (
            "Activation Recall of class bright has fallen"
            == dialog.get_by_label("Reason").input_value()
        )
        dialog.get_by_label("Recipe").select_option("rrr")
        dialog.get_by_label("Your name").fill("ada")
        dialog.get_by_role("button", name="Open the retraining").click()
        page.get_by_role("heading", name=f"Retraining of {MODEL}").wait_for()
        page.get_by_text("The gate passed version 2.").wait_for(timeout=900 * SECONDS)
        page.locator("#now", has_text="Epoch 1 of 1").wait_for()
        page.locator("#losses canvas").wait_for()
        page.locator("#log", has_text="exported, compared with torch").wait_for()
        assert "holds" in page.locator("table.gate").inner_text()
        return page.url.rpartition("/")[2]


@pytest.mark.parametrize("place", ["/runs", "/runs/{}", "/alarms"])
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_nothing_keeps_anybody_out(site, waiting, place, scheme, width) -> None:
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415 - skipped without

    size = {"width": width, "height": 800}
    options = {"strict": False, "color_scheme": scheme, "viewport": size}
    with opened(site, place.format(waiting), **options) as page:
        if "{}" in place:
            page.locator("#losses canvas").wait_for()
            page.get_by_role("button", name="Approve…").click()
        found = Axe().run(page).response["violations"]
        shown = [(each["id"], [node["html"][:150] for node in each["nodes"]]) for each in found]
        wide = page.evaluate("document.documentElement.scrollWidth")

    assert [] == shown
    assert wide <= width


def test_pairs_are_drawn_and_laid_bare_while_a_key_is_held(site, waiting) -> None:
    with opened(site, f"/runs/{waiting}") as page:
        page.locator("figure[data-pair]").first.scroll_into_view_if_needed()
        canvas = page.locator("figure[data-drawn] canvas").first
        canvas.wait_for()
        shown = canvas.evaluate("canvas => canvas.toDataURL()")
        page.keyboard.down("h")
        held = canvas.evaluate("canvas => canvas.toDataURL()")
        page.keyboard.up("h")

        assert shown != held


def test_a_dialog_that_is_left_decides_nothing(site, waiting) -> None:
    with opened(site, f"/runs/{waiting}") as page:
        page.get_by_role("button", name="Cancel…").click()
        page.keyboard.press("Escape")
        assert page.locator("dialog[open]").count() == 0
    assert "awaiting_approval" == site.loop.rows.get(waiting).status


def test_a_candidate_is_approved_by_keyboard_and_rolled_back_by_mouse(site, waiting) -> None:
    with opened(site, f"/runs/{waiting}") as page:
        page.get_by_role("button", name="Approve…").focus()
        page.keyboard.press("Enter")
        page.get_by_label("Your name").and_(page.locator("dialog[open] input")).focus()
        page.keyboard.type("bob")
        page.keyboard.press("Tab")
        page.keyboard.type("<b>right</b> for the right reason")
        page.keyboard.press("Enter")
        page.locator("h1 + .pill.ok", has_text="promoted").wait_for(timeout=300 * SECONDS)
        assert page.locator("#later b").count() == 0

        page.get_by_role("button", name="Roll back…").click()
        dialog = page.locator("dialog[open]")
        dialog.get_by_label("Your name").fill("bob")
        dialog.get_by_label("Reason").fill("only a test")
        dialog.get_by_role("button", name="Roll back to version 1").click()
        page.get_by_role("button", name="Promote by hand…").wait_for()

    assert 1 == site.server.ask("GET", f"/v1/models/{MODEL}").json()["champion"]
    assert f"/runs/{waiting}" in site.server.ask("GET", "/").body.decode()
    assert f"/runs/{waiting}" in site.server.ask("GET", f"/models/{MODEL}").body.decode()


def test_a_training_is_watched_and_cancelled(site) -> None:
    name = site.server.post_json(
        "/v1/retrainings",
        {"model": MODEL, "reason": "a long one", "hyperparameters": {"epochs": 2000}},
    ).json()["retraining_id"]
    with opened(site, f"/runs/{name}") as page:
        page.locator("#now", has_text="of 2000").wait_for(timeout=300 * SECONDS)
        page.get_by_role("button", name="Cancel…").click()
        dialog = page.locator("dialog[open]")
        dialog.get_by_label("Your name").fill("eve")
        dialog.get_by_role("button", name="Cancel the retraining").click()
        page.locator(".note", has_text="Cancelled by eve").wait_for(timeout=300 * SECONDS)

    assert "cancelled" == site.loop.rows.get(name).status
