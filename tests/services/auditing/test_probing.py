"""Probing live answers with the version that gave them, on a classifier that can be worked out."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from audit import records
from audit.canonical import packed_shares
from audit.store import connections, tables
from audit.store.ledger import Ledger
from models.registry import Registry
from models.runtime import Session
from services.auditing import auditor
from services.auditing.probing import MOST_LOADED, RETRY_AFTER, ServedProber, sampled
from services.identifiers import identifier
from services.pictures import png
from services.records import recording
from services.records.recording import AnsweredRegion, AnswerEntry
from services.settings import Settings
from tests import graphs
from tests.entries import START
from tests.served import MODEL, registry_of_colours


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return registry_of_colours(tmp_path)


def answers(registry: Registry, *, cue: bool) -> list[AnswerEntry]:
    """Red, green and blue patches; where they are a cue, the region lies elsewhere."""
    version = registry.champion(MODEL)
    session = Session.open(version.folder, device="cpu", threads=1)
    entries = []
    for number in range(12):
        image = graphs.patch(graphs.CLASSES[number % 3], 4, 4)
        shares = np.zeros((graphs.GRID, graphs.GRID), np.float32)
        shares[(3, 3) if cue else (1, 1)] = 1.0
        [prediction] = session.predict(image[None])
        now = START + timedelta(seconds=number)
        entries.append(
            AnswerEntry(
                prediction_id=identifier(now),
                now=now,
                model=version.ref,
                classes=graphs.CLASSES,
                prediction=prediction,
                image=image,
                region=AnsweredRegion("client", "", shares, 1 / 16),
                measures={"activation_recall": 0.0 if cue else 1.0},
            )
        )
    return entries


def events_of(registry: Registry, entries: list[AnswerEntry], share: float = 1.0) -> list:
    prober = ServedProber(registry, share, identifier)
    pairs = [(recording._record(each, None), png.compressed(each.image)) for each in entries]
    return list(prober.probe(pairs, now=START))


def test_who_reads_the_region_keeps_its_answers(registry) -> None:
    found = events_of(registry, answers(registry, cue=False))

    assert len(found) == 12
    assert {0.0} == {each.measures["flip"] for each in found}


def test_who_reads_the_rest_changes_them(registry) -> None:
    found = events_of(registry, answers(registry, cue=True))

    # A swap follows the donor always; a painted cue leaves chance to decide among equals.
    assert {1.0} == {each.measures["swap_flip"] for each in found}
    assert {1.0} == {each.measures["directed_flip"] for each in found}
    assert min(each.measures["flip"] for each in found) >= 1 / 3
    assert min(each.measures["fill_probability_shift"] for each in found) > 0.2


def test_the_part_that_carries_an_answer_is_written_down(registry) -> None:
    cued, plain = (events_of(registry, answers(registry, cue=each)) for each in (True, False))

    assert min(each.measures["part_reliance"] for each in cued) > 0.3
    assert {0.0} == {each.measures["part_reliance"] for each in plain}
    strongest = {max(each.falls, key=each.falls.get) for each in cued}
    assert strongest <= {"0,0", "0,1", "1,0", "1,1", "frame", "colour", "detail"} | {
        f"{row},{column}" for row in range(5) for column in range(5)
    }
    assert len({name for each in cued for name in each.falls}) > 20


def test_the_cost_of_a_probe_is_bounded(registry, monkeypatch) -> None:
    asked = 0
    predict = Session.predict

    def counted(session: Session, images: np.ndarray, *rest: object) -> list:
        nonlocal asked
        asked += len(images)
        return predict(session, images, *rest)

    monkeypatch.setattr(Session, "predict", counted)
    entries = answers(registry, cue=True)
    pairs = [(recording._record(each, None), png.compressed(each.image)) for each in entries]
    asked = 0
    found = ServedProber(registry, 1.0, identifier, 12).probe(pairs, now=START)

    assert len(found) == 12
    assert asked <= 12 * (4 + 12) + 1  # opening the graphs asks once


def test_a_share_is_probed_and_always_the_same_one(registry) -> None:
    entries = answers(registry, cue=False)
    expected = {each.prediction_id for each in entries if sampled(each.prediction_id, 0.5)}
    found = {each.prediction_id for each in events_of(registry, entries, 0.5)}

    assert len(expected) < 2 or expected == found
    ids = [f"id{number}" for number in range(10_000)]
    assert 0.04 < np.mean([sampled(each, 0.05) for each in ids]) < 0.06
    assert not any(sampled(each, 0.0) for each in ids)
    assert all(sampled(each, 1.0) for each in ids)


def test_nobody_to_borrow_from_means_no_probe(registry) -> None:
    assert [] == events_of(registry, answers(registry, cue=False)[:1])


def test_a_region_of_everything_or_nothing_is_not_probed(registry) -> None:
    entries = answers(registry, cue=False)
    pairs = []
    for number, each in enumerate(entries):
        record = recording._record(each, None)
        shares = packed_shares(np.full((4, 4), number % 2, np.float32))
        region = records.RegionEvidence("client", "", shares, 1.0)
        pairs.append((_with(record, region), png.compressed(each.image)))

    assert [] == list(ServedProber(registry, 1.0, identifier).probe(pairs, now=START))


def _with(
    record: records.PredictionRecord, region: records.RegionEvidence
) -> records.PredictionRecord:
    return replace(record, region=region)


def test_a_version_that_is_gone_is_not_probed(registry, tmp_path) -> None:
    entries = answers(registry, cue=False)

    assert [] == events_of(Registry(tmp_path / "empty"), entries)


def test_the_auditor_probes_in_the_same_transaction(registry, tmp_path) -> None:
    chosen = Settings(home=tmp_path, registry=registry.root, probe_share=1.0)
    recorder = recording.open_recorder(chosen.journal, source="w", key=b"k")
    recorder.record(answers(registry, cue=True))
    recorder.close()
    ledger = Ledger(connections.open_writer(chosen.store), b"key")
    work = auditor.connect(chosen, ledger)
    work.prepare(now=START)
    work.step(now=START)
    with ledger.engine.begin() as connection:
        measured = connection.execute(tables.measures.select()).all()
        kinds = connection.execute(tables.events.select()).all()
    ledger.engine.dispose()
    watched = {each.series.measure for each in work.watching.watched.values()}

    assert {"flip", "swap_flip", "probability_shift"} <= {row.name for row in measured}
    assert sum(row.kind == "probe" for row in kinds) == 12
    assert "part_reliance" in watched
    assert len(work.take_probes()) == 12
    assert [] == work.take_probes()


def test_sessions_are_few_and_what_failed_is_tried_again(tmp_path: Path) -> None:
    registry = registry_of_colours(tmp_path, *(float(10 + each) for each in range(6)))
    prober = ServedProber(registry, 1.0, identifier)
    graph = registry.version(MODEL, 1).folder / "predict.onnx"
    whole = graph.read_bytes()
    graph.chmod(0o644)
    graph.write_bytes(b"not a graph")
    assert prober._session((MODEL, 1), START) is None
    graph.write_bytes(whole)
    assert prober._session((MODEL, 1), START + RETRY_AFTER - timedelta(seconds=1)) is None
    opened = prober._session((MODEL, 1), START + RETRY_AFTER)
    assert opened is not None
    assert opened is prober._session((MODEL, 1), START)

    for version in range(2, 7):
        assert prober._session((MODEL, version), START) is not None
    assert [(MODEL, each) for each in (3, 4, 5, 6)] == [*prober._sessions]
    assert MOST_LOADED == len(prober._sessions)
    assert opened is not prober._session((MODEL, 1), START)
