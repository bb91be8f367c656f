"""Any version tried on an image: the version's own samples, or somebody's."""

from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from models import samples
from services.contract.predictions import Trial, VersionNumber
from services.errors import UnknownSampleError
from services.routes import forms
from services.routes.depending import Connected, refusals
from services.routes.predictions import PNG, request_body

router = APIRouter(prefix="/v1/models/{model}/versions/{version}", tags=["models"])

Number = Annotated[VersionNumber, Path()]
Position = Annotated[int, Path(ge=0, le=9999, description="Position in the version's list.")]


@router.post(
    "/trials",
    summary="Try a version, in service or not",
    response_model=Trial,
    responses=refusals(400, 404, 408, 409, 413, 415, 422, 429, 503),
    openapi_extra=request_body("ImageRequest"),
)
async def try_version(
    model: str, version: Number, request: Request, serving: Connected
) -> Response:
    """Say what the version makes of one image, and why.

    A trial feeds no measure and no detector, and the image is not kept; that it was made is
    written down.
    """
    asked = await forms.asked(request, 1)
    found = await serving.pool.run(lambda: serving.trials.run(model, version, asked()))
    return Response(found.model_dump_json(), media_type=forms.JSON)


@router.get(
    "/samples/{position}/image.png",
    summary="An image that travels with a version",
    response_class=Response,
    responses=PNG | refusals(404, 409, 422),
)
def sample_image(model: str, version: Number, position: Position, serving: Connected) -> Response:
    """Return one of the images that the version's maker put beside it."""
    sample = _sample(serving.registry.version(model, version).folder, position)
    return _png(sample.image.read_bytes())


@router.get(
    "/samples/{position}/region.png",
    summary="Where the evidence in a sample is expected",
    response_class=Response,
    responses=PNG | refusals(404, 409, 422),
)
def sample_region(model: str, version: Number, position: Position, serving: Connected) -> Response:
    """Return the sample's region: non-zero where relevant."""
    sample = _sample(serving.registry.version(model, version).folder, position)
    if sample.region is None:
        raise UnknownSampleError(f"nobody marked a region in sample {position}")
    return _png(sample.region.read_bytes())


def _sample(folder: FilePath, position: int) -> samples.SampleFile:
    found = samples.read(folder)
    if position >= len(found):
        raise UnknownSampleError(f"no sample {position}; the version has {len(found)}")
    return found[position]


def _png(content: bytes) -> Response:
    return Response(content, media_type="image/png", headers={"cache-control": "private"})
