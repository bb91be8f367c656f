"""The auditor: one process that ingests the journal, measures, watches and decides.

`run` returns when it is told to stop. Killed at any moment, it goes on where the store stands:
nothing twice, nothing left out, the detectors bit by bit as they were.
"""

import logging
import signal
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from audit import policy
from audit.errors import AuditError
from audit.store import connections, erasure
from audit.store.anchors import RESTORED, AnchorFolder
from audit.store.ledger import Ledger
from audit.watch.watching import Promise, Watching
from models.errors import RegistryError
from models.registry import Registry
from services import boundary, clock, logs, secret, settings
from services.auditing import fire_drills, notifying
from services.auditing.fire_drills import FireDrills
from services.auditing.gauges import Gauges, exposed
from services.auditing.ingestion import Ingestion
from services.auditing.leadership import NotLeaderError, leadership
from services.auditing.probing import ServedProber
from services.auditing.segmenting import ServedSegmenter
from services.auditing.suspecting import Suspecting
from services.identifiers import identifier
from services.records.images import ImageFolder
from services.records.presence import Showing
from services.retraining.data.withdrawing import Withdrawal
from services.settings import Settings
from services.versions import cautions
from services.versions.references import CardReferences

LOG = logging.getLogger("rightly.auditor")
# How long to wait before trying again: to lead, and after a failed step.
STANDBY_SECONDS = 1.0
FAILURE_SECONDS = 2.0
LOCK = "auditor.lock"
PRESENCE = "auditor"


def run(
    chosen: Settings, stop: threading.Event, *, now: Callable[[], datetime] = clock.now
) -> None:
    """Audit until `stop` is set; stand by while another auditor leads.

    Args:
        chosen: The settings.
        stop: Set from another thread or a signal handler.
        now: The clock.

    Raises:
        StoreError: If the store is newer than this program or its URL cannot be used.
        OSError: If a folder of the settings cannot be written.
    """
    ledger = Ledger(connections.open_writer(chosen.store), secret.secret_key(chosen.chain_key))
    waiting, presence = False, Showing(chosen.home, PRESENCE)
    try:
        while not stop.is_set():
            try:
                with leadership(chosen.home / LOCK, ledger.engine):
                    _lead(connect(chosen, ledger), chosen, stop, now, presence)
            except NotLeaderError as error:
                if not waiting:
                    LOG.info("standing by: %s", error)
                waiting = True
                stop.wait(STANDBY_SECONDS)
            except SQLAlchemyError:
                LOG.exception("the audit store does not answer")
                presence.show({"reaching the store": "it does not answer"}, now=now())
                stop.wait(FAILURE_SECONDS)
    finally:
        ledger.engine.dispose()


def connect(chosen: Settings, ledger: Ledger) -> Ingestion:
    """Return the auditor's work as the settings describe it."""
    promise = Promise(chosen.false_alarm_days, chosen.records_per_day, chosen.tolerance)
    registry = Registry(chosen.registry)
    return Ingestion(
        journal=chosen.journal,
        ledger=ledger,
        images=ImageFolder(chosen.images),
        anchors=AnchorFolder(chosen.anchors),
        watching=Watching(promise, CardReferences(registry)),
        identify=identifier,
        prober=ServedProber(registry, chosen.probe_share, identifier, chosen.probe_answers),
        segmenter=ServedSegmenter(chosen.registry, chosen.segment_share, identifier),
        suspecting=Suspecting(identifier, chosen.suspect_every, chosen.suspect_answers),
        plan=policy.Plan(budget=chosen.policy_requests),
        retention=_retention(chosen),
        forget=Withdrawal(
            chosen.retrainings, registry, secret.secret_key(chosen.chain_key), clock.now
        ),
        answering=lambda model: _champion(registry, model),
        believed=lambda model, version: _believed(registry, model, version),
    )


def _believed(registry: Registry, model: str, version: int) -> bool:
    """Return whether Grad-CAM passes its check on a version; True where that cannot be read."""
    try:
        return cautions.believable(registry.version(model, version), "gradcam")
    except RegistryError:
        return True


def main() -> None:
    """Audit until the process is asked to end."""
    chosen = settings.load()
    logs.configure(chosen.log)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run(chosen, stop)


def _lead(
    ingestion: Ingestion,
    chosen: Settings,
    stop: threading.Event,
    now: Callable[[], datetime],
    presence: Showing,
) -> None:
    ingestion.prepare(now=now())
    gauges = Gauges()
    gauges.show_series(ingestion.watching)
    every = timedelta(hours=chosen.drill_hours)
    drills = FireDrills(chosen, every, now(), now, lambda: dict(ingestion.drilled))
    with (
        exposed(gauges, chosen.audit_host, chosen.audit_port),
        fire_drills.running(drills),
        notifying.running(chosen),
    ):
        LOG.info("auditing %s", chosen.journal)
        while not stop.is_set():
            try:
                taken = ingestion.step(now=now())
            except (AuditError, OSError) as error:
                LOG.exception("a step failed and will be tried again")
                presence.show({"taking a step": str(error)}, now=now())
                gauges.failed.inc()
                stop.wait(FAILURE_SECONDS)
                continue
            gauges.show(ingestion, taken=taken, head=ingestion.head, now=now())
            gauges.show_drills(drills.standing)
            presence.show(_failing(ingestion), now=now())
            if taken == 0:
                stop.wait(chosen.audit_seconds)


def _failing(ingestion: Ingestion) -> Mapping[str, str]:
    """Return what fails though the steps succeed → why."""
    found = {f"source {source}": why for source, why in ingestion.broken.items()}
    return found | ({RESTORED: ingestion.restored} if ingestion.restored else {})


def _champion(registry: Registry, model: str) -> int | None:
    try:
        return registry.pointer(model).version
    except RegistryError as error:
        LOG.warning("the champion of %s cannot be told: %s", model, error)
        return None


def _retention(chosen: Settings) -> erasure.Retention:
    events = timedelta(days=chosen.keep_events_days) if chosen.keep_events_days else None
    return erasure.Retention(
        images=timedelta(days=chosen.keep_images_days),
        evidence=timedelta(days=chosen.keep_evidence_days),
        events=events,
    )


if __name__ == "__main__":
    with boundary.one_line():
        main()
