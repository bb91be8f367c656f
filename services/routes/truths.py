"""What is learned about an answer after it was given: its label, its region, a verdict."""

from fastapi import APIRouter

from audit import canonical, readings, records
from audit.records import PredictionRecord
from models import preprocessing
from models.errors import RegistryError
from models.pictures.decoding import Limits
from models.pictures.regions import decode_region
from models.types import ClassifierSpec
from services import clock
from services.access.principals import Role
from services.contract.audits import Accepted, LabelRequest, RegionRequest, ReviewRequest
from services.errors import ConflictError, RequestError
from services.identifiers import identifier
from services.routes.depending import Asking, Connected, refusals
from services.routes.predictions import Id, recorded
from services.routes.texts import decoded
from services.wiring import Serving

router = APIRouter(prefix="/v1/predictions/{prediction_id}", tags=["audit"])
_REFUSED = refusals(400, 404, 408, 413, 422, 429, 503)
_REVIEW_REFUSED = refusals(400, 404, 408, 409, 413, 422, 429, 503)
_EXEMPLARY = {"good": "right-reason", "bad": "wrong-reason"}


@router.put("/label", summary="Tell the true class", status_code=202, responses=_REFUSED)
def label(prediction_id: Id, truth: LabelRequest, serving: Connected, asking: Asking) -> Accepted:
    """Write down the true class of an answered image; a later one takes its place."""
    record = recorded(serving, prediction_id)
    _check_label(serving, record, truth.label)
    now = clock.now()
    return _note(
        serving,
        records.LabelEvent(
            identifier(now), now, prediction_id, truth.label, asking.actor(truth.actor)
        ),
    )


@router.put("/region", summary="Tell where evidence is", status_code=202, responses=_REFUSED)
def region(
    prediction_id: Id, truth: RegionRequest, serving: Connected, asking: Asking
) -> Accepted:
    """Write down where evidence is expected; the recorded heatmap is measured against it."""
    if truth.source == "reviewer":
        asking.require(Role.REVIEWER, "a region with the source reviewer")
    actor = asking.actor(truth.actor)
    record = recorded(serving, prediction_id)
    spec = _spec(serving, record)
    if spec is None:
        raise RequestError("the version that answered is no longer in the registry")
    limits = Limits(serving.settings.max_body_bytes, serving.settings.max_pixels)
    size = (spec.preprocessing.height, spec.preprocessing.width)
    marked = decode_region(decoded("region", truth.region), size, limits)
    rows, columns = record.heatmap.shape
    shares = preprocessing.region_on_grid(marked, (rows, columns))
    evidence = records.RegionEvidence(
        source=truth.source,
        origin=actor,
        shares=canonical.packed_shares(shares),
        area=float(marked.mean()),
    )
    now = clock.now()
    return _note(
        serving,
        records.RegionEvent(
            event_id=identifier(now),
            event_time=now,
            prediction_id=prediction_id,
            region=evidence,
            actor=actor,
            stratum=truth.stratum,
            basis=truth.basis,
        ),
    )


@router.post("/reviews", summary="Judge the reason", status_code=202, responses=_REVIEW_REFUSED)
def review(
    prediction_id: Id, verdict: ReviewRequest, serving: Connected, asking: Asking
) -> Accepted:
    """Write down whether the answer is right for the right reason."""
    actor = asking.actor(verdict.actor)
    record = recorded(serving, prediction_id)
    _check_exemplar(verdict)
    if verdict.reading == "second":
        _check_reader(serving, prediction_id, actor)
    if verdict.label is not None:
        _check_label(serving, record, verdict.label)
    now = clock.now()
    return _note(
        serving,
        records.ReviewEvent(
            event_id=identifier(now),
            event_time=now,
            prediction_id=prediction_id,
            **(verdict.model_dump() | {"actor": actor}),
        ),
    )


def _note(serving: Serving, event: records.Event) -> Accepted:
    serving.recorder.note([event])
    return Accepted(event_id=event.event_id)


def _spec(serving: Serving, record: PredictionRecord) -> ClassifierSpec | None:
    try:
        return serving.registry.version(record.model.name, record.model.version).card.spec
    except RegistryError:  # the answer outlives its version
        return None


def _check_label(serving: Serving, record: PredictionRecord, told: str) -> None:
    spec = _spec(serving, record)
    if spec is not None and told not in spec.classes:
        raise RequestError(f"label {told!r} is none of the model's {len(spec.classes)} classes")


def _check_exemplar(review: ReviewRequest) -> None:
    wanted = _EXEMPLARY.get(review.exemplar, review.verdict)
    if wanted != review.verdict:
        raise RequestError(
            f"exemplar {review.exemplar!r} goes with the verdict {wanted}, not {review.verdict}"
        )


def _check_reader(serving: Serving, prediction_id: str, actor: str) -> None:
    """Refuse a second reading by the only person who has read it."""
    store = serving.store()
    if store is None:
        return
    with store.connected() as connection:
        known = readings.readers(connection, prediction_id)
    if known == {actor}:
        raise ConflictError(f"{actor} is the first reader of this answer; the second is another")
