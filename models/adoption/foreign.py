"""What a foreign ONNX classifier is: its input, its output, and how it ends."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, version_converter

from models import contract
from models.errors import GraphRejectedError
from models.types import ClassifierSpec

Outputs: TypeAlias = Literal["auto", "logits", "probabilities"]
Layout: TypeAlias = Literal["auto", "nchw", "nhwc"]

OPSET: Final = 18
CELLS: Final = 4  # rows and columns of the grid that is hidden cell by cell
LUMA: Final = (0.299, 0.587, 0.114)  # ITU-R BT.601
_PASSING: Final = frozenset({"Identity", "Dropout", "Flatten", "Reshape", "Squeeze"})
_RANK: Final = 4


@dataclass(frozen=True, slots=True)
class Wish:
    """What the file does not say.

    Attributes:
        spec: Classes and preprocessing; mean and std are of pixels in [0, 1] where `scale` is
            1 / 255.
        layout: Where the file wants its channels.
        scale: What a pixel of 0..255 is multiplied by before mean and std.
        reverse: Whether the file wants blue first.
        outputs: What the file's output is.
        output: Name of the output; None for the first of two axes.
        cells: Rows and columns of the grid where an answer is explained by hiding cells.
    """

    spec: ClassifierSpec
    layout: Layout = "auto"
    scale: float = 1 / 255
    reverse: bool = False
    outputs: Outputs = "auto"
    output: str | None = None
    cells: int = CELLS


@dataclass(frozen=True, slots=True)
class Head:
    """A pooled linear layer at the end of a graph.

    Attributes:
        features: Name of the tensor that is pooled.
        pooled: Name of what comes out of the pooling, before it is flattened.
        weights: [classes, channels].
    """

    features: str
    pooled: str
    weights: NDArray[np.float32]


def prepared(images: NDArray[np.uint8], wish: Wish, channels: int) -> NDArray[Any]:
    """Return what the foreign file takes for prepared images, in numpy: the slower truth."""
    values: NDArray[np.float32] = images.astype(np.float32)
    shape = wish.spec.preprocessing
    if wish.reverse:
        values = values[..., ::-1]
    mean, deviation = np.array(shape.mean, np.float32), np.array(shape.std, np.float32)
    values = np.asarray((values * np.float32(wish.scale) - mean) / deviation, np.float32)
    if channels == 1:
        values = np.asarray(values @ np.array(LUMA, np.float32)[:, None], np.float32)
    return values if wish.layout == "nhwc" else np.moveaxis(values, -1, 1)


def read(content: bytes, name: str) -> onnx.ModelProto:
    """Return a foreign model in the opset that Rightly builds with, shapes inferred.

    Raises:
        GraphRejectedError: If it is none, or uses what is not ONNX's own.
    """
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise GraphRejectedError(f"{name} is not an ONNX file: {error}") from error
    contract.check_self_contained(model, name)
    strange = sorted(
        {
            f"{node.domain}.{node.op_type}"
            for node in model.graph.node
            if node.domain not in {"", "ai.onnx"}
        }
    )
    if strange:
        raise GraphRejectedError(
            f"{name} uses {', '.join(strange[:5])}, which is no operator of ONNX itself: export "
            "it without operators of one runtime"
        )
    if model.functions:
        raise GraphRejectedError(f"{name} defines functions of its own; inline them first")
    [version] = [
        each.version for each in model.opset_import if each.domain in {"", "ai.onnx"}
    ] or [0]
    if version > onnx.defs.onnx_opset_version():
        raise GraphRejectedError(f"{name} has opset {version}; newest known is {OPSET}")
    try:
        if version < OPSET:
            model = version_converter.convert_version(model, OPSET)
        return onnx.shape_inference.infer_shapes(model)
    except Exception as error:
        # The converter raises RuntimeError and its own kinds, in C++ words.
        raise GraphRejectedError(
            f"{name} has opset {version} and cannot be brought to {OPSET}: {error}"
        ) from error


def input_of(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    """Return the one input that takes pictures.

    Raises:
        GraphRejectedError: If there is not exactly one of four axes.
    """
    constants = {each.name for each in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in constants]
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != _RANK:
        given = ", ".join(each.name for each in inputs)
        raise GraphRejectedError(f"needed is one input of four axes, there are: {given}")
    found: onnx.ValueInfoProto = inputs[0]
    return found


def sizes_of(model: onnx.ModelProto) -> list[int]:
    """Return the sizes of the input's axes; 0 where one is open."""
    return [max(0, each.dim_value) for each in input_of(model).type.tensor_type.shape.dim]


