"""What the auditor tells Prometheus: gauges, from one process, on a port of its own.

Workers cannot average a gauge; the auditor is one process and knows the truth. Its absence is a
signal too: `audit_last_evaluated_timestamp_seconds` stands still when it does.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from audit.alarms import State
from audit.watch.watched import Watched
from audit.watch.watching import Watching
from services.auditing.fire_drills import Standing
from services.auditing.ingestion import Ingestion

LOG = logging.getLogger("rightly.auditor")
# A standing alarm is at least 2; that is what the alert rule asks for.
STATES = {
    State.OK: 0,
    State.WARNING: 1,
    State.ALARM: 2,
    State.ACKNOWLEDGED: 3,
    State.REQUESTED: 4,
    State.CLOSED: 0,
}
# Series shown at most; the store has all of them.
MOST_SERIES = 2000
_SERIES = ("model", "version", "class", "measure", "side", "source")


class Gauges:
    """The auditor's series in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._suspicions: list[tuple[str, int, str, str, float]] = []
        self.evaluated = self._gauge(
            "audit_last_evaluated_timestamp_seconds", "When the auditor last finished a step"
        )
        self.pending = self._gauge(
            "audit_journal_pending_bytes", "Bytes of the journal that are not ingested yet"
        )
        self.broken = self._gauge(
            "audit_journal_broken_sources",
            "Sources of the journal that cannot be read any further",
        )
        self.head = self._gauge("audit_head_sequence", "Number of the last event in the chain")
        self.ingested = Counter(
            "audit_ingested", "Journal entries ingested", registry=self.registry
        )
        self.failed = Counter(
            "audit_step_failures", "Steps that failed and were rolled back", registry=self.registry
        )
        self.flips = Histogram(
            "audit_shortcut_flip",
            "Share of the interventions on what is irrelevant that changed an answer",
            ["model", "source"],
            buckets=(0.0, 0.34, 0.67, 1.0),
            registry=self.registry,
        )
        self.drilled = self._gauge(
            "audit_last_drill_timestamp_seconds",
            "When a fire drill last raised its alarm",
            "model",
        )
        self.segmented = self._gauge(
            "audit_segmented",
            "Answers that a segmenter saw since the auditor started, by what came of it",
            *("model", "outcome"),
        )
        self.drill_due = self._gauge(
            "audit_drill_due_timestamp_seconds",
            "By when the next scheduled fire drill must have raised its alarm",
            "model",
        )
        self.drill_success = self._gauge(
            "audit_drill_success",
            "Whether the last scheduled fire drill raised its alarm",
            "model",
        )
        self.suspected = self._gauge(
            "audit_suspected_shortcuts",
            "Groups of heatmaps that suggest a shortcut, by what a person said about them",
            *("model", "version", "verdict"),
        )
        self.suspicion = self._gauge(
            "audit_shortcut_suspicion",
            "The highest score of a class's suspected shortcuts that nobody has dismissed",
            *("model", "version", "class"),
        )
        self.restored = self._gauge(
            "audit_store_restored",
            "Whether the store is older than its anchors, and nobody has accepted that yet",
        )
        self.state = self._gauge(
            "audit_drift_state", "0 ok, 1 warning, 2 alarm, 3 acknowledged, 4 requested", *_SERIES
        )
        self.statistic = self._gauge(
            "audit_drift_evidence_ratio", "The detector's statistic over its threshold", *_SERIES
        )
        self.observations = self._gauge(
            "audit_drift_observations", "Observations that the detector has taken", *_SERIES
        )

    def show(self, ingestion: Ingestion, *, taken: int, head: int, now: datetime) -> None:
        """Bring every series up to date after a step."""
        self.ingested.inc(taken)
        self.head.set(head)
        self.pending.set(ingestion.pending())
        self.broken.set(len(ingestion.broken))
        self.restored.set(bool(ingestion.restored))
        self.evaluated.set(now.timestamp())
        for model, source, share in ingestion.take_probes():
            self.flips.labels(model, source).observe(share)
        for model, moment in ingestion.drilled.items():
            self.drilled.labels(model).set(moment.timestamp())
        if taken:
            self.show_series(ingestion.watching)
        if ingestion.segmenter is not None:
            for (model, outcome), answers in ingestion.segmenter.counts.items():
                self.segmented.labels(model, outcome).set(answers)
        if ingestion.suspecting is not None:
            self.show_suspicions(ingestion.suspecting.standing)

    def show_drills(self, standing: Mapping[str, Standing]) -> None:
        """Show how each model stands with its scheduled fire drills."""
        for gauge in (self.drill_due, self.drill_success):
            gauge.clear()
        for model, each in [*standing.items()]:
            self.drill_due.labels(model).set(each.due.timestamp())
            if each.succeeded is not None:
                self.drill_success.labels(model).set(each.succeeded)

    def show_series(self, watching: Watching) -> None:
        """Show the watched series, those with an alarm first."""
        for gauge in (self.state, self.statistic, self.observations):
            gauge.clear()
        ranked = sorted(watching.watched.items(), key=lambda each: -STATES[each[1].alarm.state])
        for _, each in ranked[:MOST_SERIES]:
            labels = _labels(each)
            self.state.labels(**labels).set(STATES[each.alarm.state])
            if each.detector is not None:
                share = each.detector.statistic / each.detector.threshold
                self.statistic.labels(**labels).set(share)
                self.observations.labels(**labels).set(each.detector.observations)

    def show_suspicions(self, standing: Sequence[tuple[str, int, str, str, float]]) -> None:
        """Show model, version, class, verdict and score of what is current, if it has changed."""
        if standing == self._suspicions:
            return
        self._suspicions = list(standing)
        self.suspected.clear()
        self.suspicion.clear()
        highest: dict[tuple[str, str, str], float] = {}
        for model, version, label, verdict, score in standing:
            self.suspected.labels(model, str(version), verdict).inc()
            if verdict != "dismissed":
                key = (model, str(version), label)
                highest[key] = max(score, highest.get(key, 0.0))
        ranked = sorted(highest.items(), key=lambda each: -each[1])
        for key, score in ranked[:MOST_SERIES]:
            self.suspicion.labels(*key).set(score)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)


@contextmanager
def exposed(gauges: Gauges, host: str, port: int) -> Iterator[None]:
    """Serve the series over HTTP while the block runs; on no port when it is 0.

    A port that is taken stops nobody from auditing: the alert on missing series says it.
    """
    try:
        started = start_http_server(port, addr=host, registry=gauges.registry) if port else None
    except OSError:
        LOG.exception("no metrics on %s:%s", host, port)
        started = None
    if started is None:
        yield
        return
    server, thread = started
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _labels(each: Watched) -> dict[str, str]:
    series = each.series
    return {
        "model": series.model,
        "version": str(series.version),
        "class": series.class_label,
        "measure": series.measure,
        "side": series.side.value,
        "source": series.source,
    }
