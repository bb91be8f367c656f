import logging

import pytest

from models.errors import UnknownModelError
from models.registry import Registry
from models.runtime import Session
from services import clock
from services.champions import Champions
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
