import asyncio
import logging

import pytest

from models.errors import UnknownModelError
from models.registry import Registry
from models.runtime import Session
from services import clock
from services.answering.champions import Champions
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
