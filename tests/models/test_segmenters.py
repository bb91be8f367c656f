"""A segmenter is taken when it answers as its card says, and refused with the reason otherwise."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models import segmenters
from models.attachments import Attachments
from models.errors import CorruptVersionError, GraphRejectedError
from models.segmenters import Segmenter, Wish

NOW = datetime(2026, 11, 22, tzinfo=UTC)
SIDE = 8


def graph(
    weights: list[list[float]],
    *,
    bias: float = 0.0,
    shape: tuple[object, ...] = ("n", 3, SIDE, SIDE),
    outputs: int = 1,
    element: int = TensorProto.FLOAT,
) -> bytes:
    """One 1x1 convolution, [classes, 3] weights: what it answers can be worked out by hand."""
    kernel = np.array(weights, np.float32)[:, :, None, None]
    nodes = [helper.make_node("Conv", ["images", "kernel", "bias"], ["answer"])]
    made = helper.make_graph(
        nodes,
        "segmenter",
        [helper.make_tensor_value_info("images", element, list(shape))],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, None)][:outputs],
        [
            numpy_helper.from_array(kernel, "kernel"),
            numpy_helper.from_array(np.full(len(weights), bias, np.float32), "bias"),
        ],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return model.SerializeToString()


RED = graph([[1.0, 0.0, 0.0]])


def image() -> np.ndarray:
    pixels = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    pixels[0, 2:5, 1:4, 0] = 255
    return pixels


def test_probabilities_are_read_as_they_are() -> None:
    spec = segmenters.check(RED, "red.onnx", Wish())
    region = Segmenter(RED, spec).regions(image())

    assert (spec.height, spec.width, spec.channels_first, spec.batch) == (SIDE, SIDE, True, True)
    assert (region == (image()[..., 0] > 0)).all()


def test_logits_pass_a_sigmoid_and_scores_a_softmax() -> None:
    logits = graph([[4.0, 0.0, 0.0]], bias=-2.0)
    scores = graph([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    of_logits = Segmenter(
        logits, segmenters.check(logits, "l", Wish(output="logit"))
    ).probabilities(image())
    of_scores = Segmenter(
        scores, segmenters.check(scores, "s", Wish(output="scores", relevant=(1,)))
    ).probabilities(image())

    assert 1 / (1 + np.exp(-2.0)) == pytest.approx(of_logits[0, 3, 2], abs=1e-5)
    assert 1 / (1 + np.exp(2.0)) == pytest.approx(of_logits[0, 0, 0], abs=1e-5)
    assert np.exp(3) / (1 + np.exp(3)) == pytest.approx(of_scores[0, 3, 2], abs=1e-5)
    assert 0.5 == pytest.approx(of_scores[0, 0, 0], abs=1e-5)


def test_mean_deviation_and_scale_come_before_the_graph() -> None:
    spec = segmenters.check(
        RED, "r", Wish(scale="byte", mean=(255.0, 0, 0), std=(51.0, 1, 1), output="logit")
    )
    answer = Segmenter(RED, spec).probabilities(image())

    assert 0.5 == pytest.approx(answer[0, 3, 2])
    assert 1 / (1 + np.exp(5.0)) == pytest.approx(answer[0, 0, 0], abs=1e-5)


def test_a_graph_of_one_image_at_a_time_is_asked_one_by_one() -> None:
    single = graph([[1.0, 0.0, 0.0]], shape=(1, 3, SIDE, SIDE))
    spec = segmenters.check(single, "single", Wish())

    assert not spec.batch
    assert Segmenter(single, spec).regions(np.repeat(image(), 3, axis=0)).sum() == 27


def test_an_open_size_is_told_and_images_come_in_any() -> None:
    free = graph([[1.0, 0.0, 0.0]], shape=("n", 3, "h", "w"))
    spec = segmenters.check(free, "free", Wish(size=(SIDE, SIDE)))
    large = np.repeat(np.repeat(image(), 2, axis=1), 2, axis=2)
    region = Segmenter(free, spec).regions(large)

    assert region.shape == (1, 16, 16)
    assert (region == (large[..., 0] > 0)).mean() > 0.9


@pytest.mark.parametrize(
    ("content", "wish", "said"),
    [
        (b"no graph", Wish(), "not an ONNX file"),
        (graph([[1.0, 0, 0]], shape=("n", 3, SIDE)), Wish(), "needed is float32"),
        (graph([[1.0, 0, 0]], shape=("n", 4, SIDE, SIDE)), Wish(), "3 colours"),
        (graph([[1.0, 0, 0]], shape=(7, 3, SIDE, SIDE)), Wish(), "7 images at a time"),
        (graph([[1.0, 0, 0]], shape=("n", 3, "h", "w")), Wish(), "say which"),
        (RED, Wish(size=(9, 9)), "takes 8 x 8"),
        (RED, Wish(threshold=1.0), "threshold"),
        (RED, Wish(output="scores"), "relevant"),
        (RED, Wish(output="scores", relevant=(1,)), "no classes"),
        (RED, Wish(std=(1.0, 0.0, 1.0)), "std positive"),
        (graph([[9.0, 0, 0]]), Wish(), "are they logits"),
        (graph([[1.0, 0, 0], [0, 1.0, 0]]), Wish(), "2 classes are scores"),
        (graph([[float("inf"), 0, 0]]), Wish(output="logit"), "not finite"),
        (graph([[1.0, 0, 0]], outputs=0), Wish(), "0 outputs"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(content, wish, said) -> None:
    with pytest.raises(GraphRejectedError, match=said):
        segmenters.check(content, "made.onnx", wish)


def test_external_data_is_refused(tmp_path: Path) -> None:
    model = onnx.load_model_from_string(RED)
    onnx.save_model(
        model, tmp_path / "big.onnx", save_as_external_data=True, size_threshold=0, location="w"
    )

    with pytest.raises(GraphRejectedError, match="another file"):
        segmenters.check((tmp_path / "big.onnx").read_bytes(), "big.onnx", Wish())


def test_attached_replaced_and_detached_with_a_history(tmp_path: Path) -> None:
    file = tmp_path / "red.onnx"
    file.write_bytes(RED)
    attachments = Attachments(tmp_path / "registry", "segmenter")
    before = attachments.current("m")
    first = segmenters.attach(tmp_path / "registry", "m", file, Wish(), actor="ada", now=NOW)
    second = segmenters.attach(
        tmp_path / "registry", "m", file, Wish(threshold=0.7), actor="bea", now=NOW
    )

    assert before is None
    assert attachments.current("m") == second
    assert first.digest != second.digest
    assert segmenters.load(second).spec.threshold == 0.7
    assert attachments.detach("m", actor="ada", now=NOW)
    assert not attachments.detach("m", actor="ada", now=NOW)
    assert [1, 2, None] == [each["number"] for each in attachments.history("m")]


def test_a_changed_file_is_not_loaded(tmp_path: Path) -> None:
    file = tmp_path / "red.onnx"
    file.write_bytes(RED)
    attached = segmenters.attach(tmp_path / "registry", "m", file, Wish(), actor="ada", now=NOW)
    stored = attached.folder / segmenters.FILE
    stored.chmod(0o644)
    stored.write_bytes(graph([[0.5, 0.0, 0.0]]))

    with pytest.raises(CorruptVersionError, match="changed"):
        segmenters.load(attached)
