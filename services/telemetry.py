"""Prometheus series of a serving worker: the service's own, and histograms for alert rules.

Every label has few values: routes are templates, models are those of the registry, classes
beyond the first `MOST_CLASSES` of a model are "other". Gauges of averages do not exist here:
workers cannot average one.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from prometheus_client import Counter, Gauge, Histogram, multiprocess

from services import tracing

MOST_CLASSES = 20
OTHER = "other"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
# The edges are the thresholds that alert rules use, so that no rule has to interpolate.
_SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)

REQUESTS = Histogram(
    "rightly_request_seconds",
    "Time from a request's first byte to the last of its answer",
    ["route", "method", "status"],
    buckets=_SECONDS,
)
STAGES = Histogram(
    "rightly_stage_seconds",
    "Time that a request for predictions spends in each stage",
    ["stage"],
    buckets=_SECONDS,
)
ACTIVE = Gauge(
    "rightly_active_requests",
    "Requests being received, computed or waiting",
    multiprocess_mode="livesum",
)
PREDICTIONS = Counter("rightly_predictions", "Images answered", ["model", "explainer"])
SWAPS = Counter("rightly_swaps", "Versions taken into service or rejected", ["model", "outcome"])
FOLLOWED = Gauge(
    "rightly_followed_timestamp_seconds",
    "When every champion pointer was last looked at; the oldest of the workers",
    multiprocess_mode="livemin",
)
VERSION = Gauge(
    "rightly_champion_version",
    "Number of the version that answers; the lowest of the workers",
    ["model"],
    multiprocess_mode="livemin",
)
SIGN_INS = Counter(
    "rightly_sign_ins",
    "Sign-ins of browsers, and keys refused: way (key, oidc) and outcome (accepted, refused)",
    ["way", "outcome"],
)
RECORDS = Counter("audit_records", "Answers, with and without a region", ["model", "region"])
RECALL = Histogram(
    "audit_activation_recall",
    "Mean Grad-CAM value over the region",
    ["model", "class", "source", "role"],
    buckets=_SHARES,
)
MASS = Histogram(
    "audit_relevance_mass",
    "Share of the Grad-CAM inside the region",
    ["model", "class", "source", "role"],
    buckets=_SHARES,
)
# A candidate on trial: phase is shadow or canary, outcome agreed, differed, answered or failed.
CANDIDATE_ANSWERS = Counter(
    "rightly_candidate_answers",
    "Images that a candidate on trial was asked",
    ["model", "phase", "outcome"],
)
CANDIDATE_SECONDS = Histogram(
    "rightly_candidate_seconds",
    "Time that a candidate on trial takes per image",
    ["model", "phase"],
    buckets=_SECONDS,
)
SHADOW_DROPPED = Counter(
    "rightly_shadow_dropped",
    "Images that a candidate in the shadow was not asked because its queue was full",
    ["model"],
)
CANDIDATE = Gauge(
    "rightly_candidate_version",
    "Number of the version on trial in this phase; 0 for none; the highest of the workers",
    ["model", "phase"],
    multiprocess_mode="livemax",
)
CANARY_SHARE = Gauge(
    "rightly_canary_share",
    "Share of the requests that a canary answers; the highest of the workers",
    ["model"],
    multiprocess_mode="livemax",
)
PHASES = ("shadow", "canary")


class ClassLabels:
    """Keeps the values of the label `class` few: those of a model beyond the first are "other"."""

    def __init__(self, most: int = MOST_CLASSES) -> None:
        self._most = most
        self._known: defaultdict[str, set[str]] = defaultdict(set)

    def of(self, model: str, label: str) -> str:
        """Return `label` while the model has few, else "other"."""
        known = self._known[model]
        if label not in known and len(known) >= self._most:
            return OTHER
        known.add(label)
        return label


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Measure how long the block takes, as the stage `name`, and trace it."""
    start = perf_counter()
    try:
        with tracing.span(name):
            yield
    finally:
        STAGES.labels(name).observe(perf_counter() - start)


def answered(route: str | None, method: str, status: int, seconds: float) -> None:
    """Count a request.

    Args:
        route: Template of the route that took it; None where there is no such route.
        method: As the client sent it.
        status: As answered.
        seconds: How long it took.
    """
    known = method if method in _METHODS else OTHER
    REQUESTS.labels(route or OTHER, known, str(status)).observe(seconds)


def on_trial(model: str, version: int, phase: str, share: float) -> None:
    """Say which candidate is on trial; version 0 for none."""
    for each in PHASES:
        CANDIDATE.labels(model, each).set(version if each == phase else 0)
    CANARY_SHARE.labels(model).set(share if phase == "canary" else 0.0)


def candidate_answered(model: str, phase: str, outcome: str, images: int = 1) -> None:
    """Count what became of images that a candidate was asked."""
    CANDIDATE_ANSWERS.labels(model, phase, outcome).inc(images)


def candidate_took(model: str, phase: str, seconds: float) -> None:
    """Note a candidate's time per image."""
    CANDIDATE_SECONDS.labels(model, phase).observe(seconds)


def audited(
    model: str, label: str, source: str, measures: Mapping[str, float], *, role: str = "champion"
) -> None:
    """Count what was measured about one answer whose region is known.

    Args:
        model: That answered.
        label: The most probable class, from `ClassLabels`.
        source: Where the region came from.
        measures: By name, among them activation recall and relevance mass.
        role: Of the version that answered, "champion" or "canary".
    """
    RECALL.labels(model, label, source, role).observe(measures["activation_recall"])
    MASS.labels(model, label, source, role).observe(measures["relevance_mass"])


def forget_worker(folder: Path | None) -> None:
    """Take this worker's live gauges out of the sum; call it when the worker stops.

    Args:
        folder: Where the workers' series meet; None where there is only this process.
    """
    if folder is not None:
        multiprocess.mark_process_dead(os.getpid(), str(folder))  # type: ignore[no-untyped-call]
