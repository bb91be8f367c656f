"""A tiny classifier as hand-made ONNX graphs: keeps the whole contract, needs no torch.

Three classes, red, green and blue, and images of 16x16. A 4x4 convolution with stride 4 measures
how much one colour stands out of the other two; ReLU, global average pooling and a linear layer
decide. So a red patch on grey is red, its Grad-CAM lies on the patch, and each number can be
worked out by hand (pixels in [0, 1]):

    embedding_c = mean over the 16 cells of ReLU(colour_c - mean of the other two)
    logits      = GAIN * embedding
    cam_k       = GAIN / 16 * ReLU(...)_k          (Grad-CAM after ReLU, not scaled)

Biases are zero, so LRP-0 equals gradient x input on this network, and `lrp` is computed as that.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from models import contract, specs
from models.types import ClassifierSpec, Preprocessing

SIDE = 16
CELL = 4
GRID = SIDE // CELL
GAIN = 40.0
CLASSES = ("red", "green", "blue")


def spec(classes: Sequence[str] = CLASSES) -> ClassifierSpec:
    """What the tiny classifier is."""
    return ClassifierSpec(
        architecture="tests.graphs:tiny",
        classes=tuple(classes),
        preprocessing=Preprocessing(SIDE, SIDE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        target_layer="convolution",
    )


def patch(colour: str, row: int = 0, column: int = 0, *, size: int = CELL) -> NDArray[np.uint8]:
    """A grey image, uint8 [16, 16, 3], with a square of `colour` at that corner."""
    image = np.full((SIDE, SIDE, 3), 96, np.uint8)
    image[row : row + size, column : column + size, CLASSES.index(colour)] = 224
    return image


def write_version(
    folder: Path,
    *,
    classes: Sequence[str] = CLASSES,
    gain: float = GAIN,
    lrp: bool = True,
) -> Path:
    """Write `predict.onnx`, `explain.onnx` and `weights.safetensors` of the tiny classifier.

    Args:
        folder: Created if need be.
        classes: Three labels; the order is that of red, green, blue.
        gain: Scales the linear layer; another gain is another version.
        lrp: Whether `explain.onnx` has the optional output.

    Returns:
        `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("predict", "explain"):
        model = build(kind, classes=classes, gain=gain, lrp=lrp)
        (folder / f"{kind}.onnx").write_bytes(model.SerializeToString())
    save_file(_weights(gain), folder / "weights.safetensors")
    return folder


def build(
    kind: contract.Kind,
    *,
    classes: Sequence[str] = CLASSES,
    gain: float = GAIN,
    lrp: bool = True,
) -> onnx.ModelProto:
    """The tiny classifier's "predict" or "explain" graph."""
    explaining = kind == "explain"
    nodes = [*_reading(explaining=explaining), *_answering(), *(_gradient() if explaining else [])]
    if explaining and lrp:
        nodes += _relevance()
    graph = helper.make_graph(
        nodes,
        kind,
        [_input(kind), helper.make_tensor_value_info("target", TensorProto.INT64, ["n"])],
        _outputs(len(classes), explaining=explaining, lrp=explaining and lrp),
        [numpy_helper.from_array(array, name) for name, array in _constants(gain).items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10, producer_name="rightly"
    )
    helper.set_model_props(
        model,
        {
            contract.CONTRACT_KEY: contract.VERSION,
            contract.GRAPH_KEY: kind,
            contract.SPEC_KEY: specs.to_json(spec(classes)),
        },
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _input(kind: contract.Kind) -> onnx.ValueInfoProto:
    name, element = (
        ("images", TensorProto.UINT8) if kind == "predict" else ("pixels", TensorProto.FLOAT)
    )
    return helper.make_tensor_value_info(name, element, ["n", SIDE, SIDE, 3])


def _outputs(classes: int, *, explaining: bool, lrp: bool) -> list[onnx.ValueInfoProto]:
    shapes: dict[str, list[str | int]] = {
        "logits": ["n", classes],
        "probabilities": ["n", classes],
        "cam": ["n", GRID, GRID],
        "embedding": ["n", 3],
    }
    if explaining:
        shapes["input_gradient"] = ["n", SIDE, SIDE, 3]
    if lrp:
        shapes["lrp"] = ["n", SIDE, SIDE]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]
    return [*values, helper.make_tensor_value_info("explained", TensorProto.INT64, ["n"])]


def _weights(gain: float) -> dict[str, NDArray[np.float32]]:
    """Convolution [3 features, 3 colours, 4, 4] and linear layer [3 classes, 3 features]."""
    contrast = 1.5 * np.eye(3) - 0.5  # own colour minus the mean of the other two
    kernel = np.repeat(contrast[:, :, None, None], CELL, 2).repeat(CELL, 3) / CELL**2
    return {
        "convolution.weight": kernel.astype(np.float32),
        "linear.weight": (gain * np.eye(3)).astype(np.float32),
    }


def _constants(gain: float) -> dict[str, NDArray[np.generic]]:
    return {
        **_weights(gain),
        "scale": np.float32(1 / 255).reshape(()),
        "zero": np.int64(0).reshape(()),
        "cells": np.float32(GRID**2).reshape(()),
        "identity": np.eye(3, dtype=np.float32),
        "channels": np.array([1], np.int64),
        "colours": np.array([3], np.int64),
        "positions": np.array([2, 3], np.int64),
    }


def _node(operator: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], **attributes)


def _reading(*, explaining: bool) -> list[onnx.NodeProto]:
    if explaining:
        return [_node("Mul", "pixels scale", "unit")]
    return [
        _node("Cast", "images", "floats", to=TensorProto.FLOAT),
        _node("Mul", "floats scale", "unit"),
    ]


def _answering() -> list[onnx.NodeProto]:
    """From `unit` [N, H, W, 3] in [0, 1] to the five outputs that both graphs share."""
    return [
        _node("Transpose", "unit", "planes", perm=[0, 3, 1, 2]),
        _node("Conv", "planes convolution.weight", "raw", strides=[CELL, CELL]),
        _node("Relu", "raw", "activation"),
        _node("ReduceMean", "activation positions", "embedding", keepdims=0),
        _node("Gemm", "embedding linear.weight", "logits", transB=1),
        _node("Softmax", "logits", "probabilities", axis=1),
        _node("ArgMax", "logits", "decided", axis=1, keepdims=0),
        _node("Less", "target zero", "open"),
        _node("Where", "open decided target", "explained"),
        _node("Gather", "linear.weight explained", "row", axis=0),
        _node("Unsqueeze", "row positions", "column"),
        _node("Div", "column cells", "slope"),
        _node("Mul", "activation slope", "evidence"),
        _node("ReduceSum", "evidence channels", "summed", keepdims=0),
        _node("Relu", "summed", "cam"),
    ]


def _backward(upstream: str, name: str) -> list[onnx.NodeProto]:
    """From a gradient at the embedding to `name` [N, H, W, 3], the gradient per unit of 0..255."""
    return [
        _node("Sign", "activation", f"{name}.mask"),
        _node("Unsqueeze", f"{upstream} positions", f"{name}.wide"),
        _node("Div", f"{name}.wide cells", f"{name}.share"),
        _node("Mul", f"{name}.mask {name}.share", f"{name}.cells"),
        _node(
            "ConvTranspose",
            f"{name}.cells convolution.weight",
            f"{name}.planes",
            strides=[CELL, CELL],
        ),
        _node("Transpose", f"{name}.planes", f"{name}.unit", perm=[0, 2, 3, 1]),
        _node("Mul", f"{name}.unit scale", name),
    ]


def _gradient() -> list[onnx.NodeProto]:
    """Log p_target changes with the logits by the one-hot target minus the probabilities."""
    return [
        _node("Gather", "identity explained", "one_hot", axis=0),
        _node("Sub", "one_hot probabilities", "surprise"),
        _node("MatMul", "surprise linear.weight", "upstream"),
        *_backward("upstream", "input_gradient"),
    ]


def _relevance() -> list[onnx.NodeProto]:
    return [
        *_backward("row", "logit_gradient"),
        _node("Mul", "logit_gradient pixels", "relevance"),
        _node("ReduceSum", "relevance colours", "lrp", keepdims=0),
    ]
