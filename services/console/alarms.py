"""Alarms: what they rest on, and the word of whoever has seen them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from audit import report
from services.console import layout
from services.routes.depending import Connected, Cursor, refusals

router = APIRouter(tags=["pages"])

_PAGE = 50
STANDING = ("alarm", "acknowledged", "requested", "warning")
# State → colour and what it means.
STATES: Mapping[str, tuple[str, str]] = {
    "alarm": ("alarm", "raised"),
    "acknowledged": ("warning", "acknowledged"),
    "requested": ("warning", "retraining asked for"),
    "warning": ("warning", "close to an alarm"),
    "closed": ("unknown", "closed"),
    "ok": ("ok", "back to normal"),
}


@dataclass(frozen=True, slots=True)
class AlarmView:
    """One alarm as the page shows it.

    Attributes:
        row: Its columns.
        kind: Colour of its state.
        state: Its state in words.
        said: What happened, in words.
        progress: How far the statistic is on its way to the threshold, in [0, 1], on a
            logarithmic scale.
    """

    row: Mapping[str, Any]
    kind: str
    state: str
    said: str
    progress: float


@router.get(
    "/alarms",
    summary="Alarms, to look at",
    response_class=HTMLResponse,
    responses=refusals(422, 503),
)
def alarms_page(
    serving: Connected,
    model: Annotated[str | None, Query(max_length=63, pattern="^[a-z0-9_-]*$")] = None,
    show: Annotated[Literal["standing", "all"], Query(description="all: closed as well.")] = (
        "standing"
    ),
    cursor: Cursor = None,
) -> HTMLResponse:
    """List alarms with their evidence, newest first; a raised one can be acknowledged."""
    store, page = serving.store(), report.Page((), None)
    if store is not None:
        with store.connected() as connection:
            page = report.alarms(
                connection,
                model=model or None,
                states=STANDING if show == "standing" else (),
                after=cursor if (cursor or "").isdecimal() else None,
                limit=_PAGE,
            )
    return layout.page(
        "alarms.html",
        here="/alarms",
        audited=store is not None,
        model=model or None,
        models=serving.registry.models(),
        show=show,
        views=[view(row) for row in page.rows],
        after=page.after,
    )


def view(row: Mapping[str, Any]) -> AlarmView:
    """Return an alarm in words."""
    kind, state = STATES.get(row["state"], ("unknown", row["state"]))
    about = layout.MEASURES.get(row["measure"], row["measure"])
    whom = f" of class {row['class_label']}" if row["class_label"] else ""
    moved = "has fallen" if row["side"] == "low" else "has risen"
    evidence = row["evidence"]
    return AlarmView(
        row=row,
        kind=kind,
        state=state,
        said=f"{about}{whom} {moved}",
        progress=_progress(evidence["value"], evidence["threshold"]),
    )


def _progress(value: float, threshold: float) -> float:
    if threshold <= 1.0:
        return 1.0 if value >= threshold else 0.0
    return min(1.0, max(0.0, math.log(max(value, 1.0)) / math.log(threshold)))
