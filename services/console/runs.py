"""Retrainings, newest first: why each was asked for, how it learns, what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from services import clock
from services.console import installing, layout
from services.identifiers import PATTERN
from services.retraining.rows import Retraining
from services.routes.depending import Connected, refusals

router = APIRouter(tags=["pages"])

_PAGE = 30
# Status → colour and what it means.
STATES: Mapping[str, tuple[str, str]] = {
    "queued": ("unknown", "waits for the runner"),
    "running": ("busy", "under way"),
    "awaiting_approval": ("warning", "waits for approval"),
    "promoted": ("ok", "promoted"),
    "rolled_back": ("warning", "rolled back"),
    "rejected": ("warning", "refused"),
    "failed": ("alarm", "failed"),
    "cancelled": ("unknown", "cancelled"),
}
# Step → what is being done.
STEPS: Mapping[str, str] = {
    "queued": "waiting",
    "collect": "collecting data",
    "train": "training",
    "export": "exporting",
    "evaluate": "evaluating",
    "gate": "at the gate",
    "approve": "waiting for approval",
    "shadow": "in the shadow",
    "canary": "a canary",
    "promote": "promoting",
    "ended": "ended",
}
# Ways of learning as people call them; others go by their own name.
OBJECTIVES: Mapping[str, str] = {
    "auto": "chosen by the data",
    "rrr": "RRR: penalise gradients where nothing matters",
    "exbl": "eXBL: one good and one bad example",
    "gradcam_penalty": "Grad-CAM penalty outside the region",
    "tea": "TEA: learn a teacher's heatmaps",
    "counterexamples": "Counterexamples: replace what must not matter",
    "erm": "ERM: labels alone, for comparison",
}


@dataclass(frozen=True, slots=True)
class RunView:
    """One retraining as lists show it.

    Attributes:
        found: The retraining.
        kind: Colour of its state.
        state: Its state in words.
        trigger: "alarm", "rule", "person" or "webhook".
        recipe: How it learns, in short.
        lasted: How long it took, or takes by now.
    """

    found: Retraining
    kind: str
    state: str
    trigger: str
    recipe: str
    lasted: str


@router.get(
    "/runs",
    summary="Retrainings, to look at",
    response_class=HTMLResponse,
    responses=refusals(422, 503),
)
def runs_page(
    serving: Connected,
    model: Annotated[str | None, Query(max_length=63, pattern="^[a-z0-9_-]*$")] = None,
    cursor: Annotated[str | None, Query(pattern=PATTERN, description="Last of a page.")] = None,
) -> HTMLResponse:
    """List retrainings with what came of them."""
    found = serving.retrainings.page(model=model or None, before=cursor, limit=_PAGE + 1)
    now = clock.now()
    return layout.page(
        "runs.html",
        here="/runs",
        model=model or None,
        models=serving.registry.models(),
        coming=installing.note(serving.settings.home),
        views=[view(each, now) for each in found[:_PAGE]],
        after=found[_PAGE - 1].retraining_id if len(found) > _PAGE else None,
    )


def view(found: Retraining, now: datetime) -> RunView:
    """Return a retraining in words."""
    kind, state = STATES.get(found.status, ("unknown", found.status))
    if found.status == "running":
        state = STEPS.get(found.step, found.step)
    chosen = str(found.facts.get("objective", found.request.objective))
    return RunView(
        found=found,
        kind=kind,
        state=state,
        trigger=trigger(found),
        recipe=objective(chosen).partition(":")[0],
        lasted=span((found.changed_at if found.ended else now) - found.created_at),
    )


def trigger(found: Retraining) -> str:
    """Return what asked for it."""
    match found.request.origin:
        case "policy":
            return "rule"
        case "alertmanager":
            return "webhook"
        case _:
            return "alarm" if found.request.alarm_id else "person"


def objective(name: str) -> str:
    """Return a way of learning in words."""
    return OBJECTIVES.get(name, name)


def span(lasted: timedelta) -> str:
    """Return a time span in its two largest units.

    Examples:
        >>> from datetime import timedelta
        >>> span(timedelta(seconds=75))
        '1 min 15 s'
        >>> span(timedelta(hours=26, minutes=5))
        '1 d 2 h'
    """
    seconds = max(0, int(lasted.total_seconds()))
    parts: list[tuple[int, str]] = []
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        number, seconds = divmod(seconds, size)
        if number or parts:
            parts.append((number, unit))
    shown = [f"{number} {unit}" for number, unit in parts[:2] if number]
    return " ".join(shown) or "0 s"
