"""One event of the trail with everything: what it says, what was said later, where it stands."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import HTMLResponse
from sqlalchemy.engine import Connection

from audit import canonical, records, search
from audit.errors import UnknownRecordError
from audit.search import Found
from audit.store.anchors import Anchor, AnchorFolder
from services.console import layout, telling
from services.console.trail import HERE
from services.routes import lineage
from services.routes.depending import Connected, refusals
from services.routes.lineage import LineageReply
from services.wiring import Serving

router = APIRouter(tags=["pages"])

EventId = Annotated[str, Path(max_length=200, pattern=r"^[A-Za-z0-9_-]+$")]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an event stands in the chain.

    Attributes:
        anchor: The first anchor that covers it; None where none does.
        head: Sequence number of the last event.
    """

    anchor: Anchor | None
    head: int


@router.get(
    HERE + "/{event_id}",
    summary="One event of the trail",
    response_class=HTMLResponse,
    responses=refusals(404, 409, 422, 503),
)
def record_page(event_id: EventId, serving: Connected) -> HTMLResponse:
    """Show one event: an answer with image, evidence, reviews and lineage, or anything else."""
    with serving.store.require().connected() as connection:
        found = search.one(connection, event_id)
        later = search.about(connection, event_id)
        if found is None and not later:
            raise UnknownRecordError(
                f"no event {event_id} is in the trail; what was just answered comes in a moment"
            )
        measured = search.measures(connection, event_id)
        standing = _standing(connection, serving, found)
    event = None if found is None else found.event
    answer = event if isinstance(event, records.PredictionRecord) else None
    return layout.page(
        "record.html",
        here=HERE,
        event_id=event_id,
        found=found,
        answer=answer,
        fields=_fields(event),
        later=later,
        measured=measured,
        standing=standing,
        imaged=answer is not None and serving.trail.image(event_id) is not None,
        lineage=None if answer is None else _lineage(serving, answer),
        telling=telling,
    )


def _standing(connection: Connection, serving: Serving, found: Found | None) -> Standing | None:
    if found is None:
        return None
    anchors = AnchorFolder(serving.settings.anchors).read()
    covering = (each for each in anchors if each.seq >= found.row["seq"])
    return Standing(next(covering, None), search.head(connection))


def _lineage(serving: Serving, answer: records.PredictionRecord) -> LineageReply:
    return lineage.trace(answer, serving.registry, serving.retrainings)


def _fields(event: records.Event | None) -> list[tuple[str, str]]:
    """Return the plain fields of an event, for whatever has no page of its own."""
    if event is None or isinstance(event, records.PredictionRecord):
        return []
    tree = canonical.dump(event)
    hidden = {"event_id", "event_time", "kind", "subject", "region"}
    return [
        (name.replace("_", " "), _plain(value))
        for name, value in tree.items()
        if name not in hidden and value not in (None, "", [], {})
    ]


def _plain(value: Any) -> str:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value[:20])) + (" …" if len(value) > 20 else "")  # noqa: PLR2004
    return str(value)
