"""The console in a real browser: by mouse, by keyboard, for everybody, and with nobody else."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import BytesIO
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pytest
import sqlalchemy as sa
from PIL import Image

from audit import records
from audit.canonical import Packed
from audit.store import connections, tables
from audit.store.ledger import Ledger
from audit.suspicions import Suspected, SuspicionEvent
from models import samples
from models.samples import Sample
from services import clock, secret
from services.auditing import auditor
from services.identifiers import identifier
from tests import browser, graphs, served

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(bool(browser.missing()), reason=str(browser.missing())),
]
MODEL = served.MODEL
PAGES = ["/", "/try", f"/models/{MODEL}", f"/review?model={MODEL}", "/alarms", "/docs"]
ANSWERS = 24
LIMIT = 200_000  # bytes of a page beside its images
ALARM = "0123456789abcdef0123456789"
SUSPICION = "fedcba9876543210fedcba9876"
# Where the cell (1, 2) of the grid lies: evidence for red.
RED = graphs.patch("red", 4, 8)


def png(pixels) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[SimpleNamespace]:
    """A server with two versions, some answers in the store, one alarm."""
    home = tmp_path_factory.mktemp("console")
    registry = served.registry_of_colours(home, 40.0)
    files = graphs.write_version(home / "made" / "sampled", gain=4.0)
    region = RED[:, :, 0] > RED[:, :, 1]
    samples.write(files, [Sample(RED, "red", region), Sample(graphs.patch("blue"), "blue")])
    registry.add(MODEL, files, now=clock.now())
    with served.serve(home, registry) as server:
        for number in range(ANSWERS):
            colour, row = graphs.CLASSES[number % 3], 4 * (number % 4)
            image = graphs.patch(colour, row, 4)
            parts = [("image", png(image))]
            if number % 4:  # three of four have a region, every other of these in the wrong place
                where = np.roll(image, 4 * (number % 2), axis=1)
                parts.append(("region", png(where.max(axis=2) > 200)))
            assert 200 == server.post_form("/predict", *parts).status
        audited = audit(server)
        with audited.ledger.batch(now=clock.now()) as batch:
            batch.append(alarm())
            batch.append(suspicion(batch.connection))
        with browser.browser() as running:
            yield SimpleNamespace(server=server, audited=audited, browser=running)
        audited.ledger.engine.dispose()


def audit(server):  # noqa: ANN201 - services.auditing.ingestion.Ingestion
    """Ingest what the server wrote, as its auditor would."""
    chosen = server.settings
    key = secret.secret_key(chosen.chain_key)
    ingestion = auditor.connect(chosen, Ledger(connections.open_writer(chosen.store), key))
    ingestion.prepare(now=clock.now())
    while ingestion.step(now=clock.now()):
        pass
    return ingestion


def alarm() -> records.AlarmEvent:
    now = clock.now() - timedelta(minutes=5)
    return records.AlarmEvent(
        event_id=identifier(now),
        event_time=now,
        alarm_id=ALARM,
        model=MODEL,
        version=1,
        measure="activation_recall",
        class_label="red",
        side="low",
        source="client",
        state="alarm",
        evidence={"observations": 70.0, "value": 21000.0, "threshold": 20000.0},
        actor="auditor",
    )


def suspicion(connection) -> SuspicionEvent:
    """What a look at the answers of a class might find."""
    table = tables.predictions
    reds = sa.select(table.c.prediction_id).where(table.c.class_label == "red").limit(4)
    now = clock.now()
    group = Suspected(
        suspicion_id=SUSPICION,
        size=4,
        share=0.5,
        heatmap=Packed.of(np.eye(4) / 4, "<f4"),
        focus=0.5,
        distance=0.9,
        score=0.67,
        examples=tuple(connection.execute(reds).scalars()),
    )
    return SuspicionEvent(identifier(now), now, MODEL, 1, "red", 8, 0.2, 2, (group,))


@contextmanager
def opened(site, path: str, *, strict: bool = True, **options: object) -> Iterator:
    """A page in a browser context of its own; what it should not have done fails the test."""
    context = site.browser.new_context(bypass_csp=not strict, **options)
    watch = browser.Watch(urlsplit(site.server.url).netloc)
    try:
        page = context.new_page()
        page.set_default_timeout(15_000)
        watch.follow(page)
        page.goto(site.server.url + path)
        page.wait_for_load_state("networkidle")
        yield page
        assert [] == watch.errors
        assert [] == watch.elsewhere
        assert watch.transferred < LIMIT
    finally:
        context.close()


def noted(site, kind: str) -> list[dict]:
    """The events of a kind in the journal, oldest first."""
    lines = [
        line
        for path in sorted(site.server.settings.journal.iterdir())
        for line in path.read_bytes().splitlines()
        if f'"kind":"{kind}"'.encode() in line
    ]
    found = [json.loads(re.search(rb"\{.*\}", line)[0]) for line in lines]
    events = [each.get("entry", each).get("event", each) for each in found]
    return sorted(events, key=lambda event: event["event_id"])


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_nothing_keeps_anybody_out(site, path, scheme, width) -> None:
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415 - skipped without

    size = {"width": width, "height": 800}
    with opened(site, path, strict=False, color_scheme=scheme, viewport=size) as page:
        found = Axe().run(page).response["violations"]
        shown = [(each["id"], [node["html"][:150] for node in each["nodes"]]) for each in found]
        wide = page.evaluate("document.documentElement.scrollWidth")

    assert [] == shown
    assert wide <= width


def test_that_the_check_above_can_fail(site) -> None:
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415 - as above

    with opened(site, "/", strict=False) as page:
        page.evaluate("document.querySelector('img').removeAttribute('alt')")
        found = Axe().run(page).response["violations"]

    assert ["image-alt"] == [each["id"] for each in found]


@pytest.mark.parametrize("path", PAGES)
def test_pages_keep_their_policy(site, path) -> None:
    with opened(site, path) as page:
        assert page.locator("h1").count() == 1


def test_that_a_broken_policy_would_be_seen(site) -> None:
    with pytest.raises(AssertionError, match="Content Security Policy"), opened(site, "/") as page:
        page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'),"
            " {textContent: '1'}))"
        )


def test_the_overview_leads_to_the_model(site) -> None:
    with opened(site, "/") as page:
        card = page.locator("article.model")

        assert "18 of 24" in card.inner_text()
        assert "1 alarm raised" in card.inner_text()
        card.get_by_role("link", name=MODEL).click()
        page.wait_for_url(f"**/models/{MODEL}")


def drawn(page, selector: str) -> str:
    return page.locator(selector).first.evaluate("canvas => canvas.toDataURL()")


def test_try_it_by_mouse(site) -> None:
    with opened(site, "/try?version=2&beside=1") as page:
        page.get_by_role("button", name="Sample 1: red").click()
        page.get_by_text("Version 2 says red").wait_for(state="attached")
        canvas = "#answers canvas"
        assert page.locator(canvas).count() == 2
        shown = drawn(page, canvas)
        page.locator("#opacity").fill("0")
        bare = drawn(page, canvas)
        page.locator("#region").uncheck()

        assert shown != bare != drawn(page, canvas)
        assert "lies in the expected region" in page.locator("#answers").inner_text()


def test_try_it_by_keyboard(site) -> None:
    with opened(site, "/try?version=2") as page:
        page.get_by_role("button", name="Sample 2: blue").focus()
        page.keyboard.press("Enter")
        page.get_by_text("Version 2 says blue").wait_for(state="attached")
        page.locator("#opacity").focus()  # a slider must not swallow the key
        shown = drawn(page, "#answers canvas")
        page.keyboard.down("h")
        held = drawn(page, "#answers canvas")
        page.keyboard.up("h")

        assert shown == drawn(page, "#answers canvas") != held


def test_try_it_with_a_file_and_another_class(site) -> None:
    with opened(site, "/try") as page:
        file = {"name": "x.png", "mimeType": "image/png", "buffer": png(graphs.patch("green"))}
        page.locator("#file").set_input_files(file)
        page.get_by_text("Version 1 says green").wait_for(state="attached")
        page.locator("[name=target]").select_option("red")
        page.get_by_text("Evidence for red.").wait_for()


def test_an_image_that_cannot_be_read_is_said_so(site) -> None:
    context = site.browser.new_context()
    page = context.new_page()
    page.goto(site.server.url + "/try")
    file = {"name": "x.png", "mimeType": "image/png", "buffer": b"no image"}
    page.locator("#file").set_input_files(file)
    page.locator("#said.wrong").wait_for()

    assert page.locator("#said").inner_text().startswith("Version 1:")
    context.close()


def test_the_model_page_promotes_by_mouse_and_rolls_back_by_keyboard(site) -> None:
    with opened(site, f"/models/{MODEL}") as page:
        form = page.locator("form[action$=promotions]")
        form.get_by_label("Your name").fill("ada")
        form.get_by_label("Reason").fill("<b>better</b>")
        form.get_by_role("button", name="Promote").click()
        page.get_by_text("Promoted 2").wait_for()
        assert page.locator(".moves b").count() == 0
        assert 2 == site.server.ask("GET", f"/v1/models/{MODEL}").json()["champion"]

        page.locator("form[action$=rollbacks]").get_by_label("Reason").focus()
        page.keyboard.type("only a test")
        page.keyboard.press("Enter")
        page.get_by_text("Rolled back to 1").wait_for()

    assert 1 == site.server.ask("GET", f"/v1/models/{MODEL}").json()["champion"]


def test_the_timeline_follows_the_choice(site) -> None:
    with opened(site, f"/models/{MODEL}") as page:
        page.locator("#timeline canvas").wait_for()
        page.locator("[name=measure]").select_option("relevance_mass")
        page.get_by_text("Relevance mass: 1 points").wait_for()
        page.get_by_text("Version 1: mean").wait_for()
        page.locator("#distribution canvas").wait_for()


def test_the_model_page_draws_what_is_watched(site) -> None:
    with opened(site, f"/models/{MODEL}") as page:
        page.locator("#watches option").nth(1).wait_for(state="attached")
        page.locator("#watched", has_text="answers").wait_for()
        page.locator("[name=watch]").focus()
        page.keyboard.press("ArrowDown")
        page.locator("#watched", has_text="answers").wait_for()
        row = page.locator("#classes + .scroll tbody tr").first.inner_text()

        assert "8" in row.split()


def test_a_suspected_shortcut_is_confirmed(site) -> None:
    with opened(site, f"/models/{MODEL}") as page:
        card = page.locator(".suspicions > li")
        assert "4 of 8" in card.inner_text()
        assert 4 == card.locator(".thumbs img").count()
        card.get_by_text("Judge it").click()
        card.get_by_label("It is a shortcut").check()
        card.get_by_label("Your name").fill("ada")
        card.get_by_label("Why").fill("always the corner")
        card.get_by_role("button", name="Write it down").click()
        card.get_by_text("Done.").wait_for()
        ingest(site)
        page.wait_for_load_state("networkidle")
    with opened(site, f"/models/{MODEL}") as page:
        page.locator(".suspicions .pill.alarm").wait_for()

    # Others act meanwhile: promotions are told to the trail too.
    said = [act for act in noted(site, "action") if act["action"] == "suspicion_verdict"]
    assert "confirmed" == said[-1]["details"]["verdict"]


def test_an_alarm_is_acknowledged_with_a_reason(site) -> None:
    with opened(site, "/alarms") as page:
        card = page.locator("article.alarm")
        assert "Activation Recall of class red has fallen" in card.inner_text()
        form = card.locator("form.answer")
        form.get_by_label("Your name").fill("ada")
        form.get_by_label("What you make of it").fill("a new camera")
        form.get_by_role("button", name="Acknowledge").click()
        form.get_by_text("Done.").wait_for()

    assert "a new camera" == noted(site, "acknowledgement")[-1]["reason"]


def test_a_review_by_keyboard_alone(site) -> None:
    with opened(site, f"/review?model={MODEL}") as page:
        page.locator("#says", has_text="says").wait_for()
        page.locator("#actor").focus()
        page.keyboard.type("ada")
        page.locator("#view").focus()
        for key in ("ArrowUp", "Space", "ArrowRight", "Space"):
            page.keyboard.press(key)
        page.get_by_text("Row 3 of 4, column 4 of 4: in the region.").wait_for()
        page.keyboard.press("z")
        page.keyboard.press("g")
        page.get_by_text("Written down, with your region: right reason.").wait_for()

    review, region = noted(site, "review")[-1], noted(site, "region")[-1]
    assert ("right-reason", "ada") == (review["verdict"], review["actor"])
    assert review["prediction_id"] == region["prediction_id"]
    assert 1 / 16 == region["region"]["area"]
    assert review["stratum"] in {"random", "chosen"}
    assert 0 < review["inclusion"] <= 1


def test_a_review_by_mouse(site) -> None:
    with opened(site, f"/review?model={MODEL}") as page:
        page.locator("#says", has_text="says").wait_for()
        page.get_by_label("Your name").fill("bob")
        box = page.locator("#view").bounding_box()
        page.mouse.move(box["x"] + 100, box["y"] + 100)
        page.mouse.down()
        page.mouse.move(box["x"] + 300, box["y"] + 100, steps=4)
        page.mouse.up()
        page.get_by_role("button", name="Undo").click()
        assert page.get_by_role("button", name="Clear").is_disabled()
        page.get_by_role("button", name="Wrong reason").click()
        page.get_by_text("Written down: wrong reason.").wait_for()

    assert "bob" == noted(site, "review")[-1]["actor"]


def test_blind_first_shows_nothing_before_the_reviewer_has_said_what_it_is(site) -> None:
    with opened(site, f"/review?model={MODEL}&blind=true") as page:
        page.get_by_text("Which class do you see?").wait_for()
        page.wait_for_load_state("networkidle")
        assert not page.locator("#says").is_visible()
        hidden = drawn(page, "#view")
        page.locator("#seen-class").select_option("red")
        page.get_by_role("button", name="Show the answer").click()
        assert page.locator("#says").is_visible()
        assert hidden != drawn(page, "#view")
        page.locator("#actor").fill("eve")
        page.get_by_role("button", name="Unsure").click()
        page.get_by_text("Written down: unsure.").wait_for()

    review = noted(site, "review")[-1]
    assert (True, "red") == (review["blind"], review["label"])


def opened_answer(page) -> None:
    page.locator("#says", has_text="says").wait_for()


def corner_of(page, across: float, down: float) -> tuple[float, float]:
    box = page.locator("#view").bounding_box()
    return box["x"] + across * box["width"], box["y"] + down * box["height"]


def test_a_polygon_is_drawn_by_keyboard_and_an_exemplar_marked(site) -> None:
    with opened(site, f"/review?model={MODEL}") as page:
        opened_answer(page)
        page.locator("#actor").fill("ada")
        page.locator("#view").focus()
        # From the middle, a quarter to the right and a quarter down: half a square of 4 pixels.
        for key in ("3", "Space", *["ArrowRight"] * 8, "Space", *["ArrowDown"] * 8, "Space"):
            page.keyboard.press(key)
        page.keyboard.press("Enter")
        page.get_by_text("The polygon is in the region.").wait_for()
        for key in ("z", "y", "+", "Shift+ArrowRight", "0", "e", "b"):
            page.keyboard.press(key)
        page.get_by_text("with your region: wrong reason, a bad exemplar.").wait_for()

    review, region = noted(site, "review")[-1], noted(site, "region")[-1]
    assert ("bad", "first") == (review["exemplar"], review["reading"])
    assert (10 / 256, "") == (region["region"]["area"], region["basis"])


def test_a_polygon_is_drawn_by_mouse_after_zooming_and_panning(site) -> None:
    tall = {"width": 1280, "height": 1400}  # image and tools in one view
    with opened(site, f"/review?model={MODEL}", viewport=tall) as page:
        opened_answer(page)
        page.get_by_label("Your name").fill("bob")
        whole = drawn(page, "#view")
        page.mouse.move(*corner_of(page, 0.3, 0.3))
        page.mouse.wheel(0, -100)
        page.get_by_role("button", name="125 %").wait_for()
        near = drawn(page, "#view")
        page.get_by_text("Move", exact=True).click()
        page.mouse.move(*corner_of(page, 0.3, 0.3))
        page.mouse.down()
        page.mouse.move(*corner_of(page, 0.2, 0.2), steps=3)
        page.mouse.up()
        assert whole != near != drawn(page, "#view")
        page.get_by_role("button", name="125 %").click()
        page.get_by_text("Polygon", exact=True).click()
        for place in ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75), (0.25, 0.25)):
            page.mouse.click(*corner_of(page, *place))
        page.get_by_text("The polygon is in the region.").wait_for()
        page.get_by_role("button", name="Undo").click()
        page.get_by_role("button", name="Redo").click()
        page.get_by_role("button", name="Right reason").click()
        page.get_by_text("Written down, with your region: right reason.").wait_for()

    assert 0.25 == noted(site, "region")[-1]["region"]["area"]


def test_a_suggestion_is_taken_and_said_to_be_one(site) -> None:
    with opened(site, f"/review?model={MODEL}") as page:
        opened_answer(page)
        page.get_by_label("Your name").fill("bob")
        page.locator("#suggestion select").select_option(label="where the classifier looked")
        page.locator("#view").focus()
        page.keyboard.press("a")
        page.get_by_text("Taken: where the classifier looked.").wait_for()
        page.keyboard.press("u")
        page.get_by_text("Written down, with your region: unsure.").wait_for()

    assert "heatmap" == noted(site, "region")[-1]["basis"]


def test_a_second_reader_disagrees_and_a_third_decides(site) -> None:
    ingest(site)  # what other tests have judged
    with opened(site, f"/review?model={MODEL}") as page:
        opened_answer(page)
        page.get_by_label("Your name").fill("ada")
        page.get_by_role("button", name="Ask a second reader").click()
        page.get_by_text("Asked: another person").wait_for()
        page.get_by_role("button", name="Right reason").click()
        page.get_by_text("Written down: right reason.").wait_for()
    ingest(site)
    asked = noted(site, "reading_request")[-1]["prediction_id"]
    with opened(site, f"/review?model={MODEL}&kind=second&reader=bob") as page:
        opened_answer(page)
        assert "stays hidden" in page.locator("#why").inner_text()
        assert "ada" not in page.locator("#review").inner_text()
        page.locator("#actor").fill("bob")
        page.locator("#note").fill("<i>the corner</i>")
        page.locator("#view").focus()
        page.keyboard.press("b")
        page.get_by_text("Written down: wrong reason.").wait_for()
    ingest(site)
    with opened(site, f"/review?model={MODEL}&kind=differences&prediction={asked}") as page:
        opened_answer(page)
        said = page.locator("#readings").inner_text()
        assert "ada right reason" in said
        assert "bob wrong reason: <i>the corner</i>" in said
        assert "read twice" in page.locator("section.agreement").inner_text()
        page.locator("#actor").fill("cy")
        page.get_by_role("button", name="Unsure").click()
        page.get_by_text("Written down: unsure.").wait_for()

    review = noted(site, "review")[-1]
    assert (asked, "adjudication", "cy") == tuple(
        review[name] for name in ("prediction_id", "reading", "actor")
    )


def ingest(site) -> None:
    while site.audited.step(now=clock.now()):
        pass


def test_the_keys_are_shown_by_a_key_and_can_be_switched_off(site) -> None:
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415 - as above

    with opened(site, f"/review?model={MODEL}", strict=False) as page:
        opened_answer(page)
        page.locator("#view").focus()
        page.keyboard.press("?")
        page.get_by_role("heading", name="Keys").wait_for()
        assert [] == Axe().run(page).response["violations"]
        page.get_by_label("Single keys act").uncheck()
        page.keyboard.press("Escape")
        place = page.locator("#place").inner_text()
        page.keyboard.press("j")
        assert place == page.locator("#place").inner_text()
        page.get_by_role("button", name="Keys").click()
        page.get_by_label("Single keys act").check()
        page.get_by_role("button", name="Close").click()
        page.keyboard.press("j")
        assert place != page.locator("#place").inner_text()
