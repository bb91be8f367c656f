"""Review: one answer after the other, its reason judged and the region drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Literal, TypeAlias

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from audit import readings, report
from audit.agreement import Agreement
from audit.errors import UnknownRecordError
from audit.records import ReadingKind
from services.console import alarms, layout, queue
from services.console.queue import Item
from services.contract.predictions import PredictionId
from services.routes.depending import Connected, refusals
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


Kind: TypeAlias = Literal["first", "second", "differences"]
# Queue → its name, and what to do where it is empty.
KINDS: Mapping[Kind, tuple[str, str]] = {
    "first": (
        "First reading",
        (
            "A random part of the answers comes here, and those from which a review teaches most: "
            "unsure ones, and those whose evidence lies outside the region. Images must be kept "
            "for that."
        ),
    ),
    "second": (
        "Second reading",
        (
            "A tenth of what others have judged comes here by chance, and what they asked a "
            "second reader for. Nobody reads an answer twice."
        ),
    ),
    "differences": (
        "Differences",
        "Answers about which two readers differ come here until somebody decides between them.",
    ),
}
READINGS: Mapping[Kind, ReadingKind] = {
    "first": "first",
    "second": "second",
    "differences": "adjudication",
}


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for a reader.

    Attributes:
        items: Of the queue that is shown.
        counts: Queue → how many wait.
        agreement: How far readers agree.
    """

    items: Sequence[Item]
    counts: Mapping[Kind, int]
    agreement: Agreement


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
    kind: Annotated[Kind, Query(description="Which queue.")] = "first",
    reader: Annotated[str, Query(max_length=128, pattern=r"^[^\x00]*$")] = "",
    *,
    alarm: Annotated[
        str, Query(max_length=64, pattern="^[0-9A-Za-z]*$", description="Answers behind it first.")
    ] = "",
    blind: Annotated[bool, Query(description="Judge the image before the answer shows.")] = False,
) -> HTMLResponse:
    """Show a queue of a model: image, heatmap and region, verdicts by key."""
    names = serving.registry.models()
    default = serving.champions.default(serving.settings)
    name = model or (default if default in names else next(iter(names), None))
    who = layout.who()
    person = who.name if who.signed_in else reader
    waiting = None if name is None else _waiting(serving, name, kind, person)
    found = [] if waiting is None else list(waiting.items)
    if alarm:
        found = _behind(serving, alarm, found, kind)
    if prediction is not None:
        picked = next(
            (each for each in found if each.prediction_id == prediction),
            Item(prediction, "chosen", 1.0, 1.0, {}, READINGS[kind]),
        )
        found = [picked, *(each for each in found if each.prediction_id != prediction)]
    return layout.page(
        "review.html",
        here="/review",
        audited=serving.store() is not None,
        models=names,
        model=name,
        blind=blind,
        kind=kind,
        kinds=KINDS,
        waiting=waiting,
        items=[asdict(each) for each in found],
        classes=() if name is None else _classes(serving, name),
        verdicts=VERDICTS,
    )


def _behind(serving: Serving, alarm_id: str, found: list[Item], kind: Kind) -> list[Item]:
    """Return the queue with the answers behind an alarm first.

    Raises:
        UnknownRecordError: If there is no such alarm.
    """
    with serving.store.require().connected() as connection:
        row = report.alarm(connection, alarm_id)
        if row is None:
            raise UnknownRecordError(f"there is no alarm {alarm_id}")
        behind = [each.prediction_id for each in alarms.answers_behind(connection, row)]
    waiting = {each.prediction_id: each for each in found}
    first = [
        waiting.get(each, Item(each, "chosen", 1.0, 1.0, {}, READINGS[kind])) for each in behind
    ]
    return [*first, *(each for each in found if each.prediction_id not in set(behind))]


def _waiting(serving: Serving, model: str, kind: Kind, reader: str) -> Waiting | None:
    store = serving.store()
    if store is None:
        return None
    key = serving.recorder.key
    with store.connected() as connection:
        queues: dict[Kind, list[Item]] = {
            "first": queue.items(connection, model, key=key),
            "second": queue.second(connection, model, reader=reader, key=key),
            "differences": queue.differences(connection, model),
        }
        agreement = readings.of_model(connection, model)
    counts: dict[Kind, int] = {name: len(found) for name, found in queues.items()}
    return Waiting(queues[kind], counts, agreement)


def _classes(serving: Serving, model: str) -> tuple[str, ...]:
    versions = serving.registry.versions(model)
    return versions[-1].card.spec.classes if versions else ()
