"""Cells → one table per task: mean over seeds with a 95 % interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

# Student's t at 97.5 % for 1, 2, 3, … degrees of freedom.
_T = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)


@dataclass(frozen=True)
class Row:
    """One method on one task.

    Attributes:
        method: Its name.
        seeds: How many cells.
        tests: Accuracy per test set: mean and half width of the interval, None for one seed.
        worst: Worst class or group on the judged set, likewise.
        flips: Mean flip rate, None where it is not defined.
        shift: Mean fall of the answer's probability when the cue changes, likewise.
        gradient: Mean share of the input gradient on the cue over its area, None without a cue.
        share: Judged accuracy over that of the model trained without the cue.
        seconds: Mean of a whole training.
        cost: Seconds per step relative to ERM's.
        agreement: Mean share of training rows on which student and teacher agree, None without.
        effect: Mean change of p(nevus) by a sticker, None where there are none.
        refused: Why it could not run.
    """

    method: str
    seeds: int
    tests: Mapping[str, tuple[float, float | None]]
    worst: tuple[float, float | None]
    flips: float | None
    shift: float | None
    gradient: float | None
    share: float | None
    seconds: float
    cost: float | None
    agreement: float | None = None
    effect: float | None = None
    refused: str = ""


def rows(cells: Sequence[Mapping[str, Any]], judged: str) -> list[Row]:
    """Return a task's rows in the order of the cells' methods."""
    by_method: dict[str, list[Mapping[str, Any]]] = {}
    for cell in cells:
        by_method.setdefault(cell["method"], []).append(cell)
    ceiling = _accuracy(by_method.get("trained without the cue", []), judged)
    step = _step(by_method.get("ERM", []))
    return [_row(name, own, judged, ceiling, step) for name, own in by_method.items()]


def lines(
    title: str, judged: str, table: Sequence[Row], published: Mapping[str, str]
) -> list[str]:
    """Return the table as text, published figures beside ours."""
    effects = any(row.effect is not None for row in table)
    tests = list(dict.fromkeys(test for row in table for test in row.tests))
    head = f"{'':34}{''.join(f'{each:>15}' for each in tests)}"
    head += f"{'worst':>15}{'flips':>8}{'shift':>8}{'gradient':>10}{'of ceiling':>12}"
    head += f"{'seconds':>9}{'x step':>8}{'seeds':>6}"
    head += f"{'sticker':>9}" if effects else ""
    head += "  published" if published else ""
    made = ["", f"{title}  (worst and share of the ceiling: on {judged!r})", head]
    for row in table:
        if row.refused:
            made.append(f"{row.method:34}{row.refused[:110]}")
            continue
        cells = "".join(f"{_shown(row.tests.get(each)):>15}" for each in tests)
        made.append(
            f"{row.method:34}{cells}{_shown(row.worst):>15}{_percent(row.flips):>8}"
            f"{_percent(row.shift):>8}{'-' if row.gradient is None else f'{row.gradient:.2f}':>10}"
            f"{_percent(row.share):>12}{row.seconds:>9.1f}"
            f"{'' if row.cost is None else f'{row.cost:.2f}':>8}{row.seeds:>6}"
            f"{f'{_percent(row.effect):>9}' if effects else ''}"
            f"{'' if row.method not in published else f'  {published[row.method]}'}"
        )
        if row.agreement is not None:
            made.append(f"{'  decides like its teacher in':34}{_percent(row.agreement):>15}")
    return made


def _row(
    name: str, own: list[Mapping[str, Any]], judged: str, ceiling: float | None, step: float | None
) -> Row:
    done = [cell for cell in own if "refused" not in cell]
    if not done:
        return Row(
            name,
            len(own),
            {},
            (0.0, None),
            None,
            None,
            None,
            None,
            0.0,
            None,
            refused=own[0]["refused"],
        )
    worst = "worst_group" if own[0]["task"].startswith("D-") else "worst_class"
    accuracy = _accuracy(done, judged)
    own_step = _step(done)
    return Row(
        method=name,
        seeds=len(done),
        tests={
            test: interval([cell["tests"][test]["accuracy"] for cell in done])
            for test in done[0]["tests"]
        },
        worst=interval([cell["tests"][judged][worst] for cell in done]),
        flips=_mean(done, "flip_rate"),
        shift=_mean(done, "probability_shift"),
        gradient=_mean(done, "gradient_ratio"),
        share=accuracy / ceiling if accuracy is not None and ceiling else None,
        seconds=mean(cell["seconds"] for cell in done),
        cost=own_step / step if own_step and step else None,
        agreement=_mean(done, "agreement"),
        effect=_mean(done, "sticker_effect"),
    )


def _accuracy(cells: Sequence[Mapping[str, Any]], judged: str) -> float | None:
    values = [cell["tests"][judged]["accuracy"] for cell in cells if "refused" not in cell]
    return mean(values) if values else None


def _mean(cells: Sequence[Mapping[str, Any]], value: str) -> float | None:
    """Return the mean of what the cells that have a value say."""
    values = [cell[value] for cell in cells if cell.get(value) is not None]
    return mean(values) if values else None


def _step(cells: Sequence[Mapping[str, Any]]) -> float | None:
    values = [cell["seconds_per_step"] for cell in cells if "refused" not in cell]
    return min(values) if values else None


def interval(values: Sequence[float]) -> tuple[float, float | None]:
    """Return mean and half width of Student's 95 % interval."""
    if len(values) == 1:
        return values[0], None
    half = _T[min(len(values) - 2, len(_T) - 1)] * stdev(values) / len(values) ** 0.5
    return mean(values), half


def _shown(value: tuple[float, float | None] | None) -> str:
    if value is None:
        return "-"
    middle, half = value
    return f"{100 * middle:.1f}" if half is None else f"{100 * middle:.1f} ±{100 * half:.1f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
