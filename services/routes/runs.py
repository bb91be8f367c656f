"""What a retraining leaves to look at: epochs, data, the same images before and after."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import Response, StreamingResponse

from services.contract import runs as evidence
from services.contract.runs import ComparisonReply, DatasetReply, EpochReply, EpochsReply
from services.errors import UnknownSampleError
from services.retraining import reading, streaming
from services.retraining.jobs import launching
from services.routes.depending import Connected, refusals
from services.routes.predictions import PNG
from services.routes.retrainings import Id

router = APIRouter(prefix="/v1/retrainings/{retraining_id}", tags=["retrainings"])

Position = Annotated[int, Path(ge=0, le=99, description="Position among the pairs.")]


@router.get("/epochs", summary="The training so far", responses=refusals(404, 422, 503))
def epochs(retraining_id: Id, serving: Connected) -> EpochsReply:
    """Return loss terms and held-out measures after each epoch; empty before the first."""
    found = serving.retrainings.get(retraining_id)
    told = reading.epochs(serving.settings.retrainings, found)
    return EpochsReply(items=[EpochReply(**each) for each in told])


@router.get("/dataset", summary="What it learns from", responses=refusals(404, 422, 503))
def dataset(retraining_id: Id, serving: Connected) -> DatasetReply:
    """Say which rows, from where, and what was kept out; 404 before they were collected."""
    found = serving.retrainings.get(retraining_id)
    manifest = reading.manifest(serving.settings.retrainings, found)
    if manifest is None:
        raise UnknownSampleError(f"{retraining_id} has not collected its data yet")
    return evidence.dataset(manifest)


@router.get("/comparison", summary="Before and after", responses=refusals(404, 422, 503))
def comparison(retraining_id: Id, serving: Connected) -> ComparisonReply:
    """Return images of the locked set with both answers; 404 before the evaluation."""
    found = serving.retrainings.get(retraining_id)
    compared = reading.comparison(serving.settings.retrainings, found)
    if compared is None:
        raise UnknownSampleError(f"{retraining_id} has not been evaluated yet")
    return ComparisonReply(**compared)


@router.get(
    "/comparison/{position}/image.png",
    summary="An image that both versions answered",
    response_class=Response,
    responses=PNG | refusals(404, 422, 503),
)
def compared_image(retraining_id: Id, position: Position, serving: Connected) -> Response:
    """Return the pixels that both saw."""
    found = serving.retrainings.get(retraining_id)
    return _png(reading.picture(serving.settings.retrainings, found, position, "image"), position)


@router.get(
    "/comparison/{position}/region.png",
    summary="Where evidence is expected in it",
    response_class=Response,
    responses=PNG | refusals(404, 422, 503),
)
def compared_region(retraining_id: Id, position: Position, serving: Connected) -> Response:
    """Return the region: non-zero where relevant."""
    found = serving.retrainings.get(retraining_id)
    return _png(reading.picture(serving.settings.retrainings, found, position, "region"), position)


@router.get(
    "/stream",
    summary="What happens to it, as it happens",
    response_class=StreamingResponse,
    responses={
        200: {"content": {streaming.MEDIA_TYPE: {"schema": {"type": "string"}}}},
        **refusals(404, 422, 503),
    },
)
def follow(retraining_id: Id, serving: Connected) -> StreamingResponse:
    """Stream `state`, `epoch` and `log` events from the beginning, and `end` when it has ended."""
    serving.retrainings.get(retraining_id)
    told = streaming.stream(
        serving.retrainings,
        serving.settings.retrainings,
        launching.of(serving.settings),
        retraining_id,
        follow=True,
    )
    return StreamingResponse(told, media_type=streaming.MEDIA_TYPE)


def _png(content: bytes | None, position: int) -> Response:
    if content is None:
        raise UnknownSampleError(f"there is no pair {position}")
    return Response(content, media_type="image/png", headers={"cache-control": "private"})
