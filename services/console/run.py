"""One retraining: where it stands, what it learns from, the gate's verdict, before and after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from audit import change_control
from audit.errors import PlanError
from models.errors import RegistryError
from services import clock
from services.console import gates, layout, runs
from services.contract import runs as evidence
from services.contract.rollouts import EndedRollout, RolloutLook, RolloutReply
from services.contract.runs import DatasetReply
from services.retraining import reading
from services.retraining.rows import Approval, Retraining
from services.routes import rollouts
from services.routes.depending import Connected, refusals
from services.routes.retrainings import Id
from services.wiring import Serving

router = APIRouter(tags=["pages"])

# The steps that everybody sees, in their order.
WAY = ("collect", "train", "export", "evaluate", "gate", "approve", "shadow", "canary", "promote")
# Those that a plan may leave out.
_TRIALS = ("shadow", "canary")
_SOURCES: Mapping[str, str] = {
    "base": "what the champion learnt from",
    "labels": "answers with a label",
    "reviews": "answers with a verdict",
    "regions": "of these with a region",
}
_WHY: Mapping[str, tuple[str, str]] = {
    "drawn": ("Drawn at random", "One of each class in turn."),
    "mended": ("Only the candidate is right", "Drawn from all such rows."),
    "broken": ("Only the champion is right", "Drawn from all such rows."),
}


@dataclass(frozen=True, slots=True)
class Stage:
    """One step on the way.

    Attributes:
        name: The step.
        place: "done", "now" or "next".
        said: What came of it; "" for nothing to say.
    """

    name: str
    place: str
    said: str


@dataclass(frozen=True, slots=True)
class Decisions:
    """What a person may do now.

    Attributes:
        cancel: End it.
        approve: Say yes or no to the candidate.
        promote: Make the candidate the champion by hand.
        begin: Put the candidate on trial with live requests.
        undo: Number of the version that a rollback would bring back; None where the candidate
            does not answer.
        needed: Persons who must agree; 0 where the gate alone decides.
    """

    cancel: bool
    approve: bool
    promote: bool
    begin: bool
    undo: int | None
    needed: int


@dataclass(frozen=True, slots=True)
class Trial:
    """The candidate with live requests.

    Attributes:
        under_way: In the shadow or as a canary; None where it is neither now.
        look: The runner's last look at it; None before the first.
        stale: Whether nobody has looked for a while.
        ended: How its last trial ended; None while one is under way.
    """

    under_way: RolloutReply | None
    look: RolloutLook | None
    stale: bool
    ended: EndedRollout | None


@router.get(
    "/runs/{retraining_id}",
    summary="One retraining, to look at",
    response_class=HTMLResponse,
    responses=refusals(404, 422, 503),
)
def run_page(retraining_id: Id, serving: Connected) -> HTMLResponse:
    """Show a retraining from its reason to what came of it; it follows while it is under way."""
    found = serving.retrainings.get(retraining_id)
    root, facts = serving.settings.retrainings, found.facts
    manifest = reading.manifest(root, found)
    verdict: Mapping[str, Any] | None = facts.get("verdict")
    compared = reading.comparison(root, found)
    approvals = serving.retrainings.approvals(retraining_id)
    return layout.page(
        "run.html",
        here="/runs",
        view=runs.view(found, clock.now()),
        run=found,
        events=serving.retrainings.events(retraining_id),
        stages=stages(found),
        approvals=approvals,
        decisions=decisions(serving, found, approvals),
        trial=trial(serving, found),
        epochs=reading.epochs(root, found),
        recipe=_recipe(found, reading.recipe(root, found)),
        dataset=None if manifest is None else _data(found, evidence.dataset(manifest)),
        verdict=verdict,
        checks=[] if verdict is None else gates.table(verdict),
        level=None if verdict is None else gates.level(verdict),
        counts=None if compared is None else compared["counts"],
        pairs=[] if compared is None else _pairs(compared["pairs"]),
    )


def stages(found: Retraining) -> list[Stage]:
    """Return the way of a retraining, and how far it has come."""
    tried = found.step in _TRIALS or bool(found.facts.get("trial"))
    names = [name for name in WAY if tried or name not in _TRIALS]
    reached = _reached(found, names)
    shown = []
    for place, name in enumerate(names):
        is_now = not found.ended and found.step == name
        state = "now" if is_now else "done" if place < reached else "next"
        shown.append(Stage(name, state, _said(found, name)))
    return shown


def _reached(found: Retraining, names: Sequence[str]) -> int:
    """Return how many steps are done; of one that has ended, by what they left."""
    facts = found.facts
    if found.status in {"promoted", "rolled_back"}:
        return len(names)
    if not found.ended:
        return names.index(found.step) if found.step in names else 0
    marks = ("dataset", "export_attempt", "candidate", "verdict", "verdict")
    done = [name in facts for name in marks]
    return done.index(False) if False in done else len(done)


def _said(found: Retraining, name: str) -> str:
    facts = found.facts
    if name == "collect" and "rows" in facts:
        rows = facts["rows"]
        total = sum(count for source, count in rows.items() if source != "regions")
        return f"{layout.count(total)} rows"
    if name == "export" and "candidate" in facts:
        return f"version {facts['candidate']}"
    if name == "gate" and "verdict" in facts:
        return "passed" if facts["verdict"]["passed"] else "refused"
    return ""


def decisions(serving: Serving, found: Retraining, said: Sequence[Approval]) -> Decisions:
    """Return what may be done with it now."""
    candidate = found.facts.get("candidate")
    champion, before, busy = _champion(serving, found.request.model)
    waits = found.ended and candidate is not None and candidate != champion
    return Decisions(
        cancel=not found.ended and found.cancelled_by is None,
        approve=found.status == "awaiting_approval",
        promote=waits and not busy,
        begin=waits and champion is not None and not busy,
        undo=before if candidate is not None and candidate == champion else None,
        needed=_needed(serving, found) - sum(each.approved for each in said),
    )


def trial(serving: Serving, found: Retraining) -> Trial | None:
    """Return how the candidate does with live requests; None where it never did."""
    candidate = found.facts.get("candidate")
    if candidate is None:
        return None
    try:
        told = rollouts.status(serving, found.request.model)
    except RegistryError:
        return None
    here = told.rollout
    under_way = here if here is not None and here.version == candidate else None
    ended = next((each for each in told.ended if each.rollout.version == candidate), None)
    if under_way is None and ended is None:
        return None
    look = told.look if under_way is not None else None
    return Trial(under_way, look, stale=told.stale, ended=None if under_way else ended)


def _champion(serving: Serving, model: str) -> tuple[int | None, int | None, bool]:
    """Return what answers, what a rollback would bring back, and whether a trial is under way."""
    try:
        pointer = serving.registry.pointer(model)
    except RegistryError:
        return None, None, False
    return pointer.version, layout.previous(pointer.history), pointer.rollout is not None


def _needed(serving: Serving, found: Retraining) -> int:
    conflict = bool(found.facts.get("verdict", {}).get("conflict"))
    try:
        chosen = serving.settings.change_control or change_control.DEFAULT
        return change_control.load(chosen).approval.persons_for(conflict=conflict)
    except PlanError:
        return 0


def _recipe(found: Retraining, written: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Return how it learns as names and values; empty before that was chosen."""
    if written is None:
        return []
    numbers = {**written["options"], **written["training"]}
    asked = found.request.objective
    rows = [
        ("Way of learning", runs.objective(written["objective"])),
        ("Asked for", runs.objective(asked) if asked != written["objective"] else "the same"),
        ("Why", str(found.facts.get("choice", ""))),
        ("Begins with", "the champion's weights" if written["weights"] else "fresh weights"),
    ]
    rows += [(name.replace("_", " ").capitalize(), _plain(each)) for name, each in numbers.items()]
    rows += [("Took part", _entrant(each)) for each in found.facts.get("tournament", [])]
    return [(name, value) for name, value in rows if value]


