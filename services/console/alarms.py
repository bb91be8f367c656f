"""Alarms: what they rest on, and the word of whoever has seen them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse
from sqlalchemy.engine import Connection

from audit import change_control, incidents, recent, report
from audit.errors import PlanError
from audit.incidents import Incident
from audit.recent import Example
from audit.reliance.places import Place
from models.errors import RegistryError
from services.console import layout, runs
from services.retraining import recommending, teaching
from services.retraining.recommending import Recommendation
from services.retraining.rows import Retraining
from services.routes.depending import Connected, Cursor, refusals
from services.wiring import Serving

router = APIRouter(tags=["pages"])

_PAGE = 50
_EXAMPLES = 12  # answers behind an incident
_RECENT = 100  # retrainings of a model among which that of an alarm is looked for
STANDING = ("alarm", "acknowledged", "requested", "warning")
# Those from which a retraining may be asked for.
OPENABLE = ("alarm", "acknowledged")
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
class Opening:
    """What a retraining of a model may be asked for with.

    Attributes:
        champion: Number of the version that it would be compared with.
        recommended: The recipe that is chosen at first, and why.
        recipes: Name and words of every recipe that the plan allows.
        active: The retraining that is under way, which has to end first; None for none.
        refusal: Why none can be asked for at all; "" where one can.
    """

    champion: int
    recommended: Recommendation
    recipes: Sequence[tuple[str, str]]
    active: Retraining | None
    refusal: str


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
        where: Where the answers come from, in words; None where that was not asked.
        cells: The map of it: column, row and strength of each cell, in (0, 1].
        run: The retraining that answers it; None for none.
        open: What a retraining could be asked for with; None where none can be asked for now.
    """

    row: Mapping[str, Any]
    kind: str
    state: str
    said: str
    progress: float
    where: str | None = None
    cells: Sequence[tuple[int, int, float]] = ()
    run: Retraining | None = None
    open: Opening | None = None


@dataclass(frozen=True, slots=True)
class IncidentView:
    """Alarms with one cause as the page shows them.

    Attributes:
        found: The incident.
        kind: Colour of its state.
        state: Its state in words.
        cause: Its likely cause in words.
        moved: What moved, in words.
        views: Its alarms.
        examples: Answers that show it best; at most `_EXAMPLES`.
    """

    found: Incident
    kind: str
    state: str
    cause: str
    moved: Sequence[str]
    views: Sequence[AlarmView]
    examples: Sequence[Example]


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
    views = _with_runs(serving, [view(row) for row in page.rows])
    return layout.page(
        "alarms.html",
        here="/alarms",
        audited=store is not None,
        model=model or None,
        models=serving.registry.models(),
        show=show,
        incidents=_incidents(serving, views),
        after=page.after,
    )


def answers_behind(
    connection: Connection, alarm: Mapping[str, Any], limit: int = _EXAMPLES
) -> Sequence[Example]:
    """Return the answers that show an alarm best, the strongest first."""
    return recent.examples(
        connection,
        alarm["model"],
        alarm["version"],
        alarm["measure"],
        limit=limit,
        class_label=alarm["class_label"] or None,
        highest=alarm["side"] == "high",
    )


def _incidents(serving: Serving, views: Sequence[AlarmView]) -> list[IncidentView]:
    by_id = {each.row["alarm_id"]: each for each in views}
    found = incidents.group([each.row for each in views], reliance=recent.RELIANCE)
    store = serving.store()
    if store is None:
        return []
    shown = []
    with store.connected() as connection:
        for each in found:
            kind, state = STATES.get(each.state, ("unknown", each.state))
            shown.append(
                IncidentView(
                    found=each,
                    kind=kind,
                    state=state,
                    cause=incidents.CAUSES[each.cause],
                    moved=[layout.MEASURES.get(name, name) for name in each.measures],
                    views=[by_id[row["alarm_id"]] for row in each.alarms],
                    examples=answers_behind(connection, each.leading),
                )
            )
    return shown


def view(row: Mapping[str, Any]) -> AlarmView:
    """Return an alarm in words."""
    kind, state = STATES.get(row["state"], ("unknown", row["state"]))
    about = layout.MEASURES.get(row["measure"], row["measure"])
    whom = f" of class {row['class_label']}" if row["class_label"] else ""
    moved = "has fallen" if row["side"] == "low" else "has risen"
    evidence, found = row["evidence"], row.get("where")
    return AlarmView(
        row=row,
        kind=kind,
        state=state,
        said=f"{about}{whom} {moved}",
        where=found and found.said(row["class_label"]),
        cells=[] if found is None else _cells(found),
        progress=_progress(evidence["value"], evidence["threshold"]),
    )


def _cells(found: Place) -> list[tuple[int, int, float]]:
    """Return column, row and strength, 1 for the strongest, of each cell that carries anything."""
    strongest = max(max(row) for row in found.map)
    return [
        (column, row, round(fall / strongest, 3))
        for row, falls in enumerate(found.map)
        for column, fall in enumerate(falls)
        if fall > 0.0
    ]


def _with_runs(serving: Serving, views: Sequence[AlarmView]) -> list[AlarmView]:
    """Add to each alarm the retraining that answers it, or what one may be asked for with."""
    recent = {
        model: serving.retrainings.page(model=model, limit=_RECENT)
        for model in {each.row["model"] for each in views}
    }
    openings = {
        model: opening(serving, model)
        for model in {each.row["model"] for each in views if each.row["state"] in OPENABLE}
    }
    shown = []
    for each in views:
        model, alarm_id = each.row["model"], each.row["alarm_id"]
        run = next((run for run in recent[model] if _answers(run, alarm_id)), None)
        shown.append(replace(each, run=run, open=openings.get(model)))
    return shown


def _answers(run: Retraining, alarm_id: str) -> bool:
    """Whether a retraining was asked for on an alarm; the policy names its alarms in words."""
    asked = run.request
    return asked.alarm_id == alarm_id or (asked.origin == "policy" and alarm_id in asked.reason)


def opening(serving: Serving, model: str) -> Opening | None:
    """Return what a retraining of a model may be asked for with; None for an unknown model."""
    try:
        champion = serving.registry.champion(model)
    except RegistryError:
        return None
    refusal, allowed, teacher = "", tuple[str, ...](("auto",)), None
    try:
        plan = change_control.load(serving.settings.change_control or change_control.DEFAULT)
        allowed = plan.may_change.objective
        refusal = "" if plan.may_change.weights else "the change-control plan allows none"
        teacher = teaching.teacher_of(serving.registry, plan, champion)
    except (PlanError, RegistryError) as error:
        refusal = str(error)
    with serving.store.require().connected() as connection:
        span = report.Span(model)
        found = recommending.recommend(
            champion.card.fields.measures,
            with_region=report.coverage(connection, span).with_region,
            verdicts=report.verdicts(connection, span),
            teacher=teacher,
        )
    if found.objective not in allowed:
        found = Recommendation("auto", f"the plan does not allow {found.objective}")
    return Opening(
        champion=champion.ref.version,
        recommended=found,
        recipes=[(name, runs.objective(name)) for name in allowed],
        active=serving.retrainings.active(model),
        refusal=refusal,
    )


def _progress(value: float, threshold: float) -> float:
    if threshold <= 1.0:
        return 1.0 if value >= threshold else 0.0
    return min(1.0, max(0.0, math.log(max(value, 1.0)) / math.log(threshold)))