def layout_of(model: onnx.ModelProto, wish: Wish) -> Layout:
    """Return where the channels are: as wished, else where an axis of 1 or 3 is.

    Raises:
        GraphRejectedError: If the sizes do not tell.
    """
    if wish.layout != "auto":
        return wish.layout
    sizes = sizes_of(model)
    first, last = sizes[1] in {1, 3}, sizes[3] in {1, 3}
    if first == last:
        raise GraphRejectedError(
            f"the input is {sizes}: say where its channels are, --layout nchw or nhwc"
        )
    return "nchw" if first else "nhwc"


def channels_of(model: onnx.ModelProto, wish: Wish) -> int:
    """Return how many channels the input has; 3 where the file leaves it open."""
    return sizes_of(model)[3 if wish.layout == "nhwc" else 1] or 3


def check_input(model: onnx.ModelProto, wish: Wish) -> None:
    """Refuse an input of another type, number of channels or size.

    Raises:
        GraphRejectedError: If it has one.
    """
    value = input_of(model)
    kind = value.type.tensor_type.elem_type
    if kind not in {TensorProto.FLOAT, TensorProto.UINT8}:
        named = TensorProto.DataType.Name(kind)
        raise GraphRejectedError(f"{value.name} takes {named}; served are FLOAT and UINT8")
    if channels_of(model, wish) not in {1, 3}:
        raise GraphRejectedError(
            f"{value.name} takes {channels_of(model, wish)} channels; served are 1 and 3"
        )
    shape, sizes = wish.spec.preprocessing, sizes_of(model)
    rows, columns = sizes[1:3] if wish.layout == "nhwc" else sizes[2:4]
    if (rows or shape.height, columns or shape.width) != (shape.height, shape.width):
        raise GraphRejectedError(
            f"{value.name} takes {rows} × {columns} pixels, not {shape.height} × {shape.width}"
        )


def output_of(model: onnx.ModelProto, wish: Wish) -> str:
    """Return the output that has one number per class: as wished, else the first of two axes.

    Raises:
        GraphRejectedError: If there is none.
    """
    names = [each.name for each in model.graph.output]
    if wish.output is not None:
        if wish.output not in names:
            raise GraphRejectedError(f"no output {wish.output!r}; there are {', '.join(names)}")
        return wish.output
    ranks = {
        each.name: len(each.type.tensor_type.shape.dim)
        for each in model.graph.output
        if each.type.tensor_type.HasField("shape")
    }
    flat = [name for name in names if ranks.get(name, 2) == 2]  # noqa: PLR2004 - images, classes
    if not flat:
        raise GraphRejectedError(
            f"no output has one number per class; there are {', '.join(names)}: this is no "
            "classifier, or say which output it is"
        )
    return str(flat[0])


def _producers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in model.graph.node for name in node.output}


def _back(name: str, made: Mapping[str, onnx.NodeProto], through: frozenset[str]) -> str:
    while name in made and made[name].op_type in through:
        name = made[name].input[0]
    return name


