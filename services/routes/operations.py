"""Health of a worker, and of what works beside it."""

import asyncio
from importlib.util import find_spec

from fastapi import APIRouter

from services import clock
from services.answering import health
from services.answering.health import Facts, Trouble
from services.contract.predictions import Liveness, Readiness, ServedModel, TroubleReply
from services.errors import NotReadyError
from services.records import presence
from services.routes.depending import Connected, installed_version, refusals
from services.wiring import Serving

router = APIRouter(tags=["operations"])


@router.get("/livez", summary="Is this worker alive?")
async def livez() -> Liveness:
    """Answer as long as the worker runs, whether or not it can predict."""
    return Liveness(version=installed_version())


@router.get("/readyz", summary="Can this worker answer?", responses=refusals(503))
async def readyz(serving: Connected) -> Readiness:
    """Name every model in service with its version and ONNX Runtime's providers.

    503 where it cannot answer. What is broken otherwise stands in `troubles`.
    """
    default = serving.champions.default(serving.settings)
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
        there = ", ".join(each.name for each in models) or "none"
        raise NotReadyError(
            f"the default model {default!r} has no version in service; there are {there}, and "
            "the setting default_model chooses one"
        )
    found = await asyncio.to_thread(troubles, serving)
    if stops := [each for each in found if each.stops]:
        raise NotReadyError(" ".join(f"{each.said} {each.remedy}" for each in stops))
    said = [TroubleReply(kind=each.kind, said=each.said, remedy=each.remedy) for each in found]
    return Readiness(ready=True, default_model=default, models=models, troubles=said)


def troubles(serving: Serving) -> list[Trouble]:
    """Return what is broken, as this worker sees it; reads a few small files."""
    chosen = serving.settings
    facts = Facts(
        is_recording=chosen.recording != "off",
        unwritable=serving.recorder.unwritable(),
        followed=serving.champions.followed,
        unserved=serving.champions.failing,
        store=serving.store.trouble,
        auditor=presence.read(chosen.home, "auditor"),
        runner=presence.read(chosen.home, "runner"),
        # As the command line starts one: where there is nothing to train with, it runs elsewhere.
        wants_runner=chosen.runner and find_spec("torch") is not None,
    )
    return health.troubles(facts, now=clock.now())
