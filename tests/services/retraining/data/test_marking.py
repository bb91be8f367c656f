"""Rows that nobody marked get the attached segmenter's regions."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models import segmenters
from models.segmenters import Wish
from models.training.image_sets import ImageSet
from services.retraining.data import marking
from tests.served import MODEL, registry_of_colours

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SIDE = 8


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A registry whose model has a segmenter that calls red relevant."""
    kernel = np.array([[1.0, 0.0, 0.0]], np.float32)[:, :, None, None]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["images", "kernel"], ["answer"])],
        "red",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    registry = registry_of_colours(tmp_path)
    onnx.save(made, tmp_path / "red.onnx")
    segmenters.attach(registry.root, MODEL, tmp_path / "red.onnx", Wish(), actor="ann", now=NOW)
    return registry.root


def rows() -> ImageSet:
    """A red corner, a red corner that a person marked elsewhere, and nothing red."""
    images = np.zeros((3, SIDE, SIDE, 3), np.uint8)
    images[:2, :4, :4, 0] = 255
    relevant = np.zeros((3, SIDE, SIDE), bool)
    relevant[1, 6:, 6:] = True
    return ImageSet(
        images=images,
        labels=np.array([0, 1, 0], np.int64),
        classes=("a", "b"),
        ids=("x", "y", "z"),
        relevant=relevant,
    )


def test_a_persons_region_stays_and_what_has_none_gets_one(root: Path) -> None:
    segmenter = marking.segmenter_of(root, MODEL)
    assert segmenter is not None
    found = marking.marked(rows(), segmenter)
    relevant, irrelevant = found.masks(np.arange(3))

    assert found.known.tolist() == [True, True, False]  # of nothing red nothing is known
    assert (relevant[0] == (rows().images[0, ..., 0] > 0)).all()
    assert (irrelevant[0] == ~relevant[0]).all()
    assert (relevant[1] == rows().relevant[1]).all()
    assert marking.marked(found.take([0, 1]), segmenter).digest == found.take([0, 1]).digest


def test_a_model_without_a_segmenter_has_none(root: Path) -> None:
    assert marking.segmenter_of(root, "other") is None
