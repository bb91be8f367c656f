"""Answers worked out by hand on the tiny classifier, and that nothing is given unrecorded."""

import numpy as np
import pytest

from audit.errors import JournalUnavailableError
from models import stopping
from models.errors import ExplainerError, StoppedError, UnreadableImageError
from models.pictures.decoding import Limits
from models.runtime import Session
from models.stopping import Stop
from models.types import Attribution
from services import clock
from services.answering.answerer import Answerer, Question, heatmap_of, target_index
from services.answering.budget import Budget
from services.answering.champions import Champions
from services.contract.predictions import Options
from services.errors import RequestError, TooLargeError
from services.pictures.png import compressed
from services.records.recording import Recorder
from tests import graphs
from tests.served import MODEL, registry_of_colours

LIMITS = Limits(max_bytes=1_000_000, max_pixels=1_000_000)
KEY = bytes(32)


class Kept:
    """A journal that keeps what it is given, or refuses it."""

    def __init__(self, *, broken: bool = False) -> None:
        self.entries: list[bytes] = []
        self.broken = broken

    def append(self, entries) -> None:
        if self.broken:
            raise JournalUnavailableError("the disk is full")
        self.entries += entries

    def close(self) -> None:
        """Nothing to close."""


@pytest.fixture(scope="module")
def champions(tmp_path_factory) -> Champions:
    registry = registry_of_colours(tmp_path_factory.mktemp("registry"))
    made = Champions(
        registry, lambda folder: Session.open(folder, device="cpu", threads=1), clock.now
    )
    made.refresh()
    return made


def answerer(champions, journal=None) -> Answerer:
    return Answerer(champions, Recorder(journal or Kept(), KEY), LIMITS, clock.now)


def ask(images, regions=None, **options: object) -> Question:
    return Question(images, regions or [None] * len(images), Options(**options))


def region(rows: slice, columns: slice) -> bytes:
    marked = np.zeros((16, 16), np.uint8)
    marked[rows, columns] = 1
    return compressed(marked)


RED = compressed(graphs.patch("red"))


def test_the_numbers_are_those_of_the_formulas(champions) -> None:
    """One cell of sixteen stands out by (224 - 96) / 255; logit = gain * that / 16."""
    logit = graphs.GAIN * (224 - 96) / 255 / 16
    expected = np.exp(logit) / (np.exp(logit) + 2)
    answer = answerer(champions).answer(MODEL, ask([RED]))[0]

    assert expected == pytest.approx(answer.classes[0].probability, abs=2e-6)
    assert answer.explanation.grid[0] == [1, 0, 0, 0]
    assert sum(map(sum, answer.explanation.grid)) == 1


def test_audit_numbers_use_the_share_of_each_cell(champions) -> None:
    """The region covers half of the active cell and nothing else."""
    question = ask([RED], [region(slice(0, 4), slice(0, 2))])
    audit = answerer(champions).answer(MODEL, question)[0].audit

    assert (1.0, 0.5, 1 / 32) == (audit.activation_recall, audit.relevance_mass, audit.chance)


def test_audit_numbers_are_grad_cams_whichever_explainer_is_shown(champions) -> None:
    regions = [region(slice(0, 4), slice(0, 4))]
    shown = [
        answerer(champions).answer(MODEL, ask([RED], regions, explainer=each))[0]
        for each in ("gradcam", "lrp")
    ]

    assert (4, 4) == shown[0].explanation.shape
    assert (16, 16) == shown[1].explanation.shape
    assert shown[0].audit == shown[1].audit


def test_a_batch_answers_as_its_images_do_alone(champions) -> None:
    images = [compressed(graphs.patch(colour, 8, 4)) for colour in graphs.CLASSES]
    together = answerer(champions).answer(MODEL, ask(images))
    alone = [answerer(champions).answer(MODEL, ask([each]))[0] for each in images]

    assert [each.classes for each in alone] == [each.classes for each in together]
    assert [each.explanation for each in alone] == [each.explanation for each in together]


def test_every_answer_is_written_down_with_its_image(champions) -> None:
    journal = Kept()
    answers = answerer(champions, journal).answer(MODEL, ask([RED, RED], subject="somebody"))

    assert len(journal.entries) == 4
    for answer in answers:
        assert sum(answer.prediction_id.encode() in each for each in journal.entries) == 2


def test_nothing_is_answered_that_is_not_written_down(champions) -> None:
    with pytest.raises(JournalUnavailableError):
        answerer(champions, Kept(broken=True)).answer(MODEL, ask([RED]))


def test_nothing_is_written_down_that_is_not_answered(champions) -> None:
    journal = Kept()
    with pytest.raises(UnreadableImageError, match="image 1: "):
        answerer(champions, journal).answer(MODEL, ask([RED, RED[:60]]))

    assert [] == journal.entries


def test_a_region_outside_of_what_the_classifier_sees_is_refused(champions) -> None:
    """One pixel of a large image vanishes when the image is made small."""
    large = compressed(np.zeros((800, 800, 3), np.uint8))
    dot = np.zeros((800, 800), np.uint8)
    dot[0, 0] = 1
    with pytest.raises(RequestError, match="outside"):
        answerer(champions).answer(MODEL, ask([large], [compressed(dot)]))


def test_an_explainer_that_the_version_lacks_is_refused(tmp_path) -> None:
    registry = registry_of_colours(tmp_path)
    files = graphs.write_version(tmp_path / "bare", lrp=False)
    registry.add("bare", files, now=clock.now())
    registry.promote("bare", 1, reason="a test", actor="test", now=clock.now())
    bare = Champions(
        registry, lambda folder: Session.open(folder, device="cpu", threads=1), clock.now
    )
    bare.refresh()
    with pytest.raises(ExplainerError, match="lrp"):
        answerer(bare).answer("bare", ask([RED], explainer="lrp"))


@pytest.mark.parametrize(
    ("target", "index"), [(None, None), ("b", 1), ("2", 0), ("1", 1), ("0", 0)]
)
def test_a_target_is_a_label_or_else_an_index(target, index) -> None:
    assert index == target_index(target, ("2", "b", "c"))


@pytest.mark.parametrize("target", ["d", "3", "-1", "²", "9" * 200])
def test_another_target_is_refused(target) -> None:
    with pytest.raises(RequestError, match="there are 3: a, b, c"):
        target_index(target, ("a", "b", "c"))


def test_a_heatmap_keeps_what_speaks_for_the_target() -> None:
    values = np.array([[-4, 1], [2, 0]], np.float32)
    silent = np.array([[-4, -1]], np.float32)

    assert [[0, 0.5], [1, 0]] == heatmap_of(Attribution(values, 0, "lrp/1")).tolist()
    assert [[0, 0]] == heatmap_of(Attribution(silent, 0, "lrp/1")).tolist()


def test_pixels_are_counted_before_any_is_decoded(champions) -> None:
    """The second image is cut off behind its header, so that decoding it would say so."""
    limited = Answerer(
        champions, Recorder(Kept(), KEY), LIMITS, clock.now, budget=Budget(300, 1000)
    )
    with pytest.raises(TooLargeError, match="512 pixels together"):
        limited.answer(MODEL, ask([RED, RED[:60]]))

    assert len(limited.answer(MODEL, ask([RED]))) == 1


def test_an_abandoned_request_ends_between_its_images(champions) -> None:
    stop = Stop()
    stop.stop()
    with stopping.heeding(stop), pytest.raises(StoppedError):
        answerer(champions).answer(MODEL, ask([RED, RED]))
