"""One model: its reasons over time and per class, its worst examples, its versions and card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse
from sqlalchemy.engine import Connection

from audit import recent, report
from audit.canonical import read_moment
from audit.intervals import Estimate
from audit.recent import Example
from models.registry import Version
from services import references
from services.console import layout, overview
from services.routes.depending import Connected, Name, refusals
from services.schemas import VersionNumber
from services.wiring import Serving

router = APIRouter(tags=["pages"])

_GALLERY = 12  # examples
_MOVES = 20
_RAISED = ("alarm", "acknowledged", "requested", "closed")
SHOWN = ("activation_recall", "relevance_mass")


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One decided class in the window.

    Attributes:
        label: The class.
        source: Where its regions came from.
        values: Measure → estimate; chances among them.
    """

    label: str
    source: str
    values: Mapping[str, Estimate]

    @property
    def doubtful(self) -> bool:
        """Whether the evidence lies where it would for a heatmap that ignores the image."""
        mass, chance = self.values.get("relevance_mass"), self.values.get("chance")
        return mass is not None and chance is not None and mass.low <= chance.value


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the audit store says about a model.

    Attributes:
        classes: One row per decided class and source.
        worst: Answers with the least relevance mass.
        alarms: Raised alarms, newest first.
        source: The source that the timeline shows at first.
    """

    classes: Sequence[ClassRow]
    worst: Sequence[Example]
    alarms: Sequence[Mapping[str, Any]]
    source: str


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
) -> HTMLResponse:
    """Show one model over time, per class, by example, and the versions to choose from."""
    known = serving.registry.versions(model)
    pointer = serving.registry.pointer(model)
    number = version or pointer.version
    newest = known[-1] if known else None
    shown = serving.registry.version(model, number) if number else newest
    view = overview.model_view(serving, model)
    previous = layout.previous(pointer.history)
    return layout.page(
        "model.html",
        here="/",
        view=view,
        evidence=_evidence(serving, model, number),
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


def _evidence(serving: Serving, model: str, version: int | None) -> Evidence | None:
    store = serving.store()
    if store is None:
        return None
    with store.connected() as connection:
        rows = _classes(connection, model, version)
        return Evidence(
            classes=rows,
            worst=recent.examples(connection, model, version, "relevance_mass", limit=_GALLERY),
            alarms=report.alarms(connection, model=model, states=_RAISED, limit=_MOVES).rows,
            source=rows[0].source if rows else "client",
        )


def _classes(connection: Connection, model: str, version: int | None) -> list[ClassRow]:
    since = recent.beginning(connection, model, version, recent.WINDOW)
    if not since:
        return []
    span = report.Span(model, version, read_moment(since))
    rows: dict[tuple[str, str], dict[str, Estimate]] = {}
    for each in report.measured(connection, span, by_class=True):
        if each.source:
            rows.setdefault((each.class_label, each.source), {})[each.measure] = each.estimate
    found = [ClassRow(label, source, values) for (label, source), values in rows.items()]
    return [each for each in found if SHOWN[0] in each.values]


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
        ("ONNX against the trained network", _flat(card.fields.parity or {})),
        ("Libraries", [(name, text) for name, text in lineage.libraries.items()]),
    ]


def _evaluated(measures: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the measures for people: the detectors' reference is long and its own subject."""
    return {name: value for name, value in measures.items() if name != references.FIELD}


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
