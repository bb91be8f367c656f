"""One model: its reasons over time and per class, its worst examples, its versions and card."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from audit.records import RegionSource
from models.registry import Version
from services.answering import health
from services.console import evidence, layout, overview
from services.console.evidence import Evidence
from services.contract.predictions import VersionNumber
from services.routes import operations
from services.routes.depending import Connected, Name, refusals
from services.versions import references
from services.wiring import Serving

router = APIRouter(tags=["pages"])

_MOVES = 20


@router.get(
    "/models/{model}",
    summary="One model",
    response_class=HTMLResponse,
    responses=refusals(404, 409, 422, 503),
)
def model_page(
    model: Name,
    serving: Connected,
    version: Annotated[VersionNumber | None, Query(description="Default: the champion.")] = None,
    source: Annotated[
        RegionSource | None, Query(description="Of the regions. Default: that of the most.")
    ] = None,
) -> HTMLResponse:
    """Show one model over time, per class, by example, and the versions to choose from."""
    known = serving.registry.versions(model)
    pointer = serving.registry.pointer(model)
    number = version or pointer.version
    newest = known[-1] if known else None
    shown = serving.registry.version(model, number) if number else newest
    watched = health.is_watched(operations.troubles(serving))
    view = overview.model_view(serving, model, watched=watched)
    previous = layout.previous(pointer.history)
    return layout.page(
        "model.html",
        here="/",
        view=view,
        evidence=_evidence(serving, model, number, source),
        number=number,
        versions=list(reversed(known)),
        shown=shown,
        card=None if shown is None else _card(shown),
        moves=list(reversed(pointer.history[-_MOVES:])),
        previous=previous,
        marks={
            "moves": [{"at": move.at, "version": move.version} for move in pointer.history],
        },
    )


def _evidence(
    serving: Serving, model: str, version: int | None, source: str | None
) -> Evidence | None:
    store = serving.store()
    if store is None:
        return None
    with store.connected() as connection:
        return evidence.gather(connection, model, version, source)


def _card(version: Version) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the card as titled lists of names and values."""
    card = version.card
    lineage, spec = card.fields.lineage, card.spec
    size = f"{spec.preprocessing.width} × {spec.preprocessing.height}"
    identity = [
        ("Digest", version.ref.digest),
        ("Filed", layout.moment(card.created_at)),
        ("Architecture", spec.architecture),
        ("Input", f"{size} pixels, {spec.preprocessing.fit}"),
        ("Grad-CAM reads", spec.target_layer),
        ("Heatmap", "{} × {} cells".format(*card.grid) if card.grid else "not known"),
        ("Classes", ", ".join(spec.classes)),
    ]
    origin = [
        ("Parent", lineage.parent or "none, a first version"),
        ("Training data", lineage.dataset or "not known"),
        *((name.replace("_", " "), _plain(value)) for name, value in lineage.recipe.items()),
    ]
    return [
        ("What it is", identity),
        ("Measured when it was made", _flat(_evaluated(card.fields.measures))),
        ("Where it comes from", origin),
        ("ONNX against the trained network", _flat(_compared(card.fields.parity or {}))),
        ("Libraries", [(name, text) for name, text in lineage.libraries.items()]),
    ]


def _evaluated(measures: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the measures for people: the detectors' reference is long and its own subject."""
    return {name: value for name, value in measures.items() if name != references.FIELD}


def _compared(parity: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in parity.items() if name != "grid"}


def _flat(values: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        title = f"{before}{name.replace('_', ' ')}"
        if isinstance(value, Mapping):
            found += _flat(value, f"{title}: ")
        else:
            found.append((title, _plain(value)))
    return found


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value))
    return "none" if value is None else str(value)
