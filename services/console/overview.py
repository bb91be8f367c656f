"""The first page: every model at a glance."""

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from audit import recent
from audit.recent import Glance
from services import clock
from services.console import layout, runs
from services.console.runs import RunView
from services.routes.depending import Connected, refusals
from services.wiring import Serving

router = APIRouter(tags=["pages"])

# The first state that some alarm of the model is in decides.
WORST = (
    ("alarm", "alarm", "{} raised"),
    ("acknowledged", "warning", "{} acknowledged"),
    ("requested", "warning", "{} with a retraining asked for"),
    ("warning", "warning", "{} close to an alarm"),
)


@dataclass(frozen=True, slots=True)
class Standing:
    """What the alarms of a model amount to.

    Attributes:
        kind: "ok", "warning", "alarm" or "unknown"; chooses the colour.
        text: The same in words.
    """

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class ModelView:
    """One model as the page shows it.

    Attributes:
        name: Its name.
        champion: Number of the version that answers; None for none.
        since: When that was decided, as ISO 8601 text.
        glance: What the audit knows; None where there is no audit store.
        standing: Of its alarms.
        run: Its last retraining; None where there is none.
    """

    name: str
    champion: int | None
    since: str | None
    glance: Glance | None
    standing: Standing
    run: RunView | None


@router.get("/", summary="Overview", response_class=HTMLResponse, responses=refusals(409, 503))
def overview(serving: Connected) -> HTMLResponse:
    """Show every model: what answers, how much, and whether for the right reasons."""
    views = [model_view(serving, name) for name in serving.registry.models()]
    return layout.page(
        "overview.html",
        here="/",
        views=views,
        audited=serving.store() is not None,
        default=serving.settings.default_model,
    )


@router.get(
    "/overview/models",
    summary="The models of the overview, to refresh it",
    response_class=HTMLResponse,
    responses=refusals(409, 503),
)
def overview_models(serving: Connected) -> HTMLResponse:
    """Return the part of the overview that changes."""
    views = [model_view(serving, name) for name in serving.registry.models()]
    return layout.page("overview_models.html", here="/", views=views)


def model_view(serving: Serving, name: str) -> ModelView:
    """Return what the overview shows of a model."""
    pointer, store, found = serving.registry.pointer(name), serving.store(), None
    if store is not None:
        with store.connected() as connection:
            found = recent.glance(connection, name, pointer.version, now=clock.now())
    return ModelView(
        name=name,
        champion=pointer.version,
        since=pointer.history[-1].at if pointer.history else None,
        glance=found,
        standing=standing(found.alarms if found else {}, watched=found is not None),
        run=_last_run(serving, name),
    )


def _last_run(serving: Serving, name: str) -> RunView | None:
    found = serving.retrainings.page(model=name, limit=1)
    return runs.view(found[0], clock.now()) if found else None


def standing(alarms: Mapping[str, int], *, watched: bool) -> Standing:
    """Return what alarms in these states amount to."""
    for state, kind, words in WORST:
        if number := alarms.get(state, 0):
            return Standing(kind, words.format(f"{number} alarm{'s' if number > 1 else ''}"))
    return Standing("ok", "no alarm") if watched else Standing("unknown", "not audited yet")
