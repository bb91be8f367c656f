import asyncio
import logging
from datetime import timedelta

import pytest

from models import rollouts
from models.errors import UnknownModelError
from models.registry import Registry
from models.runtime import Session
from services import clock
from services.answering.champions import RETRY_AFTER, Champions
from services.errors import NotReadyError
from tests import graphs
from tests.served import MODEL, registry_of_colours


def champions_of(registry) -> Champions:
    return Champions(
        registry, lambda folder: Session.open(folder, device="cpu", threads=1), clock.now
    )


def move(registry, version) -> None:
    registry.promote(MODEL, version, reason="a test", actor="test", now=clock.now())


def test_the_champion_is_served_and_followed(tmp_path) -> None:
    registry = registry_of_colours(tmp_path, 40.0, 20.0)
    champions = champions_of(registry)
    first = champions.refresh(), champions.current(MODEL).ref.version, champions.refresh()
    move(registry, 2)
    second = champions.refresh(), champions.current(MODEL).ref.version

    assert (1, 1, 0) == first
    assert (1, 2) == second


def test_a_request_keeps_the_version_that_it_began_with(tmp_path) -> None:
    registry = registry_of_colours(tmp_path, 40.0, 20.0)
    champions = champions_of(registry)
    champions.refresh()
    before = champions.current(MODEL)
    move(registry, 2)
    champions.refresh()
    images = graphs.patch("red")[None]

    assert before.ref.version == 1
    assert before.session.predict(images)[0].logits[0] == pytest.approx(
        2 * champions.current(MODEL).session.predict(images)[0].logits[0]
    )


def test_a_version_that_cannot_be_served_is_rejected_once_and_the_old_one_goes_on(
    tmp_path, caplog
) -> None:
    registry = registry_of_colours(tmp_path, 40.0, 20.0)
    champions = champions_of(registry)
    champions.refresh()
    move(registry, 2)
    graph = registry.version(MODEL, 2).folder / "predict.onnx"
    graph.chmod(0o644)
    graph.write_bytes(b"not a graph")
    with caplog.at_level(logging.ERROR):
        taken = [champions.refresh() for _ in range(3)]

    assert [0, 0, 0] == taken
    assert champions.current(MODEL).ref.version == 1
    assert len([each for each in caplog.records if "rejected" in each.message]) == 1


def test_a_version_whose_files_are_not_as_filed_is_not_served(tmp_path) -> None:
    """The graphs are in order; only the digest of another file tells that somebody was there."""
    registry = registry_of_colours(tmp_path, 40.0, 20.0)
    champions = champions_of(registry)
    champions.refresh()
    move(registry, 2)
    weights = registry.version(MODEL, 2).folder / "weights.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes() + b" ")

    assert champions.refresh() == 0
    assert champions.current(MODEL).ref.version == 1


def test_following_survives_a_registry_that_cannot_be_read_for_a_moment(tmp_path) -> None:
    class Stumbling(Registry):
        stumbles = 2

        def models(self) -> list[str]:
            if self.stumbles:
                self.stumbles -= 1
                raise OSError(24, "Too many open files")
            return super().models()

    champions = champions_of(Stumbling(registry_of_colours(tmp_path).root))

    async def follow_a_while() -> None:
        following = asyncio.create_task(champions.follow(0.01))
        while not champions.in_service():
            await asyncio.sleep(0.01)
            assert not following.done()
        following.cancel()

    asyncio.run(asyncio.wait_for(follow_a_while(), 20))


def test_a_model_that_appears_later_is_served(tmp_path) -> None:
    registry = registry_of_colours(tmp_path)
    champions = champions_of(registry)
    champions.refresh()
    registry.add("other", graphs.write_version(tmp_path / "other"), now=clock.now())
    with pytest.raises(NotReadyError, match="promote one"):
        champions.current("other")
    registry.promote("other", 1, reason="a test", actor="test", now=clock.now())

    assert champions.refresh() == 1
    assert sorted(["other", MODEL]) == [each.ref.name for each in champions.in_service()]


def test_an_unknown_model_is_named(tmp_path) -> None:
    with pytest.raises(UnknownModelError, match="nobody"):
        champions_of(registry_of_colours(tmp_path)).current("nobody")


def test_an_empty_registry_serves_nothing(tmp_path) -> None:
    assert champions_of(Registry(tmp_path / "nowhere")).refresh() == 0


