"""What an ONNX file must be before Rightly serves it; every file is checked before it is loaded.

A graph comes from an archive, a colleague or an older release. External data would let it read
any file of this machine, a link would let the checked bytes differ from the loaded ones, and a
graph with another contract would answer with the wrong numbers. So the bytes are read once, from
one regular file that nothing else links to, and those same bytes are checked and later loaded.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto
from onnx.external_data_helper import uses_external_data

from models import specs
from models.errors import GraphRejectedError
from models.types import ClassifierSpec

Kind = Literal["predict", "explain"]
Values = dict[str, tuple[int, int]]  # name -> element type, rank

VERSION: Final = "1"
CONTRACT_KEY: Final = "rightly.contract"
GRAPH_KEY: Final = "rightly.graph"
SPEC_KEY: Final = "rightly.spec"
HEATMAP_KEY: Final = "rightly.heatmap"  # what the map of predict.onnx is, where no Grad-CAM
FILES: Final[dict[Kind, str]] = {"predict": "predict.onnx", "explain": "explain.onnx"}
WEIGHTS: Final = "weights.safetensors"  # beside them, for whoever learns from a version again
ADOPTED: Final = "onnx:"  # how the architecture of an adopted version begins
LOWEST_OPSET: Final = 18
_DOMAINS: Final = frozenset({"", "ai.onnx"})
LARGEST_FILE: Final = 2**31 - 1  # protobuf cannot hold more

_INPUTS: Final[dict[Kind, Values]] = {
    "predict": {"images": (TensorProto.UINT8, 4), "target": (TensorProto.INT64, 1)},
    "explain": {"pixels": (TensorProto.FLOAT, 4), "target": (TensorProto.INT64, 1)},
}
_ANSWERS: Final[Values] = {
    "logits": (TensorProto.FLOAT, 2),
    "probabilities": (TensorProto.FLOAT, 2),
    "cam": (TensorProto.FLOAT, 3),
    "embedding": (TensorProto.FLOAT, 2),
    "explained": (TensorProto.INT64, 1),
}
_OUTPUTS: Final[dict[Kind, Values]] = {
    "predict": _ANSWERS,
    "explain": {**_ANSWERS, "input_gradient": (TensorProto.FLOAT, 4)},
}
_OPTIONAL: Final[dict[Kind, Values]] = {
    "predict": {},
    "explain": {"lrp": (TensorProto.FLOAT, 3)},
}


@dataclass(frozen=True, slots=True)
class CheckedGraph:
    """The bytes of an ONNX file that keeps the contract.

    Attributes:
        kind: Which of a version's two graphs it is.
        content: The file, exactly as checked.
        spec: The classifier that the graph says it computes.
        outputs: Names of its outputs, the optional ones included.
        heatmap: What its map is: "gradcam", or "occlusion" in a graph that was adopted.
    """

    kind: Kind
    content: bytes
    spec: ClassifierSpec
    outputs: tuple[str, ...]
    heatmap: str = "gradcam"


def check(path: Path, kind: Kind) -> CheckedGraph:
    """Read `path` once and return its content, if it is a graph of this `kind` that can be served.

    Raises:
        GraphRejectedError: If the file is missing, a link, too large, no ONNX, of another opset,
            holds external data, or its metadata, inputs or outputs are not the contract's.
    """
    content = read_regular(path, largest=LARGEST_FILE)
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise GraphRejectedError(f"{path.name} is not an ONNX file: {error}") from error
    check_opset(model, path.name)
    check_self_contained(model, path.name)
    check_domains(model, path.name)
    spec = _check_metadata(model, kind, path.name)
    _check_values(model.graph.input, _INPUTS[kind], {}, f"{path.name}: inputs")
    _check_values(model.graph.output, _OUTPUTS[kind], _OPTIONAL[kind], f"{path.name}: outputs")
    _check_sizes(model, spec, path.name)
    names = tuple(each.name for each in model.graph.output)
    return CheckedGraph(kind, content, spec, names, _heatmap(model))


def check_folder(folder: Path) -> ClassifierSpec:
    """Check the graphs of a version and return the classifier that they compute.

    A version that was adopted has no `explain.onnx`: nothing here differentiates its operators.

    Raises:
        GraphRejectedError: If one breaks the contract, or they are of different classifiers.
    """
    predict = check(folder / FILES["predict"], "predict")
    check_explain(folder, predict)
    return predict.spec


def check_explain(folder: Path, predict: CheckedGraph) -> CheckedGraph | None:
    """Return a version's second graph; None where it was adopted and has none.

    Raises:
        GraphRejectedError: If it breaks the contract, is missing, or is of another classifier.
    """
    path = folder / FILES["explain"]
    if predict.spec.architecture.startswith(ADOPTED) and not path.exists():
        return None
    explain = check(path, "explain")
    if predict.spec != explain.spec:
        raise GraphRejectedError("predict.onnx and explain.onnx are of different classifiers")
    return explain


def _heatmap(model: onnx.ModelProto) -> str:
    said = next((each.value for each in model.metadata_props if each.key == HEATMAP_KEY), "cam")
    return "occlusion" if said == "occlusion" else "gradcam"


def read_regular(path: Path, *, largest: int) -> bytes:
    """Return the content of a regular file that has exactly one name.

    Raises:
        GraphRejectedError: If `path` is missing, a link, hard-linked elsewhere, or larger than
            `largest` bytes.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise GraphRejectedError(f"{path.name} cannot be read: {error.strerror}") from error
    try:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode) or state.st_nlink != 1:
            raise GraphRejectedError(
                f"{path.name} must be a regular file with one name, not a link or a device"
            )
        if state.st_size > largest:
            raise GraphRejectedError(f"{path.name} has {state.st_size} bytes, at most {largest}")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(largest)
    finally:
        os.close(handle)


