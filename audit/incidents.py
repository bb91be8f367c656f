"""Alarms with one cause are one incident: since when, how far, what else moved, the likely cause.

The alarms of one version are told apart by what they speak of: its reasons, or its data. Those
about reasons are one incident, since a shortcut moves recall, mass and reliance of several classes
together; those about data likewise. Time does not part them: an alarm that comes later is what the
same cause moved next.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from audit.verdict import BEFORE, REASONS

Cause: TypeAlias = Literal["shortcut", "attention", "drift"]
# The first state that one of its alarms is in is the incident's.
_WORST = ("alarm", "acknowledged", "requested", "warning", "ok", "closed")
CAUSES: Mapping[Cause, str] = {
    "shortcut": "Answers follow what should not matter: a shortcut, most likely.",
    "attention": (
        "Heatmaps have left the evidence; whether the answers follow is not shown: a shortcut, or "
        "pictures that are framed differently."
    ),
    "drift": (
        "The pictures are unlike those it was made with, or it is less sure of them: another "
        "device, another population, or broken input."
    ),
}


@dataclass(frozen=True, slots=True)
class Incident:
    """Alarms with one cause.

    Attributes:
        model: The model's name.
        version: Its version.
        cause: The likely one.
        state: The most pressing state of its alarms.
        since: When the first was raised, as canonical text.
        classes: Classes that it is about, by name; empty for all together.
        measures: What moved, the strongest proof first.
        alarms: Its alarms as rows, the strongest proof first.
    """

    model: str
    version: int
    cause: Cause
    state: str
    since: str
    classes: tuple[str, ...]
    measures: tuple[str, ...]
    alarms: tuple[Mapping[str, Any], ...]

    @property
    def leading(self) -> Mapping[str, Any]:
        """The alarm that proves most."""
        return self.alarms[0]


def group(rows: Sequence[Mapping[str, Any]], *, reliance: str) -> list[Incident]:
    """Return alarms as incidents, the most pressing first, then the newest.

    Args:
        rows: Alarms as `report.alarms` gives them.
        reliance: Name of the measure of shortcut reliance.
    """
    found: dict[tuple[str, int, bool], list[Mapping[str, Any]]] = {}
    for row in rows:
        reasons = row["measure"] in {reliance, *BEFORE, *REASONS}
        found.setdefault((row["model"], row["version"], reasons), []).append(row)
    made = [_incident(each, reasons=key[2], reliance=reliance) for key, each in found.items()]
    made.sort(key=lambda each: each.since, reverse=True)
    return sorted(made, key=lambda each: _rank(each.state))


def _incident(rows: Sequence[Mapping[str, Any]], *, reasons: bool, reliance: str) -> Incident:
    def proof(row: Mapping[str, Any]) -> tuple[int, bool, str]:
        return _rank(row["state"]), row["measure"] not in {reliance, *BEFORE}, row["raised_at"]

    ordered = sorted(rows, key=proof)
    first = ordered[0]
    # A warning that the measure is close to its alarm proves nothing yet.
    raised = [each for each in ordered if each["state"] not in {"warning", "ok"}] or ordered
    follows = any(each["measure"] in {reliance, *BEFORE} for each in raised)
    return Incident(
        model=first["model"],
        version=first["version"],
        cause="drift" if not reasons else "shortcut" if follows else "attention",
        state=first["state"],
        since=min(each["raised_at"] for each in raised),
        classes=tuple(sorted({each["class_label"] for each in raised if each["class_label"]})),
        measures=tuple(dict.fromkeys(each["measure"] for each in raised)),
        alarms=tuple(ordered),
    )


def _rank(state: str) -> int:
    return _WORST.index(state) if state in _WORST else len(_WORST)