def _entrant(told: Mapping[str, Any]) -> str:
    """Return one who took part in the tournament, and what came of it, in a line."""
    given = ", ".join(f"{name} {_plain(each)}" for name, each in told["options"].items())
    named = f"{runs.objective(told['objective'])}{f' ({given})' if given else ''}"
    if not told["rungs"]:
        return f"{named}: there was no time"
    last = told["rungs"][-1]
    if "failed" in last:
        return f"{named}: {last['failed']}"
    won = ", won" if told["won"] else ""
    return (
        f"{named}: score {last['score']:.3f} after {last['epochs']} epochs, "
        f"{last['accuracy']:.0%} right, "
        f"of which {last['flips']:.0%} change with what is irrelevant{won}"
    )


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _data(found: Retraining, told: DatasetReply) -> dict[str, Any]:
    counted: Mapping[str, int] = found.facts.get("rows", {})
    return {
        "told": told,
        "rows": [(_SOURCES.get(name, name), count) for name, count in counted.items()],
        "origin": {key: value for key, value in told.base.items() if key != "rows"},
    }


def _pairs(
    pairs: Sequence[Mapping[str, Any]],
) -> list[tuple[str, str, list[tuple[int, Mapping[str, Any]]]]]:
    """Return title, words and numbered pairs, by why they are shown."""
    numbered = list(enumerate(pairs))
    parts = [(*_WHY[why], [each for each in numbered if each[1]["why"] == why]) for why in _WHY]
    return [part for part in parts if part[2]]