def check_opset(model: onnx.ModelProto, name: str) -> None:
    """Refuse a model of an opset that is too old or too new.

    Raises:
        GraphRejectedError: If it is.
    """
    opsets = [each.version for each in model.opset_import if each.domain in {"", "ai.onnx"}]
    highest = onnx.defs.onnx_opset_version()
    if len(opsets) != 1 or not LOWEST_OPSET <= opsets[0] <= highest:
        raise GraphRejectedError(
            f"{name} has opset {opsets or 'none'}, needed is {LOWEST_OPSET} to {highest}"
        )


def check_self_contained(model: onnx.ModelProto, name: str) -> None:
    """Refuse a model that keeps a tensor in another file.

    Raises:
        GraphRejectedError: If it does.
    """
    for tensor in _tensors_of_model(model):
        if uses_external_data(tensor):
            raise GraphRejectedError(
                f"{name}: tensor {tensor.name!r} is kept in another file; "
                "export without external data"
            )


def check_domains(model: onnx.ModelProto, name: str) -> None:
    """Refuse a model with operators that ONNX does not define.

    Raises:
        GraphRejectedError: If there are some.
    """
    own = {each.domain for each in model.functions}
    nodes = _nodes_of(model.graph.node)
    inside = (each for function in model.functions for each in _nodes_of(function.node))
    for node in (*nodes, *inside):
        if node.domain not in _DOMAINS | own:
            raise GraphRejectedError(
                f"{name}: operator {node.op_type!r} is of domain {node.domain!r}; served are "
                "those that ONNX defines"
            )


def _nodes_of(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield the nodes, and those of the graphs inside them."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            graphs = [attribute.g] if attribute.HasField("g") else []
            for graph in (*graphs, *attribute.graphs):
                yield from _nodes_of(graph.node)


def _check_metadata(model: onnx.ModelProto, kind: Kind, name: str) -> ClassifierSpec:
    metadata = {each.key: each.value for each in model.metadata_props}
    for key, expected in ((CONTRACT_KEY, VERSION), (GRAPH_KEY, kind)):
        if metadata.get(key) != expected:
            raise GraphRejectedError(
                f"{name}: {key} is {metadata.get(key)!r}, needed is {expected!r}"
            )
    if SPEC_KEY not in metadata:
        raise GraphRejectedError(f"{name}: {SPEC_KEY} is missing; export it with Rightly")
    return specs.from_json(metadata[SPEC_KEY])


def _check_values(
    values: Iterable[onnx.ValueInfoProto],
    needed: Values,
    optional: Values,
    what: str,
) -> None:
    """Compare names, element types and ranks with the contract."""
    given = {each.name: _type_and_rank(each) for each in values}
    known = {**needed, **optional}
    if not set(needed) <= set(given) <= set(known):
        raise GraphRejectedError(f"{what} are {sorted(given)}, needed are {sorted(needed)}")
    for name, found in given.items():
        if found != known[name]:
            raise GraphRejectedError(
                f"{what}: {name} has (type, rank) {found}, needed is {known[name]}"
            )


def _check_sizes(model: onnx.ModelProto, spec: ClassifierSpec, name: str) -> None:
    """Compare the sizes that the graph states with its spec; a size it leaves open passes."""
    shape = spec.preprocessing
    expected = {
        "images": (None, shape.height, shape.width, 3),
        "pixels": (None, shape.height, shape.width, 3),
        "logits": (None, len(spec.classes)),
        "probabilities": (None, len(spec.classes)),
        "input_gradient": (None, shape.height, shape.width, 3),
        "lrp": (None, shape.height, shape.width),
    }
    for value in (*model.graph.input, *model.graph.output):
        sizes = [each.dim_value for each in value.type.tensor_type.shape.dim]
        if sizes and sizes[0]:
            raise GraphRejectedError(
                f"{name}: {value.name} takes {sizes[0]} at a time; the first axis must stay open"
            )
        for needed, found in zip(expected.get(value.name, ()), sizes, strict=False):
            if needed and found and found != needed:
                raise GraphRejectedError(
                    f"{name}: {value.name} is {sizes}, its spec says {expected[value.name]}"
                )


def _type_and_rank(value: onnx.ValueInfoProto) -> tuple[int, int]:
    tensor = value.type.tensor_type
    return tensor.elem_type, len(tensor.shape.dim)


def _tensors_of_model(model: onnx.ModelProto) -> Iterator[TensorProto]:
    yield from _tensors_of_graph(model.graph)
    for function in model.functions:
        yield from _tensors_of_nodes(function.node)
    for training in model.training_info:
        yield from _tensors_of_graph(training.initialization)
        yield from _tensors_of_graph(training.algorithm)


def _tensors_of_graph(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _tensors_of_nodes(graph.node)


def _tensors_of_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[TensorProto]:
    for attribute in (each for node in nodes for each in node.attribute):
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        sparse = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
        for each in (*sparse, *attribute.sparse_tensors):
            yield from (each.values, each.indices)
        graphs = [attribute.g] if attribute.HasField("g") else []
        for graph in (*graphs, *attribute.graphs):
            yield from _tensors_of_graph(graph)
