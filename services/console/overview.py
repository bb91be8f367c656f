"""The first page: every model at a glance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from audit import recent, verdict
from audit import standing as standings
from audit.errors import StoreError
from audit.recent import Example, Glance
from audit.store.queries import Reading
from audit.verdict import Step, Verdict
from services import clock
from services.answering import health
from services.console import installing, layout, runs
from services.console.runs import RunView
from services.retraining import pointing
from services.routes import operations
from services.routes.depending import Connected, refusals
from services.wiring import Serving

router = APIRouter(tags=["pages"])

PROOF = 4  # pictures beside the sentence
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
        verdict: Whether it is right for the right reasons, and what to do next.
        link: Where the next step is taken; "" for nowhere.
        proof: The answers that show it best: lowest relevance mass first; at most `PROOF`.
        run: Its last retraining; None where there is none.
    """

    name: str
    champion: int | None
    since: str | None
    glance: Glance | None
    standing: Standing
    verdict: Verdict
    link: str
    proof: Sequence[Example]
    run: RunView | None


@router.get("/", summary="Overview", response_class=HTMLResponse, responses=refusals(409, 503))
def overview(serving: Connected) -> HTMLResponse:
    """Show every model: what answers, how much, and whether for the right reasons."""
    return layout.page(
        "overview.html",
        here="/",
        **_models(serving),
        audited=readable(serving) is not None,
        default=serving.champions.default(serving.settings),
        port=serving.settings.port,
        coming=installing.note(serving.settings.home),
    )


@router.get(
    "/overview/models",
    summary="The models of the overview, to refresh it",
    response_class=HTMLResponse,
    responses=refusals(409, 503),
)
def overview_models(serving: Connected) -> HTMLResponse:
    """Return the part of the overview that changes."""
    return layout.page(
        "overview_models.html",
        here="/",
        **_models(serving),
        port=serving.settings.port,
        coming=installing.note(serving.settings.home),
    )


def _models(serving: Serving) -> dict[str, object]:
    """Return what is broken, and every model: none is green where nobody watches."""
    found = operations.troubles(serving)
    watched = health.is_watched(found)
    views = [model_view(serving, name, watched=watched) for name in serving.registry.models()]
    return {"views": views, "troubles": found}


def readable(serving: Serving) -> Reading | None:
    """Return the audit store; None where there is none, or it cannot be read now."""
    try:
        return serving.store()
    except StoreError:
        return None  # which stands among the troubles


def model_view(serving: Serving, name: str, *, watched: bool) -> ModelView:
    """Return what the overview shows of a model.

    Args:
        serving: The worker.
        name: The model.
        watched: Whether the audit works; where it does not, what it knew is no verdict of now.
    """
    pointer, store, found = serving.registry.pointer(name), readable(serving), None
    now, proof = clock.now(), tuple[Example, ...]()
    said = pointing.pointer(serving.registry, serving.retrainings, name)
    known = standings.unaudited(said)
    if store is not None:
        with store.connected() as connection:
            found = recent.glance(connection, name, pointer.version, now=now)
            known = standings.known(connection, name, said, found)
            proof = tuple(
                recent.examples(connection, name, pointer.version, "relevance_mass", limit=PROOF)
            )
    if not watched:
        known = standings.unwatched(known)
    judged, run = verdict.judge(known, now=now), _last_run(serving, name)
    return ModelView(
        name=name,
        champion=pointer.version,
        since=pointer.history[-1].at if pointer.history else None,
        glance=found,
        standing=standing(found.alarms if found else {}, watched=judged.colour == "ok"),
        verdict=judged,
        link=_link(judged.step, name, run),
        proof=proof,
        run=run,
    )


def _link(step: Step, model: str, run: RunView | None) -> str:
    """Return where a step is taken."""
    last = f"/runs/{run.found.retraining_id}" if run else f"/runs?model={model}"
    return {
        Step.PROMOTE: f"/models/{model}#versions",
        Step.REVIEW: f"/review?model={model}",
        Step.RETRAIN: f"/alarms?model={model}",
        Step.FOLLOW_RUN: last,
        Step.FOLLOW_TRIAL: last,
        Step.LOOK_AT_ALARMS: f"/alarms?model={model}",
        Step.ASK: f"/try?model={model}",
        Step.SEND_REGIONS: f"/review?model={model}",
    }.get(step, "")


def _last_run(serving: Serving, name: str) -> RunView | None:
    found = serving.retrainings.page(model=name, limit=1)
    return runs.view(found[0], clock.now()) if found else None


def standing(alarms: Mapping[str, int], *, watched: bool) -> Standing:
    """Return what alarms in these states amount to.

    Args:
        alarms: State → alarms in it.
        watched: Whether what is watched shows that the reasons are right: only then is green said.
    """
    for state, kind, words in WORST:
        if number := alarms.get(state, 0):
            return Standing(kind, words.format(f"{number} alarm{'s' if number > 1 else ''}"))
    return Standing("ok" if watched else "unknown", "no alarm")
