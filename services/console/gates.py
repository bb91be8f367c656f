"""A gate's verdict as a table: what was asked of the candidate, and what it showed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.console.layout import signed

# Rule → title of its part of the table, what the row is called, and which end counts.
_RULES: Mapping[str, tuple[str, str, str]] = {
    "accuracy": ("Right answers", "all rows", "low"),
    "class accuracy": ("Right answers", "class {}", "low"),
    "group accuracy": ("Right answers", "group {}", "low"),
    "shortcut reliance": ("Reasons", "right answers that change with what is irrelevant", "high"),
    "painted surroundings": ("Reasons", "right where the irrelevant is painted over", "low"),
    "exchanged surroundings": ("Reasons", "right in another image's surroundings", "low"),
    "reversed surroundings": ("Reasons", "right in another class's surroundings", "low"),
    "activation recall": ("Reasons", "Activation Recall", "low"),
    "recall beyond chance": ("Reasons", "Activation Recall beyond chance", "low"),
    "relevance mass": ("Reasons", "relevance mass", "low"),
    "uniform heatmaps": ("Reasons", "heatmaps that merely spread", "high"),
    "calibration error": ("Service", "calibration error", "high"),
    "parity": ("Service", "the exported graph answers as the network", ""),
    "latency": ("Service", "milliseconds per answer", ""),
}
_PARTS = ("Right answers", "Reasons", "Service", "Other")


@dataclass(frozen=True, slots=True)
class Row:
    """One rule.

    Attributes:
        name: What it is about.
        champion: The champion's value as text; "" where none was measured.
        candidate: The candidate's.
        difference: Candidate minus champion, with its sign.
        interval: Both ends.
        margin: What was demanded.
        passed: Whether it holds.
        decides: Whether it refuses where it does not hold.
        reason: One sentence with the figures.
    """

    name: str
    champion: str
    candidate: str
    difference: str
    interval: str
    margin: str
    passed: bool
    decides: bool
    reason: str


def table(verdict: Mapping[str, Any]) -> list[tuple[str, list[Row]]]:
    """Return the rows of a verdict by part; within one, refused rules first.

    Args:
        verdict: As the retraining keeps it: `checks` with rule, subject, passed, difference,
            limit, reason, and levels where they were measured.
    """
    parts: dict[str, list[Row]] = {name: [] for name in _PARTS}
    for check in verdict["checks"]:
        part, _, _ = _RULES.get(check["rule"], ("Other", check["rule"], ""))
        parts[part].append(_row(check))
    return [
        (name, sorted(rows, key=lambda row: row.passed)) for name, rows in parts.items() if rows
    ]


def level(verdict: Mapping[str, Any]) -> int | None:
    """Return the confidence level of the intervals in percent; None where there is none."""
    for check in verdict["checks"]:
        if check["difference"] is not None:
            return round(100 * float(check["difference"]["level"]))
    return None


def _row(check: Mapping[str, Any]) -> Row:
    _, name, end = _RULES.get(check["rule"], ("Other", check["rule"], "low"))
    levels: Sequence[float] | None = check.get("levels")
    found = check["difference"]
    timed = check["rule"] == "latency"
    write = _milliseconds if timed else _share
    return Row(
        name=name.format(check["subject"]) if check["subject"] else name,
        champion=write(levels[0]) if levels else "",
        candidate=write(levels[1]) if levels else "",
        difference=signed(found["value"]) if found else "",
        interval=f"{signed(found['low'])} to {signed(found['high'])}" if found else "",
        margin=_margin(check, end),
        passed=bool(check["passed"]),
        decides=bool(check.get("decides", True)),
        reason=str(check["reason"]),
    )


def _margin(check: Mapping[str, Any], end: str) -> str:
    if check["rule"] == "latency":
        return f"at most {check['limit']:.2f}"
    if check["rule"] == "shortcut reliance":
        return "below 0"
    if not end:
        return ""
    return f"{'at least' if end == 'low' else 'at most'} {signed(check['limit'])}"


def _share(value: float) -> str:
    return f"{value:.3f}"


def _milliseconds(value: float) -> str:
    return f"{value:.2f}"
