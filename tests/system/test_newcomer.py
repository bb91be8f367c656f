"""The newcomer's path as `docs/how-to/review.md` tells it: from an alarm to a promoted model."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from services.settings import Settings
from services.showing import tour
from tests import browser, served

pytestmark = [
    pytest.mark.system,
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(browser.missing()), reason=str(browser.missing())),
]
MINUTES = 60_000  # milliseconds of Playwright's


@pytest.fixture
def chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    return tour.settings_for(tmp_path / "home", served.free_port())


def test_from_the_alarm_to_a_promoted_model_with_the_browser_alone(chosen: Settings) -> None:
    with tour.begun(chosen) as (client, alarmed), browser.browser() as running:
        assert alarmed
        watch = browser.Watch(urlsplit(str(client.base_url)).netloc)
        page = running.new_context().new_page()
        page.set_default_timeout(MINUTES)
        watch.follow(page)

        page.goto(str(client.base_url))
        page.get_by_text("Version 1 answers").wait_for()
        page.locator("a.pill.alarm").click()

        page.get_by_role("link", name="Review", exact=True).click()
        page.locator("#says", has_text="says").wait_for()
        page.get_by_label("Your name").fill("ada")
        page.get_by_role("button", name="Wrong reason").click()
        page.get_by_text("Written down: wrong reason.").wait_for()

        page.get_by_role("link", name="Alarms", exact=True).click()
        page.get_by_role("button", name="Open a retraining…").first.click()
        dialog = page.locator("dialog[open]")
        assert "rrr" == dialog.get_by_label("Recipe").input_value()
        dialog.get_by_label("Your name").fill("ada")
        dialog.get_by_role("button", name="Open the retraining").click()

        page.get_by_role("heading", name="Retraining of digits").wait_for()
        page.locator("#now", has_text=" of 8").wait_for(timeout=10 * MINUTES)
        page.locator("#losses canvas").wait_for()
        page.get_by_text("The gate passed version 2.").wait_for(timeout=30 * MINUTES)
        assert "passed" in page.locator("h2#gate").inner_text()
        assert page.locator("figure[data-pair]").count() >= 10

        page.get_by_role("button", name="Approve…").click()
        dialog.get_by_label("Your name").fill("ada")
        dialog.get_by_label("Reason").fill("looks at the digit, not at the square")
        dialog.get_by_role("button", name="Approve version 2").click()
        page.locator("h1 + .pill.ok", has_text="promoted").wait_for(timeout=10 * MINUTES)

        page.get_by_role("link", name="Overview", exact=True).click()
        page.get_by_text("Version 2 answers, since").wait_for()
        assert [] == watch.errors
        assert [] == watch.elsewhere
