"""Somebody else's ONNX classifier: its own answers, with a map that says what it is."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.adoption import adopting
from models.adoption.foreign import Wish, prepared
from models.errors import ExplainerError, GraphRejectedError
from models.runtime import Session
from models.types import ClassifierSpec, Preprocessing

SIDE, CHANNELS, CLASSES = 12, 4, 3
RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(CHANNELS, 3, 3, 3)).astype(np.float32)
WEIGHTS = RNG.normal(size=(CHANNELS, CLASSES)).astype(np.float32)
IMAGES = RNG.integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)
SPEC = ClassifierSpec(
    architecture="onnx:theirs",
    classes=("a", "b", "c"),
    preprocessing=Preprocessing(
        height=SIDE,
        width=SIDE,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.4),
        fit="stretch",
        crop_fraction=1.0,
    ),
    target_layer="features",
    head="linear",
)
WISH = Wish(SPEC)
FILE = "rapidocr_onnxruntime"


def node(operator: str, inputs: list[str], output: str, **settings: object) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, [output], **settings)


def features(pooling: str = "GlobalAveragePool") -> list[onnx.NodeProto]:
    return [
        node("Conv", ["x", "kernel"], "convolved", strides=[2, 2]),
        node("Relu", ["convolved"], "features"),
        node(pooling, ["features"], "pooled"),
        node("Flatten", ["pooled"], "flat"),
    ]


def write(
    path: Path,
    nodes: list[onnx.NodeProto],
    *,
    shape: tuple[object, ...] = ("N", 3, SIDE, SIDE),
    kind: int = TensorProto.FLOAT,
    opset: int = 13,
    output: str = "y",
    constants: dict[str, np.ndarray] | None = None,
    domain: str = "",
) -> Path:
    named = {"kernel": KERNEL, "weights": WEIGHTS, **(constants or {})}
    graph = helper.make_graph(
        nodes,
        "theirs",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in named.items()],
    )
    imports = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] * bool(domain))]
    model = helper.make_model(graph, opset_imports=imports, producer_name="theirs")
    model.ir_version = 8
    onnx.save(model, path)
    return path


def softmax(values: np.ndarray) -> np.ndarray:
    shifted = np.exp(values - values.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def maps(images: np.ndarray) -> np.ndarray:
    """Features by a loop over pixels, as the definition of a convolution reads."""
    ready = prepared(images, Wish(SPEC, layout="nchw"), 3)
    side = (SIDE - 3) // 2 + 1
    found = np.zeros((len(images), CHANNELS, side, side))
    for row in range(side):
        for column in range(side):
            part = ready[:, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            found[:, :, row, column] = np.einsum("ncij,kcij->nk", part, KERNEL)
    return np.maximum(found, 0.0)


@pytest.mark.parametrize(
    "ending",
    [
        [node("MatMul", ["flat", "weights"], "y")],
        [node("Gemm", ["flat", "weights"], "y")],
        [node("MatMul", ["flat", "weights"], "l"), node("Softmax", ["l"], "y", axis=1)],
        [
            node("MatMul", ["flat", "weights"], "l"),
            node("Softmax", ["l"], "p", axis=1),
            node("Identity", ["p"], "y"),
        ],
    ],
)
@pytest.mark.parametrize("opset", [11, 13, 17])
def test_a_pooled_linear_head_gives_the_exact_map(tmp_path, ending, opset) -> None:
    path = write(tmp_path / "theirs.onnx", [*features(), *ending], opset=opset)
    found = adopting.adopt(path, tmp_path, WISH, IMAGES)
    session = Session.open(tmp_path)
    seen = maps(IMAGES)
    logits = seen.mean(axis=(2, 3)) @ WEIGHTS

    assert ("cam", 1) == (found.explanation, found.passes)
    assert found.difference < adopting.TOLERANCE
    for target in range(CLASSES):
        cam = np.maximum(np.einsum("nkij,k->nij", seen, WEIGHTS[:, target]), 0.0)
        answers = session.predict(IMAGES, [target] * len(IMAGES))
        for answer, want, shares in zip(answers, cam, softmax(logits), strict=True):
            assert shares == pytest.approx(answer.probabilities, abs=1e-5)
            highest = want.max()
            expected = want / highest if highest > 0 else want
            assert expected == pytest.approx(answer.heatmap, abs=1e-4)
    assert "gradcam" == session.heatmap


def test_a_head_without_pooling_is_explained_by_hiding_cells_and_says_so(tmp_path) -> None:
    path = write(
        tmp_path / "theirs.onnx",
        [*features("GlobalMaxPool"), node("MatMul", ["flat", "weights"], "y")],
    )
    found = adopting.adopt(path, tmp_path, Wish(SPEC, cells=3), IMAGES)
    session = Session.open(tmp_path)
    [answer] = session.predict(IMAGES[:1], [1])

    def share(image: np.ndarray) -> float:
        return float(softmax(maps(image[None]).max(axis=(2, 3)) @ WEIGHTS)[0, 1])

    fall = np.zeros((3, 3))
    for row in range(3):
        for column in range(3):
            hidden = IMAGES[0].astype(float)
            rows, columns = slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4)
            hidden[rows, columns] = IMAGES[0].mean(axis=(0, 1))
            fall[row, column] = max(0.0, share(IMAGES[0]) - share(hidden))

    assert ("occlusion", 10) == (found.explanation, found.passes)
    assert "occlusion" == session.heatmap
    assert fall / fall.max() == pytest.approx(answer.heatmap, abs=1e-3)
    with pytest.raises(ExplainerError, match="no explainer"):
        session.attribute(IMAGES, "input_gradients")


def test_channels_last_bytes_in_blue_first_are_read_as_their_maker_does(tmp_path) -> None:
    nodes = [
        node("Cast", ["x"], "float", to=TensorProto.FLOAT),
        node("Transpose", ["float"], "first", perm=[0, 3, 1, 2]),
        node("Conv", ["first", "kernel"], "convolved", strides=[2, 2]),
        node("GlobalAveragePool", ["convolved"], "pooled"),
        node("Flatten", ["pooled"], "flat"),
        node("MatMul", ["flat", "weights"], "l"),
        node("Mul", ["l", "small"], "y"),
    ]
    shape = SPEC.preprocessing
    plain = Preprocessing(
        **{**{k: getattr(shape, k) for k in shape.__slots__}, "mean": (0, 0, 0), "std": (1, 1, 1)}
    )
    spec = ClassifierSpec(SPEC.architecture, SPEC.classes, plain, "features", "linear")
    wish = Wish(spec, scale=1.0, reverse=True)
    path = write(
        tmp_path / "theirs.onnx",
        nodes,
        shape=("N", SIDE, SIDE, 3),
        kind=TensorProto.UINT8,
        constants={"small": np.array(1e-3, np.float32)},
    )
    found = adopting.adopt(path, tmp_path, wish, IMAGES)

    assert found.difference < adopting.TOLERANCE
    assert "occlusion" == found.explanation, "what lies behind the layer is not linear to us"


def test_wrong_words_about_the_outputs_are_refused(tmp_path) -> None:
    logits = write(tmp_path / "a.onnx", [*features(), node("MatMul", ["flat", "weights"], "y")])
    with pytest.raises(GraphRejectedError, match="holds logits"):
        adopting.adopt(logits, tmp_path, Wish(SPEC, outputs="probabilities"), IMAGES)


@pytest.mark.parametrize(
    ("ending", "settings", "said"),
    [
        ([node("Sigmoid", ["l"], "y")], {}, "independent findings"),
        (
            [node("Fancy", ["l"], "y", domain="com.example")],
            {"domain": "com.example"},
            "no operator",
        ),
        (
            [node("Identity", ["l"], "y")],
            {"shape": ("N", 5, SIDE, SIDE)},
            "where its channels are",
        ),
        ([node("Identity", ["l"], "y")], {"shape": ("N", 3, 9, 9)}, "not 12 × 12"),
        ([node("Identity", ["l"], "y")], {"kind": TensorProto.DOUBLE}, "takes DOUBLE"),
        (
            [node("Reshape", ["l", "one"], "y")],
            {"constants": {"one": np.array([1, CLASSES])}},
            "open first axis",
        ),
    ],
)
def test_what_cannot_be_served_is_refused_in_a_sentence(tmp_path, ending, settings, said) -> None:
    nodes = [*features(), node("MatMul", ["flat", "weights"], "l"), *ending]
    path = write(tmp_path / "theirs.onnx", nodes, **settings)

    with pytest.raises(GraphRejectedError, match=said):
        adopting.adopt(path, tmp_path, WISH, IMAGES)
    assert not (tmp_path / "predict.onnx").exists()


def test_a_file_that_is_none_is_refused(tmp_path) -> None:
    (tmp_path / "theirs.onnx").write_bytes(b"no graph")
    with pytest.raises(GraphRejectedError, match="not an ONNX file"):
        adopting.adopt(tmp_path / "theirs.onnx", tmp_path, WISH, IMAGES)


def test_a_file_may_be_a_link_as_caches_keep_them(tmp_path) -> None:
    path = write(tmp_path / "blob", [*features(), node("MatMul", ["flat", "weights"], "y")])
    link = tmp_path / "theirs.onnx"
    link.symlink_to(path)

    assert "cam" == adopting.adopt(link, tmp_path, WISH, IMAGES).explanation


def test_a_file_that_is_not_there_is_said_so(tmp_path) -> None:
    with pytest.raises(GraphRejectedError, match="cannot be read: No such file"):
        adopting.adopt(tmp_path / "theirs.onnx", tmp_path, WISH, IMAGES)


@pytest.mark.skipif(find_spec(FILE) is None, reason=f"{FILE} is not installed (extra dev)")
def test_a_real_file_of_paddlepaddle_is_adopted(tmp_path) -> None:
    """The text direction classifier of a wheel on PyPI: opset 11, two probabilities."""
    folder = Path(str(find_spec(FILE).origin)).parent / "models"
    [path] = folder.glob("*cls*.onnx")
    shape = Preprocessing(
        height=48, width=192, mean=(0.5,) * 3, std=(0.5,) * 3, fit="stretch", crop_fraction=1.0
    )
    spec = ClassifierSpec("onnx:cls", ("0", "180"), shape, "features", "linear")
    images = np.random.default_rng(1).integers(0, 256, (4, 48, 192, 3), np.uint8)
    found = adopting.adopt(path, tmp_path, Wish(spec, reverse=True), images)

    assert ("cam", "probabilities", "PaddlePaddle") == (
        found.explanation,
        found.outputs,
        found.producer,
    )
    assert found.difference < adopting.TOLERANCE
    assert (1, 48) == Session.open(tmp_path).predict(images)[0].heatmap.shape
