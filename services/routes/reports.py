"""A report on a model for people who were not there: one page that needs no other file."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from sqlalchemy.engine import Connection

from audit import change_control, records, report, standing, verdict
from audit.intervals import Estimate
from audit.report import Coverage, Span
from audit.store import tables
from models import erasures
from models.registry import Registry, Version
from services import clock
from services.answering import health
from services.identifiers import identifier
from services.retraining import pointing
from services.retraining.rows import Rows
from services.routes import operations
from services.routes.depending import Asking, Connected, Name, installed_version, refusals
from services.settings import Settings
from services.versions.cautions import cautions

router = APIRouter(prefix="/v1/models/{model}", tags=["audit"])
_MOST = 200  # alarms, moves and retrainings, each; the trail has them all
_NOTHING = Coverage(0, 0, 0, 0, 0)


@router.get(
    "/report.html",
    summary="A report on a model, in one page",
    response_class=HTMLResponse,
    responses=refusals(404, 409, 422, 503),
)
def report_page(model: Name, serving: Connected, asking: Asking) -> HTMLResponse:
    """Return what the model is, what speaks for its reasons, and what was decided.

    That it was made, and its digest, is written down.
    """
    serving.registry.versions(model)
    store, now = serving.store(), clock.now()
    given = (serving.settings, serving.registry, serving.retrainings, model)
    watched = health.is_watched(operations.troubles(serving))
    if store is None:
        page = page_of(*given, connection=None, now=now, watched=watched)
    else:
        with store.connected() as connection:
            page = page_of(*given, connection=connection, now=now, watched=watched)
    event = made(model, page, actor=asking.name or "console", now=now)
    serving.recorder.note([event])
    return HTMLResponse(page)


def made(model: str, page: str, *, actor: str, now: datetime) -> records.ActionEvent:
    """Return what is written down about a report: its digest, so that it can be held to it."""
    digest = hashlib.sha256(page.encode()).hexdigest()
    details = {"what": "report", "model": model, "sha256": digest}
    return records.ActionEvent(identifier(now), now, "export", actor, details)


def page_of(
    settings: Settings,
    registry: Registry,
    retrainings: Rows,
    model: str,
    *,
    connection: Connection | None,
    now: datetime,
    watched: bool,
) -> str:
    """Return the page.

    Args:
        settings: Name the change-control plan.
        registry: Of the model.
        retrainings: The record of retrainings.
        model: Its name.
        connection: To the audit store; None where there is none yet.
        now: The present.
        watched: Whether an auditor works now.

    Raises:
        RegistryError: If there is no such model.
        PlanError: If the change-control plan cannot be read.
    """
    pointer = registry.pointer(model)
    known = pointing.pointer(registry, retrainings, model)
    version = registry.champion(model) if pointer.version else None
    return _template().render(
        model=model,
        made=now.isoformat(timespec="seconds"),
        version=pointer.version,
        purpose=version.card.fields.note if version else "",
        identity=_identity(version),
        origin=_origin(version),
        cautions=[*cautions(registry, version), *version.card.warnings] if version else [],
        moves=list(reversed(pointer.history[-_MOST:])),
        runs=[_run(each) for each in retrainings.page(model=model, limit=_MOST)],
        plan=(settings.change_control or change_control.DEFAULT).read_text("utf-8"),
        erasures=_erased(registry, model),
        installed=installed_version(),
        **_audited(connection, model, known, now=now, watched=watched),
    )


def _audited(
    connection: Connection | None,
    model: str,
    pointer: standing.Pointer,
    *,
    now: datetime,
    watched: bool,
) -> Mapping[str, Any]:
    if connection is None:
        unseen = verdict.judge(standing.unaudited(pointer), now=now)
        return {
            "verdict": unseen,
            "coverage": _NOTHING,
            "measures": [],
            "alarms": [],
            "events": 0,
            "head": "",
        }
    span = Span(model, pointer.version)
    measures = [
        {
            "measure": each.measure.replace("_", " "),
            "source": each.source,
            "estimate": each.estimate,
            "value": _value(each.estimate),
        }
        for each in report.measured(connection, span, by_class=False)
    ]
    found = standing.glanced(connection, model, pointer, now=now)
    known = found if watched else standing.unwatched(found)
    head = connection.execute(tables.head.select()).first()
    return {
        "verdict": verdict.judge(known, now=now),
        "coverage": report.coverage(connection, span),
        "measures": measures,
        "alarms": report.alarms(connection, model=model, limit=_MOST).rows,
        "events": head.seq if head else 0,
        "head": head.link if head else "",
    }


def _value(estimate: Estimate) -> str:
    low, high = max(0.0, estimate.low), min(1.0, estimate.high)
    return f"{estimate.value:.3f} ({low:.3f} to {high:.3f})"


def _identity(version: Version | None) -> list[tuple[str, str]]:
    if version is None:
        return []
    spec = version.card.spec
    return [
        ("Digest", version.ref.digest),
        ("Filed", version.card.created_at),
        ("Architecture", spec.architecture),
        ("Input", f"{spec.preprocessing.height} × {spec.preprocessing.width} pixels"),
        ("Classes", ", ".join(spec.classes)),
    ]


def _origin(version: Version | None) -> list[tuple[str, str]]:
    if version is None:
        return []
    lineage = version.card.fields.lineage
    return [
        ("Parent", lineage.parent or "none, a first version"),
        ("Training data", lineage.dataset or "not known"),
        *((name.replace("_", " "), str(value)) for name, value in lineage.recipe.items()),
    ]


def _run(found: Any) -> Mapping[str, str]:  # noqa: ANN401 - a row of retrainings
    return {
        "created_at": found.created_at.isoformat(timespec="minutes"),
        "objective": found.request.objective,
        "actor": found.request.actor,
        "status": found.status,
        "outcome": found.outcome,
    }


def _erased(registry: Registry, model: str) -> list[str]:
    said = []
    for each in registry.versions(model):
        entries = erasures.of(registry.root, model, each.ref.version)
        rows = sum(len(entry["withdrawn"]) for entry in entries)
        if rows:
            said.append(f"version {each.ref.version}: {rows} rows, last on {entries[-1]['at']}")
    return said


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("services.routes", "."), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("report.html")
