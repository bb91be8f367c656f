"""Health of a worker."""

from fastapi import APIRouter

from services.contract.predictions import Liveness, Readiness, ServedModel
from services.errors import NotReadyError
from services.routes.depending import Connected, installed_version, refusals

router = APIRouter(tags=["operations"])


@router.get("/livez", summary="Is this worker alive?")
async def livez() -> Liveness:
    """Answer as long as the worker runs, whether or not it can predict."""
    return Liveness(version=installed_version())


@router.get("/readyz", summary="Can this worker answer?", responses=refusals(503))
async def readyz(serving: Connected) -> Readiness:
    """Name every model in service with its version and ONNX Runtime's providers."""
    default = serving.settings.default_model
    models = [
        ServedModel(
            name=each.ref.name,
            version=each.ref.version,
            digest=each.ref.digest,
            providers=list(each.providers),
            since=each.since,
        )
        for each in serving.champions.in_service()
    ]
    if default not in {each.name for each in models}:
        raise NotReadyError(f"the default model {default!r} has no version in service")
    return Readiness(ready=True, default_model=default, models=models)
