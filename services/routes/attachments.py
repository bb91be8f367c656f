"""What is attached to a model: its segmenter, to look at, and its template region, to set."""

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import Field

from audit import records
from models import templates
from models.attachments import Attached, Attachments, Kind
from models.errors import ImageError
from models.pictures import regions
from models.pictures.decoding import Limits
from services import clock
from services.contract.audits import Actor
from services.contract.predictions import Base64, Reply, Request
from services.errors import ConflictError, RequestError, UnknownAttachmentError
from services.identifiers import identifier
from services.routes.depending import Asking, Connected, Name, refusals
from services.routes.texts import decoded
from services.wiring import Serving

router = APIRouter(prefix="/v1/models/{model}", tags=["models"])
_PNG = "image/png"
_REFUSED = refusals(400, 404, 408, 409, 413, 415, 422, 429, 503)
_NONE = refusals(404, 409, 422)
Share = Annotated[float, Field(ge=0, le=1)]


class TemplateRequest(Request):
    """One region for all images of a model: a mask or a polygon."""

    region: Base64 | None = None
    """A PNG in base64, of any size, with the sides of an image as sent; non-zero where
    relevant."""
    polygon: list[tuple[Share, Share]] | None = Field(default=None, max_length=1000)
    """Corners as x and y in shares of the image's width and height."""
    actor: Actor = "anonymous"
    """Who says so."""


class AttachmentReply(Reply):
    """What is attached to a model."""

    model: str
    kind: Kind
    number: int
    """Counts from 1; a replaced one stays on disk under its number."""
    digest: str
    """Of its card, which lists its files with theirs."""
    card: dict[str, Any]
    history: list[dict[str, Any]]
    """Every change of what is in use, oldest first."""


@router.get("/segmenter", summary="What draws regions of its own accord", responses=_NONE)
def segmenter(model: Name, serving: Connected) -> AttachmentReply:
    """Return the card of the segmenter in use: input, meaning of the output, threshold, digest."""
    return _reply(serving, model, "segmenter")


@router.get("/template-region", summary="The region of every image", responses=_NONE)
def template_region(model: Name, serving: Connected) -> AttachmentReply:
    """Return the card of the template region in use."""
    return _reply(serving, model, "template")


@router.get(
    "/template-region.png",
    summary="The region of every image, as a mask",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}, **_NONE},
)
def template_mask(model: Name, serving: Connected) -> Response:
    """Return the mask: 255 where evidence is expected, 0 elsewhere."""
    found = _current(serving, model, "template")
    return Response(found.content(templates.FILE, largest=templates.LARGEST), media_type=_PNG)


@router.put("/template-region", summary="Set the region of every image", responses=_REFUSED)
def set_template_region(
    model: Name, wish: TemplateRequest, serving: Connected, asking: Asking
) -> AttachmentReply:
    """Let one region stand for answers that come without one, where no segmenter looks.

    For images that are aligned. What was measured against the template before stays as it is, and
    detectors over it begin anew.
    """
    serving.registry.versions(model)
    try:
        templates.attach(
            serving.registry.root,
            model,
            _region(wish, serving),
            actor=asking.actor(wish.actor),
            now=clock.now(),
        )
    except ImageError as error:
        raise RequestError(str(error)) from error
    _note(serving, model, asking.actor(wish.actor))
    return _reply(serving, model, "template")


@router.delete("/template-region", summary="Use no template", status_code=204, responses=_REFUSED)
def drop_template_region(
    model: Name, serving: Connected, asking: Asking, actor: Actor = "anonymous"
) -> None:
    """Measure answers without a region no longer; what was measured stays."""
    serving.registry.versions(model)
    attachments = Attachments(serving.registry.root, "template")
    if not attachments.detach(model, actor=asking.actor(actor), now=clock.now()):
        raise ConflictError(f"{model} has no template region")
    _note(serving, model, asking.actor(actor))


def _region(wish: TemplateRequest, serving: Serving) -> Any:  # noqa: ANN401 - a boolean array
    if (wish.region is None) == (wish.polygon is None):
        raise RequestError("give region or polygon, one of them")
    if wish.polygon is not None:
        return templates.from_polygon(wish.polygon)
    limits = Limits(serving.settings.max_body_bytes, serving.settings.max_pixels)
    return regions.decode_region(decoded("region", str(wish.region)), None, limits)


def _note(serving: Serving, model: str, actor: str) -> None:
    now = clock.now()
    details = {"what": "template", "model": model}
    serving.recorder.note(
        [records.ActionEvent(identifier(now), now, "config_change", actor, details)]
    )


def _current(serving: Serving, model: str, kind: Kind) -> Attached:
    serving.registry.versions(model)
    found = Attachments(serving.registry.root, kind).current(model)
    if found is None:
        raise UnknownAttachmentError(f"{model} has no {kind}")
    return found


def _reply(serving: Serving, model: str, kind: Kind) -> AttachmentReply:
    found = _current(serving, model, kind)
    history = Attachments(serving.registry.root, kind).history(model)
    return AttachmentReply(
        model=model,
        kind=kind,
        number=found.number,
        digest=found.digest,
        card=dict(found.card),
        history=[dict(each) for each in history],
    )
