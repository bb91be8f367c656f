"""The Open Inference Protocol (v2), as Triton, KServe and their clients speak it."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints

from services.contract.predictions import Reply, Request

Datatype = Literal[
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
    "BYTES",
]
TensorName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Parameters = Annotated[dict[str, bool | int | float | str], Field(max_length=16)]
Size = Annotated[int, Field(ge=0, le=2**31)]


class TensorRequest(Request):
    """One input."""

    name: TensorName
    """`image`, or `region`."""
    shape: Annotated[list[Size], Field(max_length=4)]
    datatype: Datatype
    """BYTES: encoded files, as base64 in JSON. UINT8: pixels in RGB, `[N, height, width, 3]`."""
    parameters: Parameters = Field(default_factory=dict)
    """`binary_data_size`: the bytes of this tensor that follow the JSON part of the body."""
    data: list[Any] | None = None
    """Its elements, nested or flat; absent where they follow in binary."""


class OutputRequest(Request):
    """One output that is wanted."""

    name: TensorName
    parameters: Parameters = Field(default_factory=dict)
    """`binary_data`: whether it is sent after the JSON part of the answer."""


class InferRequest(Request):
    """What is to be inferred; unknown fields of later versions of the protocol are refused."""

    id: Annotated[str, StringConstraints(max_length=128)] = ""
    inputs: Annotated[list[TensorRequest], Field(min_length=1, max_length=2)]
    outputs: Annotated[list[OutputRequest], Field(max_length=16)] = Field(default_factory=list)
    """All of them where none is named."""
    parameters: Parameters = Field(default_factory=dict)
    """`explainer`, `target` and `subject`, as in `POST /v1/models/{model}/predictions`;
    `binary_data_output`: whether outputs that do not say so themselves are sent in binary."""


class TensorReply(Reply):
    """One output."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, extra="forbid")

    name: str
    datatype: Datatype
    shape: list[int]
    parameters: dict[str, int] | None = None
    data: list[Any] | None = None
    """Its elements, flat; absent where they follow in binary."""


class InferReply(Reply):
    """What was inferred."""

    model_name: str
    model_version: str
    id: str = ""
    outputs: list[TensorReply]


class TensorMetadata(Reply):
    """A tensor of a model."""

    name: str
    datatype: Datatype
    shape: list[int]
    """−1 where it varies."""


class ModelMetadata(Reply):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    """Only the one that answers."""
    platform: Literal["onnxruntime_onnx"] = "onnxruntime_onnx"
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(Reply):
    """What answers."""

    name: Literal["rightly"] = "rightly"
    version: str
    extensions: list[str]


class ServerLive(Reply):
    """This worker runs."""

    live: Literal[True] = True


class ServerReady(Reply):
    """This worker can answer."""

    ready: Literal[True] = True


class ModelReady(Reply):
    """This model answers."""

    name: str
    ready: Literal[True] = True
