"""docs/papers.md from the recipes and their cells: published, ours, and why they differ."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import mean
from typing import Any

from relearning import cells
from relearning.recipes import Paper, Row, Table
from relearning.tables import interval

_HEAD = """# The papers, tried

Published figures beside ours, with the reason for any difference. The page is made from the
recipes in `benchmarks/recipes/` and the cells in `benchmarks/results/papers/` by `python
benchmarks/papers.py --page docs/papers.md`; `python benchmarks/papers.py` computes what is
missing.
Per cent, where nothing else is said; ± is Student's 95 % interval over seeds, and one seed has
none. "not run" says what it says.
"""


def cell_of(folder: Path, paper: Paper, table: Table, row: Row, seed: int) -> Path:
    """Return the file of a row's cell; of a known row, that of the retraining benchmark."""
    if row.known:
        return cells.path_of(folder.parent / "retraining", table.task, row.known, seed)
    return cells.path_of(folder / paper.name, table.name, row.name, seed)


def text(papers: Sequence[Paper], folder: Path) -> str:
    """Return the whole page as Markdown."""
    parts = [_HEAD]
    for paper in papers:
        parts += [f"\n## {paper.title}\n", f"{paper.reference}.\n", f"{paper.claim}\n"]
        for table in paper.tables:
            parts += [f"### {table.title}\n", *([f"{table.lead}\n"] if table.lead else [])]
            parts += ["\n".join(_lines(paper, table, folder)) + "\n"]
            parts += [f"{table.says}\n"] if table.says else []
    return "\n".join(parts)


def _lines(paper: Paper, table: Table, folder: Path) -> Iterator[str]:
    published = any(row.published for row in table.rows)
    heads = ["", *table.figures, "seeds", *(["published"] if published else []), "remarks"]
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for row in table.rows:
        found = [cells.load(cell_of(folder, paper, table, row, each)) for each in range(row.seeds)]
        done = [each for each in found if each is not None]
        values = [row.name, *(_shown(done, path) for path in table.figures.values())]
        values += [str(len(done)), *([row.published] if published else []), row.differs]
        yield f"| {' | '.join(values)} |"


def _shown(done: Sequence[Mapping[str, Any]], path: str) -> str:
    """Return the mean of a figure over cells with its interval.

    In per cent, but for a path that begins with "#", which is a plain number. Of one that begins
    with "=", answers as text, it is the share on which two cells agree, over all pairs.
    """
    if not done:
        return "not run"
    found = [value for cell in done if (value := _at(cell, path.lstrip("#="))) is not None]
    if path.startswith("="):
        pairs = [sum(map(str.__eq__, *each)) / len(each[0]) for each in combinations(found, 2)]
        return f"{100 * mean(pairs):.1f}" if pairs else "–"
    if not found:
        return "–"
    scale, places = (1, 2) if path.startswith("#") else (100, 1)
    middle, half = interval([float(each) for each in found])
    shown = f"{scale * middle:.{places}f}"
    return shown if half is None else f"{shown} ± {scale * half:.{places}f}"


def _at(cell: Mapping[str, Any], path: str) -> Any:  # noqa: ANN401  # whatever a cell holds
    value: Any = cell
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value
