"""The Open Inference Protocol (v2): the same answers for clients of Triton and KServe.

An answer by this protocol is an answer like any other: prepared, measured, written down before it
leaves, found again by its `prediction_id`. The heatmap is one of the outputs.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Request
from fastapi.responses import Response
from pydantic import ValidationError

from models.errors import UnknownModelError
from services import wiring
from services.answering.answerer import Question
from services.contract.inference import (
    InferReply,
    InferRequest,
    ModelMetadata,
    ModelReady,
    ServerLive,
    ServerMetadata,
    ServerReady,
    TensorMetadata,
    TensorRequest,
)
from services.contract.predictions import Answer, Options
from services.errors import InvalidFieldsError, NotReadyError, RequestError
from services.pictures import png
from services.routes import forms, tensors
from services.routes.depending import Connected, Name, installed_version, refusals
from services.routes.tensors import Tensor

router = APIRouter(prefix="/v2", tags=["open inference protocol"])

Number = Annotated[str, Path(pattern="^[0-9]{1,9}$", description="Only the one that answers.")]
BINARY = "application/octet-stream"
OUTPUTS = ("probabilities", "label", "heatmap", "prediction_id")
_SPOKEN = ("explainer", "target", "subject")
_RANK = 4  # of a batch of pictures
_INFER: dict[str, Any] = {
    "response_model": InferReply,
    "responses": {
        **refusals(400, 404, 408, 413, 415, 422, 429, 503),
        200: {"content": {BINARY: {"schema": {"type": "string", "format": "binary"}}}},
    },
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {forms.JSON: {"schema": {"$ref": "#/components/schemas/InferRequest"}}},
        }
    },
}


@router.get("", summary="What answers")
async def server() -> ServerMetadata:
    """Name the server and the parts of the protocol that it speaks."""
    return ServerMetadata(version=installed_version(), extensions=["binary_tensor_data"])


@router.get("/health/live", summary="Is this worker alive?")
async def live() -> ServerLive:
    """Answer as long as the worker runs."""
    return ServerLive()


@router.get("/health/ready", summary="Can this worker answer?", responses=refusals(503))
async def ready(serving: Connected) -> ServerReady:
    """Answer while some model has a version in service."""
    if not serving.champions.in_service():
        raise NotReadyError("no model has a version in service")
    return ServerReady()


@router.get(
    "/models/{model}", summary="What a model takes and gives", responses=refusals(404, 422, 503)
)
@router.get(
    "/models/{model}/versions/{version}",
    name="version_metadata",
    summary="What a version takes and gives",
    responses=refusals(404, 422, 503),
)
async def metadata(
    model: Name, serving: Connected, version: Number | None = None
) -> ModelMetadata:
    """Name the tensors of the version that answers."""
    served = serving.champions.current(model)
    _check_version(served.ref.version, version)
    classes = len(served.session.spec.classes)
    return ModelMetadata(
        name=model,
        versions=[str(served.ref.version)],
        inputs=[
            TensorMetadata(name="image", datatype="BYTES", shape=[-1]),
            TensorMetadata(name="region", datatype="BYTES", shape=[-1]),
        ],
        outputs=[
            TensorMetadata(name="probabilities", datatype="FP32", shape=[-1, classes]),
            TensorMetadata(name="label", datatype="BYTES", shape=[-1]),
            TensorMetadata(name="heatmap", datatype="FP32", shape=[-1, -1, -1]),
            TensorMetadata(name="prediction_id", datatype="BYTES", shape=[-1]),
        ],
    )


@router.get(
    "/models/{model}/ready", summary="Does a model answer?", responses=refusals(404, 422, 503)
)
@router.get(
    "/models/{model}/versions/{version}/ready",
    name="version_ready",
    summary="Does a version answer?",
    responses=refusals(404, 422, 503),
)
async def model_ready(
    model: Name, serving: Connected, version: Number | None = None
) -> ModelReady:
    """Answer while the model has a version in service."""
    _check_version(serving.champions.current(model).ref.version, version)
    return ModelReady(name=model)


@router.post("/models/{model}/infer", summary="Infer, and say why", **_INFER)
@router.post(
    "/models/{model}/versions/{version}/infer",
    name="version_infer",
    summary="Infer by a version",
    **_INFER,
)
async def infer(
    model: Name, request: Request, serving: Connected, version: Number | None = None
) -> Response:
    """Answer a batch of images: probabilities, label, heatmap and the answer's identifier.

    `image` is BYTES (encoded files) or UINT8 (RGB pixels); `region` is BYTES or BOOL likewise.
    """
    current = serving.champions.current(model)
    _check_version(current.ref.version, version)
    content = await request.body()
    header = request.headers.get(tensors.HEADER)
    wish, parts = tensors.parse(content, header)
    classes = current.session.spec.classes
    asked = question(wish, parts, serving.settings.max_images, len(classes))
    answers = await wiring.answers(serving, model, lambda: asked)
    given = answers[0].model
    head = {"model_name": model, "model_version": str(given.version), "id": wish.id}
    body, length = tensors.answer(wish, head, _wanted(wish, outputs(answers)))
    if length is None:
        return Response(body, media_type=forms.JSON)
    return Response(body, media_type=BINARY, headers={tensors.HEADER: str(length)})


def question(
    wish: InferRequest, parts: Sequence[bytes | None], most_images: int, classes: int
) -> Question:
    """Return what a request of the protocol asks.

    Raises:
        ServiceError: If an input, an output or a parameter cannot be used; the message says which.
    """
    found: dict[str, list[bytes]] = {}
    for tensor, raw in zip(wish.inputs, parts, strict=True):
        if tensor.name not in {"image", "region"}:
            raise RequestError(f"there is no input {tensor.name!r}; there are image and region")
        if tensor.name in found:
            raise RequestError(f"{tensor.name} is given twice")
        found[tensor.name] = _files(tensor, raw)
    said = {name: wish.parameters[name] for name in _SPOKEN if name in wish.parameters}
    try:
        options = Options.model_validate(said)
    except ValidationError as error:
        raise InvalidFieldsError(error.errors(include_input=False, include_url=False)) from error
    for output in wish.outputs:
        if output.name not in OUTPUTS:
            raise RequestError(
                f"there is no output {output.name!r}; there are {', '.join(OUTPUTS)}"
            )
    every = options.model_copy(update={"top_k": classes})
    return forms.question(found.get("image", []), found.get("region", []), every, most_images)


def _files(tensor: TensorRequest, raw: bytes | None) -> list[bytes]:
    """Return a tensor as encoded files; pixels become PNGs, which lose nothing."""
    if tensor.datatype == "BYTES":
        return tensors.elements(tensor, raw)
    region = tensor.name == "region"
    kinds = {"UINT8", "BOOL"} if region else {"UINT8"}
    if tensor.datatype not in kinds:
        raise RequestError(
            f"{tensor.name} is {tensor.datatype}; send BYTES or {' or '.join(sorted(kinds))}"
        )
    shape = tensor.shape
    rank, what = (_RANK - 1, "[N, height, width]") if region else (_RANK, "[N, height, width, 3]")
    if len(shape) != rank or 0 in shape[1:] or (not region and shape[-1] != 3):  # noqa: PLR2004
        raise RequestError(f"{tensor.name} has shape {shape}; send {what}")
    values = tensors.numbers(tensor, raw)
    return [png.compressed(_bright(each) if region else each) for each in values]


def _bright(region: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.where(region, 255, 0).astype(np.uint8)


def outputs(answers: list[Answer]) -> list[Tensor]:
    """Return answers as the tensors of the protocol."""
    ordered = [sorted(each.classes, key=lambda found: found.index) for each in answers]
    shares = np.array([[found.probability for found in each] for each in ordered], np.float32)
    labels = [each.classes[0].label for each in answers]
    grids = [each.explanation.grid for each in answers]
    identifiers = [each.prediction_id for each in answers]
    return [
        Tensor("probabilities", "FP32", shares),
        Tensor("label", "BYTES", np.array(labels, object)),
        Tensor("heatmap", "FP32", np.array(grids, np.float32)),
        Tensor("prediction_id", "BYTES", np.array(identifiers, object)),
    ]


def _wanted(wish: InferRequest, found: list[Tensor]) -> list[Tensor]:
    by_name = {each.name: each for each in found}
    return [by_name[each.name] for each in wish.outputs] or found


def _check_version(current: int, asked: str | None) -> None:
    if asked is not None and int(asked) != current:
        raise UnknownModelError(f"version {asked} does not answer; version {current} does")
