"""Draw the pictures of the console in this folder.

    python docs/images/draw.py [FOLDER [PAGE …]]

FOLDER keeps the staged installation for the next time; without PAGE every page is drawn.

Stages an installation (`staging.py`), serves it, and takes every page in light and dark, at 1280
and 390 pixels, in Chromium.
"""

import io
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import staging  # noqa: E402 - beside this file
from PIL import Image  # noqa: E402

from models.registry import Registry  # noqa: E402 - of this checkout
from tests import browser, served  # noqa: E402

OUT = Path(__file__).parent
SCHEMES, WIDTHS = ("light", "dark"), (1280, 390)
HEIGHT = 900  # of the window; pictures end there
LARGEST = (
    150_000  # bytes of a picture; the colours of a larger one are rounded, as little as helps
)


def overview(page: Any) -> None:  # noqa: ANN401 - Playwright's page
    """The first page as it is."""
    page.locator("article.model").wait_for()


def trial(page: Any) -> None:  # noqa: ANN401
    """A sample, tried with both versions."""
    page.locator("#samples button").nth(3).click()
    page.locator("#answers canvas").nth(1).wait_for()


def model(page: Any) -> None:  # noqa: ANN401
    """One model, once its chart is drawn."""
    page.locator("#timeline canvas").wait_for()


def review(page: Any) -> None:  # noqa: ANN401
    """An answer whose region is being drawn."""
    page.locator("#says", has_text="says").wait_for()
    page.locator("#actor").fill("ada")
    page.locator("#size").fill("14")
    box = page.locator("#view").bounding_box()
    across = [(0.62, 0.28), (0.48, 0.34), (0.4, 0.5), (0.42, 0.66), (0.55, 0.72), (0.62, 0.6)]
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in across]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places:
        page.mouse.move(*place, steps=6)
    page.mouse.up()


def alarms(page: Any) -> None:  # noqa: ANN401
    """Standing alarms."""
    page.locator("article.alarm").first.wait_for()


def runs(page: Any) -> None:  # noqa: ANN401
    """Every retraining."""
    page.locator("table.runs").wait_for()


def run(page: Any) -> None:  # noqa: ANN401
    """The newest, from its top."""
    page.goto(page.url.removesuffix("/runs") + _run(page))
    page.locator("#losses canvas").wait_for()


def gate(page: Any) -> None:  # noqa: ANN401
    """Its verdict."""
    run(page)
    _scroll(page, "h2#gate")


def pairs(page: Any) -> None:  # noqa: ANN401
    """Before and after, on the same images."""
    run(page)
    for each in page.locator("figure[data-pair]").all():
        each.scroll_into_view_if_needed()
    page.locator("figure[data-pair]:not([data-drawn])").first.wait_for(state="detached")
    _scroll(page, "h2#pairs")


def decision(page: Any) -> None:  # noqa: ANN401
    """The question before the decision that can be made."""
    run(page)
    page.get_by_role("button", name=re.compile("Approve…|Roll back…|by hand…")).first.click()
    page.locator("dialog[open]").get_by_label("Your name").fill("ada")


def trail(page: Any) -> None:  # noqa: ANN401
    """The audit trail, just verified."""
    if not page.locator("#checked .pill").count():
        page.get_by_role("button", name="Verify now").click()
    page.locator("#checked .pill").wait_for()


def record(page: Any) -> None:  # noqa: ANN401
    """The newest answer, with everything."""
    page.locator("table.events tbody th a").first.click()
    page.locator("#chain").wait_for()


def _run(page: Any) -> str:  # noqa: ANN401
    """Return the address of the newest run."""
    return str(page.locator("table.runs tbody th a").first.get_attribute("href"))


def _scroll(page: Any, selector: str) -> None:  # noqa: ANN401
    """Let an element stand a little below the upper edge."""
    page.locator(selector).evaluate(
        "node => scrollTo(0, node.getBoundingClientRect().top + scrollY - 24)"
    )


PAGES = {
    "overview": ("/", overview),
    "try": ("/try?version=1&beside=2", trial),
    "model": ("/models/digits", model),
    "review": ("/review?model=digits", review),
    "alarms": ("/alarms", alarms),
    "runs": ("/runs", runs),
    "run": ("/runs", run),
    "gate": ("/runs", gate),
    "pairs": ("/runs", pairs),
    "decision": ("/runs", decision),
    "trail": ("/trail", trail),
    "record": ("/trail?kind=prediction", record),
}


def main() -> None:
    """Stage, serve, draw."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(sys.argv[1] if len(sys.argv) > 1 else scratch).absolute()
        staged = staging.stage(home)
        registry = Registry(staged.registry)
        with (
            served.serve(
                home, registry, default_model="digits", change_control=staged.change_control
            ) as server,
            browser.browser() as b,
        ):
            chosen = sys.argv[2:] or list(PAGES)
            for name, (path, arrange) in ((each, PAGES[each]) for each in chosen):
                for scheme in SCHEMES:
                    for width in WIDTHS:
                        picture = _taken(b, server.url + path, arrange, scheme, width)
                        _write(OUT / f"{name}-{scheme}-{width}.png", picture)


def _taken(running: Any, url: str, arrange: Any, scheme: str, width: int) -> bytes:  # noqa: ANN401
    context = running.new_context(
        color_scheme=scheme, viewport={"width": width, "height": HEIGHT}, reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(url)
    page.wait_for_load_state("networkidle")
    arrange(page)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)
    whole = width == min(WIDTHS) and not page.evaluate("scrollY")
    picture = page.screenshot(full_page=whole, animations="disabled")
    context.close()
    return bytes(picture)


def _write(path: Path, picture: bytes) -> None:
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image = image.crop((0, 0, image.width, min(image.height, 2 * HEIGHT)))
    for step in (1, 2, 4, 8):
        rounded = image.point([min(255, round(value / step) * step) for value in range(256)] * 3)
        rounded.save(path, optimize=True)
        if path.stat().st_size <= LARGEST:
            return
    image.quantize(256).save(path, optimize=True)


if __name__ == "__main__":
    main()