def meaning(
    model: onnx.ModelProto, wish: Wish, output: str, images: NDArray[np.uint8]
) -> tuple[Outputs, str]:
    """Return what an output is, and the tensor of logits behind it; "" where there is none."""
    made = _producers(model)
    # A softmax of before opset 13 leaves the conversion between a flattening and its undoing.
    last = _back(output, made, _PASSING)
    operator = made[last].op_type if last in made else ""
    if operator == "Softmax" and wish.outputs != "logits":
        return "probabilities", _back(made[last].input[0], made, _PASSING)
    found = answers_of(model, wish, output, images)
    classes = len(wish.spec.classes)
    if found.ndim != 2 or found.shape[1] != classes:  # noqa: PLR2004 - images, classes
        raise GraphRejectedError(
            f"{output} answers {list(found.shape[1:])} numbers an image, but {classes} "
            "classes are named"
        )
    shares = bool((found >= 0).all() and np.allclose(found.sum(axis=1), 1.0, atol=1e-3))
    if operator == "Sigmoid" and not shares:
        raise GraphRejectedError(
            "the graph ends in a sigmoid: independent findings, one probability each; adopted are "
            "classifiers whose probabilities sum to one"
        )
    kind = wish.outputs if wish.outputs != "auto" else ("probabilities" if shares else "logits")
    if kind == "probabilities" and not shares:
        raise GraphRejectedError(f"{output} does not sum to one: it holds logits")
    if kind == "logits" and shares:
        raise GraphRejectedError(f"{output} sums to one: it holds probabilities, not logits")
    return kind, output if kind == "logits" else ""


def head_of(model: onnx.ModelProto, logits: str, wish: Wish) -> Head | None:
    """Return the pooled linear layer that a graph ends in; None where it ends otherwise."""
    made = _producers(model)
    constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    constants |= {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t)
        for node in model.graph.node
        if node.op_type == "Constant" and node.attribute[0].HasField("t")
    }
    node = made.get(_back(logits, made, _PASSING)) if logits else None
    if node is not None and node.op_type == "Add":
        inner = [each for each in node.input if each not in constants]
        node = made.get(inner[0]) if len(inner) == 1 else None
    if node is None or node.op_type not in {"MatMul", "Gemm"} or node.input[1] not in constants:
        return None
    settings = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    if settings.get("transA", 0) or settings.get("alpha", 1.0) != 1.0:
        return None
    weights = constants[node.input[1]].astype(np.float32)
    weights = weights if settings.get("transB", 0) else weights.T
    pooled = _back(node.input[0], made, _PASSING)
    pool = made.get(pooled)
    if pool is None or not _pools(pool, constants, wish):
        return None
    return Head(pool.input[0], pooled, weights) if weights.ndim == 2 else None  # noqa: PLR2004


def _pools(node: onnx.NodeProto, constants: Mapping[str, NDArray[Any]], wish: Wish) -> bool:
    """Whether a node averages every channel over the picture, channels first."""
    if node.op_type == "GlobalAveragePool":
        return True
    if node.op_type != "ReduceMean" or wish.layout == "nhwc":
        return False
    axes = next((helper.get_attribute_value(a) for a in node.attribute if a.name == "axes"), None)
    if axes is None and len(node.input) > 1:
        axes = constants.get(node.input[1], np.array([])).tolist()
    return sorted(each % _RANK for each in axes or []) == [2, 3]


def session_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Return a session on the CPU, one thread.

    Raises:
        GraphRejectedError: If ONNX Runtime refuses the model.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        # ONNX Runtime's errors share no base class of their own.
        raise GraphRejectedError(f"ONNX Runtime refuses the file: {error}") from error


def answers_of(
    model: onnx.ModelProto, wish: Wish, output: str, images: NDArray[np.uint8]
) -> NDArray[Any]:
    """Return what the file itself answers, one image at a time, as its maker would ask it."""
    value, session = input_of(model), session_of(model)
    ready = prepared(images, wish, channels_of(model, wish))
    if value.type.tensor_type.elem_type == TensorProto.UINT8:
        ready = ready.astype(np.uint8)
    try:
        answers = [session.run([output], {value.name: each[None]})[0] for each in ready]
    except Exception as error:
        # As above; what it says names the operator that failed.
        raise GraphRejectedError(f"the file cannot compute such an image: {error}") from error
    return np.concatenate(answers)
