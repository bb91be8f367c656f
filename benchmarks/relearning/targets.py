"""What was promised of the table, and which methods keep it."""

from collections.abc import Mapping, Sequence

from relearning.tables import Row

SHARE = 0.98  # of the accuracy of the network trained without the cue
AVERAGE, WORST = 0.97, 0.95  # D3, cue at random
STUDENT, AGREEMENT, GAP = 0.98, 0.97, 0.01  # D4: TEA
GAINED, LOST = 0.20, 0.02  # planted cues on real images
HALVED = 0.5  # the stickers' effect


def judged(tables: Mapping[str, Sequence[Row]]) -> list[tuple[str, list[str]]]:
    """Return each promise and the methods that keep it; an empty list is a missed promise."""
    found = []
    for task, table in tables.items():
        rows = {row.method: row for row in table if not row.refused}
        judge = next((make for name, make in _JUDGES.items() if task.startswith(name)), None)
        if judge is not None and "ERM" in rows:
            promise, kept = judge(rows)
            found.append((f"{task}: {promise}", kept))
    return found


def _share(rows: Mapping[str, Row]) -> tuple[str, list[str]]:
    kept = [name for name in _candidates(rows) if (rows[name].share or 0) >= SHARE]
    return "98 % of the accuracy without the cue", kept


def _both(rows: Mapping[str, Row]) -> tuple[str, list[str]]:
    kept = [
        name
        for name in _candidates(rows)
        if rows[name].tests["random"][0] >= AVERAGE and rows[name].worst[0] >= WORST
    ]
    return "average 97 and worst class 95 with the cue at random", kept


def _student(rows: Mapping[str, Row]) -> tuple[str, list[str]]:
    kept = []
    for name in _candidates(rows):
        row = rows[name]
        gap = row.tests["correlated"][0] - row.tests["random"][0]
        alike = row.agreement is not None and row.agreement >= AGREEMENT
        if alike and row.tests["random"][0] >= STUDENT and gap <= GAP:
            kept.append(name)
    return "98 with the cue at random, 97 agreement with the teacher, no gap", kept


def _planted(rows: Mapping[str, Row]) -> tuple[str, list[str]]:
    erm = rows["ERM"]
    kept = [
        name
        for name in _candidates(rows)
        if rows[name].worst[0] >= erm.worst[0] + GAINED
        and rows[name].tests["correlated"][0] >= erm.tests["correlated"][0] - LOST
    ]
    return "worst group 20 points above ERM, at most 2 lost with the cue", kept


def _stickers(rows: Mapping[str, Row]) -> tuple[str, list[str]]:
    erm = rows["ERM"]
    limit = HALVED * abs(erm.effect or 0)
    # A network that always says the same is moved by nothing, and has a worst group of zero.
    kept = [
        name
        for name in _candidates(rows)
        if abs(rows[name].effect or 0) <= limit
        and rows[name].tests["random"][0] >= erm.tests["random"][0]
        and rows[name].worst[0] >= erm.worst[0]
    ]
    return "the stickers' effect at least halved, no worse in exchanged surroundings", kept


def _candidates(rows: Mapping[str, Row]) -> list[str]:
    """Return what learns from explanations: neither a base nor a control."""
    controls = ("ERM", "trained", "GroupDRO", "JTT")
    return [
        name for name in rows
        if not name.startswith(controls) and "displaced" not in name and "no masks" not in name
    ]  # fmt: skip


_JUDGES = {
    "A-": _share,
    "B": _both,
    "C": _student,
    "D-isic": _stickers,
    "D-": _planted,
}
