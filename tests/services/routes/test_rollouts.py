"""A candidate in one worker: silent in the shadow, answering as a canary, never in the way."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest

from audit import records
from audit.comparisons import ComparisonRecord
from models import rollouts
from models.pictures.decoding import Limits
from models.registry import Registry
from models.runtime import Session
from services import clock
from services.answering.answerer import Answerer, Question
from services.answering.champions import Champions
from services.contract.predictions import Options
from services.errors import RequestError
from services.pictures.png import compressed
from services.records.recording import Recorder
from services.rollouts.shadow import Shadow
from tests import graphs
from tests.served import MODEL, registry_of_colours

LIMITS = Limits(max_bytes=1_000_000, max_pixels=1_000_000)
RED = compressed(graphs.patch("red"))
NEARLY = np.full((16, 16, 3), 255, np.uint8)
NEARLY[15, 15] = 0
EVERYWHERE = compressed(NEARLY)


class Kept:
    """A journal that keeps what is written to it."""

    def __init__(self) -> None:
        self.events: list[records.Entry] = []

    def append(self, entries) -> None:
        self.events += [records.from_bytes(each) for each in entries]

    def close(self) -> None:
        """Nothing is open."""

    @property
    def comparisons(self) -> list[ComparisonRecord]:
        return [each for each in self.events if isinstance(each, ComparisonRecord)]


class Stumbling:
    """A session that does what a bad candidate may do."""

    def __init__(self, inner: Session, how: str) -> None:
        self.inner, self.how, self.going = inner, how, threading.Event()
        self.spec, self.providers = inner.spec, inner.providers

    def predict(self, images, targets=None):  # noqa: ANN201 - as a session
        if self.how == "raises":
            raise RuntimeError("out of memory")
        if self.how == "hangs":
            self.going.wait(10)
        answers = self.inner.predict(images, targets)
        if self.how == "nan":
            return [replace(each, heatmap=each.heatmap * np.nan) for each in answers]
        return answers


@dataclass
class Worker:
    registry: Registry
    champions: Champions
    shadow: Shadow
    answerer: Answerer
    journal: Kept

    def begin(self, phase: str, share: float = 1.0) -> None:
        rollouts.begin(
            self.registry, MODEL, 2, rollout_id="r1", phase=phase, share=share, reason="a test",
            actor="test", now=clock.now(),
        )  # fmt: skip
        self.champions.refresh()

    def stumble(self, how: str) -> Stumbling:
        candidate = self.champions.candidate(MODEL)
        session = Stumbling(candidate.served.session, how)
        served = candidate.served._replace(session=session)
        self.champions._candidates[MODEL] = replace(candidate, served=served)
        return session

    def ask(self, **options: str) -> int:
        asked = Question([RED], [EVERYWHERE], Options(**options))
        return self.answerer.answer(MODEL, asked)[0].model.version

    def told(self, count: int) -> list[ComparisonRecord]:
        end = monotonic() + 20
        while len(self.journal.comparisons) < count and monotonic() < end:
            sleep(0.005)
        return self.journal.comparisons


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    registry, journal = registry_of_colours(tmp_path, 40.0, 20.0), Kept()
    champions = Champions(
        registry, lambda folder: Session.open(folder, device="cpu", threads=1), clock.now
    )
    champions.refresh()
    recorder = Recorder(journal, bytes(32))
    shadow = Shadow(recorder, clock.now, deadline_seconds=5.0, waiting=2)
    yield Worker(
        registry,
        champions,
        shadow,
        Answerer(champions, recorder, LIMITS, clock.now, shadow=shadow),
        journal,
    )
    shadow.close()


def test_a_shadow_answers_nobody_and_is_compared(worker) -> None:
    worker.begin("shadow")

    assert {1} == {worker.ask() for _ in range(2)}
    told = worker.told(2)
    assert [(True, "red", "")] * 2 == [
        (each.agrees, each.class_label, each.failure) for each in told
    ]
    assert told[0].measures == told[0].champion_measures != {}
    answered = {each.event_id for each in worker.journal.events if each.kind == "prediction"}
    assert answered == {each.prediction_id for each in told}


@pytest.mark.parametrize(("how", "words"), [("raises", "out of memory"), ("nan", "not finite")])
def test_a_failing_shadow_is_recorded_and_hurts_nobody(worker, how, words) -> None:
    worker.begin("shadow")
    worker.stumble(how)

    assert worker.ask() == 1
    assert words in worker.told(1)[0].failure


def test_what_a_slow_shadow_cannot_take_is_dropped_and_counted(worker) -> None:
    worker.begin("shadow")
    slow = worker.stumble("hangs")
    start = monotonic()
    assert [1] * 8 == [worker.ask() for _ in range(8)]
    assert monotonic() - start < 5
    slow.going.set()
    told = worker.told(3)
    worker.ask()
    told = worker.told(len(told) + 1)

    assert sum(each.dropped for each in told) == 9 - len(told)


def test_a_canary_answers_its_share_and_the_same_subject_always_meets_one_version(worker) -> None:
    worker.begin("canary", share=0.5)
    by_subject = {
        subject: {worker.ask(subject=subject) for _ in range(3)} for subject in map(str, range(12))
    }
    answered = [worker.ask() for _ in range(60)]

    assert all(len(each) == 1 for each in by_subject.values())
    assert {1, 2} == {version for each in by_subject.values() for version in each}
    assert 10 < answered.count(2) < 50
    asked = [each for each in worker.journal.comparisons if not each.failure]
    said = [each for each in worker.journal.events if each.kind == "prediction"]
    assert {each.event_id for each in said if each.model.version == 2} == {
        each.prediction_id for each in asked
    }


@pytest.mark.parametrize("how", ["raises", "nan"])
def test_what_a_canary_fails_the_champion_answers(worker, how) -> None:
    worker.begin("canary")
    worker.stumble(how)

    assert worker.ask() == 1
    (told,) = worker.journal.comparisons
    assert ("canary", True) == (told.phase, bool(told.failure))
    answer = next(each for each in worker.journal.events if each.kind == "prediction")
    assert told.prediction_id == answer.event_id


def test_a_request_that_is_wrong_by_itself_is_no_failure_of_the_canary(worker) -> None:
    worker.begin("canary")
    with pytest.raises(RequestError, match="target"):
        worker.ask(target="mauve")

    assert worker.journal.comparisons == []


def test_a_candidate_that_cannot_be_loaded_is_told_once(worker) -> None:
    graph = worker.registry.version(MODEL, 2).folder / "predict.onnx"
    said = []
    worker.champions._unusable = lambda *told: said.append(told)
    rollouts.begin(
        worker.registry, MODEL, 2, rollout_id="r1", phase="canary", share=1.0, reason="a test",
        actor="test", now=clock.now(),
    )  # fmt: skip
    graph.chmod(0o644)
    graph.write_bytes(b"not a graph")
    for _ in range(3):
        worker.champions.refresh()

    assert worker.ask() == 1
    assert ["has changed" in str(error) for _, _, error in said] == [True]


def test_a_promoted_candidate_and_a_rolled_back_champion_are_not_loaded_again(worker) -> None:
    worker.begin("canary")
    loaded = worker.champions.candidate(MODEL).served.session
    first = worker.champions.current(MODEL).session
    worker.registry.promote(MODEL, 2, reason="r", actor="a", now=clock.now())
    worker.champions.refresh()
    assert worker.champions.current(MODEL).session is loaded
    assert worker.champions.candidate(MODEL) is None
    worker.registry.rollback(MODEL, reason="r", actor="a", now=clock.now())
    worker.champions.refresh()

    assert worker.champions.current(MODEL).session is first