def test_whatever_opening_a_version_raises_the_others_are_followed(tmp_path) -> None:
    """A library's error is none of ours; it once ended the following of everything."""
    registry = registry_of_colours(tmp_path, 40.0, 20.0)
    registry.add("other", graphs.write_version(tmp_path / "other"), now=clock.now())

    def open_session(folder) -> Session:
        if folder == registry.version(MODEL, 2).folder:
            raise ValueError("operands could not be broadcast together")
        return Session.open(folder, device="cpu", threads=1)

    champions = Champions(registry, open_session, clock.now)
    champions.refresh()
    move(registry, 2)
    registry.promote("other", 1, reason="a test", actor="test", now=clock.now())

    assert champions.refresh() == 1
    assert champions.current(MODEL).ref.version == 1
    assert champions.current("other").ref.version == 1
    (said,) = champions.failing.values()
    assert "version 2 of digits rejected: operands" in said
    assert said.endswith("; version 1 answers")
    move(registry, 1)
    champions.refresh()
    assert {} == champions.failing


def test_a_corrupt_pointer_stops_its_model_only_and_its_candidate_answers_nobody(tmp_path) -> None:
    registry = registry_of_colours(tmp_path, 40.0, 20.0)
    registry.add("zzz", graphs.write_version(tmp_path / "other"), now=clock.now())
    champions = champions_of(registry)
    rollouts.begin(
        registry, MODEL, 2, rollout_id="r1", phase="canary", share=1.0, reason="a test",
        actor="test", now=clock.now(),
    )  # fmt: skip
    champions.refresh()
    assert champions.candidate(MODEL) is not None
    pointer = registry.root / MODEL / "champion.json"
    whole = pointer.read_bytes()
    pointer.write_bytes(b"{")
    registry.promote("zzz", 1, reason="a test", actor="test", now=clock.now())

    assert champions.refresh() == 1
    assert champions.candidate(MODEL) is None
    assert champions.current(MODEL).ref.version == 1
    assert [f"reading the pointer of {MODEL}"] == [*champions.failing]
    pointer.write_bytes(whole)
    champions.refresh()
    assert champions.candidate(MODEL) is not None
    assert {} == champions.failing


def test_a_version_that_could_not_be_opened_is_tried_again_after_a_while(tmp_path) -> None:
    registry, now, tries = registry_of_colours(tmp_path, 40.0, 20.0), [clock.now()], []

    def open_session(folder) -> Session:
        tries.append(folder.name)
        if tries.count("2") == 1:
            raise OSError(24, "Too many open files")
        return Session.open(folder, device="cpu", threads=1)

    champions = Champions(registry, open_session, lambda: now[0])
    champions.refresh()
    move(registry, 2)
    assert [0, 0] == [champions.refresh() for _ in range(2)]
    now[0] += RETRY_AFTER - timedelta(seconds=1)
    assert champions.refresh() == 0
    now[0] += timedelta(seconds=1)

    assert champions.refresh() == 1
    assert champions.current(MODEL).ref.version == 2
    assert ["1", "2", "2"] == tries
    assert {} == champions.failing


def test_at_a_start_the_last_version_that_can_be_served_answers_loudly(tmp_path, caplog) -> None:
    registry = registry_of_colours(tmp_path, 40.0, 20.0, 10.0)
    for version in (2, 3):
        move(registry, version)
        graph = registry.version(MODEL, version).folder / "predict.onnx"
        graph.chmod(0o644)
        graph.write_bytes(b"not a graph")
    champions = champions_of(registry)
    champions.refresh()

    assert champions.current(MODEL).ref.version == 1
    (said,) = champions.failing.values()
    assert "version 3 of digits rejected" in said
    assert said.endswith("; version 1 answers")
    assert said.removeprefix("NotServableError: ") in caplog.text
    move(registry, 1)
    champions.refresh()
    assert {} == champions.failing


def test_where_nothing_can_be_served_nothing_answers(tmp_path) -> None:
    registry = registry_of_colours(tmp_path, 40.0)
    (registry.version(MODEL, 1).folder / "predict.onnx").unlink()
    champions = champions_of(registry)
    champions.refresh()

    with pytest.raises(NotReadyError):
        champions.current(MODEL)
    (said,) = champions.failing.values()
    assert said.endswith("; nothing answers")


def test_when_everything_was_last_looked_at_is_known(tmp_path) -> None:
    now = [clock.now()]
    champions = Champions(Registry(tmp_path / "nowhere"), lambda _: None, lambda: now[0])
    assert champions.followed is None
    champions.refresh()

    assert now[0] == champions.followed
