"""Example records: small, deterministic, one of every kind."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from audit import records
from audit.canonical import Packed, packed_shares
from audit.comparisons import ComparisonRecord
from audit.decided import DecisionEvent, Reason
from audit.suspicions import Suspected, SuspicionEvent

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MODEL = records.ModelRef("digits", 3, "sha256:" + "ab" * 32)
LABELS = tuple(str(digit) for digit in range(10))


def identifier(number: int, prefix: str = "01HZ") -> str:
    """A 26-character id that sorts by `number`."""
    return f"{prefix}{number:0{26 - len(prefix)}d}"


def ids(first: int = 1000) -> Callable[[], str]:
    """Makes one id after the other."""
    numbers = itertools.count(first)
    return lambda: identifier(next(numbers))


def region(seed: int = 0, source: records.RegionSource = "client") -> records.RegionEvidence:
    shares = np.random.default_rng([seed, 1]).random((7, 7))
    return records.RegionEvidence(source, "", packed_shares(shares), 0.25)


def prediction(number: int, *, subject: str | None = None) -> records.PredictionRecord:
    """The answer with this number: other numbers, other values."""
    rng = np.random.default_rng([number, 0])
    probabilities = rng.dirichlet(np.ones(10)).astype(np.float32)
    order = np.argsort(-probabilities)
    rated = tuple(
        records.RatedClass(int(i), LABELS[i], round(float(probabilities[i]), 6)) for i in order[:3]
    )
    recall = float(rng.beta(6, 4))
    return records.PredictionRecord(
        event_id=identifier(number),
        event_time=START + timedelta(seconds=number),
        model=MODEL,
        classes=rated,
        probabilities=Packed.of(probabilities, "<f4"),
        target=rated[0],
        explainer="gradcam/1",
        heatmap=packed_shares(rng.random((7, 7))),
        embedding=Packed.of(rng.normal(size=8), "<f2"),
        region=region(number),
        measures={"activation_recall": recall, "relevance_mass": recall / 2},
        subject=subject,
    )


def every_entry() -> list[records.Entry]:
    """One record of every kind, all about the answer 1."""
    about = identifier(1)

    def head(number: int) -> dict[str, object]:
        return {"event_id": identifier(number), "event_time": START + timedelta(hours=number)}

    return [
        replace(prediction(1), image="0" * 64, subject="patient-1", stream="drill"),
        records.ImageRecord(identifier(1), START, "0" * 64, Packed.of(np.arange(9), "|u1"), None),
        records.LabelEvent(**head(2), prediction_id=about, label="7", actor="ada"),
        records.RegionEvent(
            **head(3), prediction_id=about, region=region(9, "reviewer"), actor="ada"
        ),
        records.ReviewEvent(
            **head(4), prediction_id=about, verdict="wrong-reason", actor="ada", seconds=3.5
        ),
        records.ReadingRequest(**head(12), prediction_id=about, actor="ada", reason="a rare case"),
        records.ProbeEvent(
            **head(5),
            prediction_id=about,
            intervention="blur",
            source="client",
            measures={"flip": 1.0},
        ),
        records.AlarmEvent(
            **head(6),
            alarm_id=identifier(6),
            model="digits",
            version=3,
            measure="activation_recall",
            class_label="7",
            side="low",
            source="client",
            state="alarm",
            evidence={"observations": 70.0, "value": 21000.0, "threshold": 20000.0},
            actor="auditor",
        ),
        records.AcknowledgementEvent(
            **head(7), alarm_id=identifier(6), actor="ada", reason="a new scanner"
        ),
        records.RequestEvent(
            **head(8),
            request_id=identifier(8),
            model="digits",
            origin="alertmanager",
            actor="alertmanager",
            reason="ActivationRecallLow",
        ),
        records.ErasureEvent(
            **head(9), sequences=(3, 4), images=("0" * 64,), reason="subject", actor="ada"
        ),
        records.ErasureRequest(**head(11), actor="ada", subject="patient-1"),
        records.ActionEvent(**head(10), action="access", actor="ada", details={"id": about}),
        ComparisonRecord(
            **head(21),
            rollout_id=identifier(22),
            phase="shadow",
            prediction_id=about,
            model="digits",
            version=4,
            champion=3,
            class_label="7",
            confidence=0.9,
            agrees=True,
            measures={"activation_recall": 0.5},
            champion_measures={"activation_recall": 0.25},
            milliseconds=3.5,
            champion_milliseconds=3.0,
            subject="patient-1",
        ),
        DecisionEvent(
            **head(14),
            model="digits",
            retrain=False,
            reasons=(Reason("thin", "too little evidence", identifier(6)),),
        ),
        SuspicionEvent(
            **head(20),
            model="digits",
            version=3,
            class_label="7",
            answers=60,
            eigengap=0.2,
            groups=2,
            found=(
                Suspected(
                    suspicion_id="0" * 26,
                    size=20,
                    share=1 / 3,
                    heatmap=Packed.of(np.eye(7) / 7, "<f4"),
                    focus=0.5,
                    distance=0.9,
                    score=0.67,
                    examples=(about,),
                ),
            ),
        ),
    ]
