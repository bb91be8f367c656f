"""Predictions with their reasons, asked for and found again."""

from io import BytesIO
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from PIL import Image

from audit import canonical
from audit.records import PredictionRecord
from services import wiring
from services.answering.replies import answer_of_record
from services.contract.predictions import Answer, Answers, PredictionId, PredictionRequest
from services.errors import UnknownPredictionError
from services.pictures import overlays, png
from services.routes import forms
from services.routes.depending import Connected, Name, refusals
from services.routes.lineage import LineageReply, trace
from services.wiring import Serving

router = APIRouter(tags=["predictions"])
_SIDE = 224  # pixels of a heatmap whose image is not kept

Id = Annotated[PredictionId, Path(description="As answered with the prediction.")]
PNG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}
}


def request_body(schema: str) -> dict[str, Any]:
    """Return the OpenAPI entry of a body that comes as multipart or as JSON."""
    content = {
        forms.MULTIPART: {"schema": {"$ref": f"#/components/schemas/{schema}Form"}},
        forms.JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}},
    }
    return {"requestBody": {"required": True, "content": content}}


@router.post(
    "/v1/models/{model}/predictions",
    summary="Predict, and say why",
    response_model=Answers,
    responses=refusals(400, 404, 408, 413, 415, 422, 429, 503),
    openapi_extra=request_body(PredictionRequest.__name__),
)
async def predict(model: Name, request: Request, serving: Connected) -> Response:
    """Answer one or many images with the model's champion, all by the same version.

    An image is a PNG, JPEG, WebP, TIFF, BMP, GIF or AVIF (DICOM where that is installed), told by
    its bytes. With a `region` of the same size, the answer says how well the explanation agrees
    with it. Base64 may be wrapped, of the URL's alphabet, unpadded, or in a data URL. The body may
    also be one image itself, as `image/…` or `application/dicom`, with the options in the query.
    """
    asked = await forms.asked(request, serving.settings.max_images)
    answers = await wiring.answers(serving, model, asked)
    return Response(Answers(predictions=answers).model_dump_json(), media_type=forms.JSON)


@router.get(
    "/v1/predictions/{prediction_id}",
    summary="What was answered, and why",
    responses=refusals(404, 422, 503),
)
def find(prediction_id: Id, serving: Connected) -> Answer:
    """Return a recorded answer with its Grad-CAM, found as soon as it was given."""
    return answer_of_record(recorded(serving, prediction_id))


@router.get(
    "/v1/predictions/{prediction_id}/lineage",
    summary="Where an answer comes from",
    responses=refusals(404, 409, 422, 503),
)
def lineage(prediction_id: Id, serving: Connected) -> LineageReply:
    """Follow an answer back to its version, data, recipe, code, libraries and approvers."""
    return trace(recorded(serving, prediction_id), serving.registry, serving.retrainings)


@router.get(
    "/v1/predictions/{prediction_id}/image.png",
    summary="The pixels that the classifier saw",
    response_class=Response,
    responses=PNG | refusals(404, 422, 503),
)
def image(prediction_id: Id, serving: Connected) -> Response:
    """Return the recorded image, as it was prepared for the classifier, without any metadata."""
    return _png(_image(serving, prediction_id))


@router.get(
    "/v1/predictions/{prediction_id}/heatmap.png",
    summary="The Grad-CAM of an answer, drawn",
    response_class=Response,
    responses=PNG | refusals(404, 422, 503),
)
def heatmap(
    prediction_id: Id,
    serving: Connected,
    background: Annotated[
        Literal["image", "none"],
        Query(description="none: the heatmap alone, transparent where there is no evidence."),
    ] = "image",
) -> Response:
    """Draw the heatmap in viridis over the recorded image, opaque where the evidence is."""
    grid = canonical.shares(recorded(serving, prediction_id).heatmap)
    if background == "none":
        return _png(png.compressed(overlays.layer(grid, _SIDE, _SIDE)))
    pixels = np.asarray(Image.open(BytesIO(_image(serving, prediction_id))).convert("RGB"))
    return _png(png.compressed(overlays.blend(pixels, grid)))


def recorded(serving: Serving, prediction_id: str) -> PredictionRecord:
    """Return what was answered.

    Raises:
        UnknownPredictionError: If nothing was, or it was erased.
    """
    record = serving.trail.find(prediction_id)
    if record is None:
        raise UnknownPredictionError(
            f"no prediction {prediction_id} was recorded, or it was erased"
        )
    return record


def _image(serving: Serving, prediction_id: str) -> bytes:
    kept = serving.trail.image(prediction_id)
    if kept is None:
        raise UnknownPredictionError(f"no image is kept of a prediction {prediction_id}")
    return kept


def _png(content: bytes) -> Response:
    # What was recorded under an identifier never changes, but it can be erased: not for shared
    # caches.
    return Response(
        content, media_type="image/png", headers={"cache-control": "private, no-cache"}
    )
