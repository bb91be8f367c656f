"""Review: one answer after the other, its reason judged and the region drawn."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from services.console import layout, queue
from services.console.queue import Item
from services.routes.depending import Connected, refusals
from services.schemas import PredictionId
from services.wiring import Serving

router = APIRouter(tags=["pages"])

# Key, verdict as the REST surface calls it, and its name.
VERDICTS = (
    ("g", "right-reason", "Right reason"),
    ("b", "wrong-reason", "Wrong reason"),
    ("c", "wrong-class", "Wrong class"),
    ("u", "unsure", "Unsure"),
    ("x", "bad-image", "Bad image"),
)


@router.get(
    "/review",
    summary="Review answers",
    response_class=HTMLResponse,
    responses=refusals(404, 409, 422, 503),
)
def review_page(
    serving: Connected,
    model: Annotated[str | None, Query(max_length=63, pattern="^[a-z0-9_-]*$")] = None,
    prediction: Annotated[PredictionId | None, Query(description="This answer first.")] = None,
    *,
    blind: Annotated[bool, Query(description="Judge the image before the answer shows.")] = False,
) -> HTMLResponse:
    """Show the queue of a model: image, heatmap and region, verdicts by key."""
    names = serving.registry.models()
    default = serving.settings.default_model
    name = model or (default if default in names else next(iter(names), None))
    found = [] if name is None else _items(serving, name)
    if prediction is not None:
        picked = Item(prediction, "chosen", 1.0, 1.0, {})
        found = [picked, *(each for each in found if each.prediction_id != prediction)]
    return layout.page(
        "review.html",
        here="/review",
        audited=serving.store() is not None,
        models=names,
        model=name,
        blind=blind,
        items=[asdict(each) for each in found],
        classes=() if name is None else _classes(serving, name),
        verdicts=VERDICTS,
    )


def _items(serving: Serving, model: str) -> list[Item]:
    store = serving.store()
    if store is None:
        return []
    with store.connected() as connection:
        return queue.items(connection, model, key=serving.recorder.key)


def _classes(serving: Serving, model: str) -> tuple[str, ...]:
    versions = serving.registry.versions(model)
    return versions[-1].card.spec.classes if versions else ()
