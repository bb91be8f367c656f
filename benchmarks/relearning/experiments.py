"""What a recipe's table does with its rows: one function per experiment, which makes cells."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from relearning import cells, exemplars, scarcity
from relearning.recipes import Row, Table
from relearning.tasks import TASKS

Cell: TypeAlias = dict[str, Any]
Experiment: TypeAlias = Callable[
    [Table, Sequence[Row], int, Path, str], Iterator[tuple[Row, Cell]]
]
"""Table, the rows that are missing, seed, folder of the data, device → each row with its cell."""


def training(
    table: Table, rows: Sequence[Row], seed: int, data: Path, device: str
) -> Iterator[tuple[Row, Cell]]:
    """Train each row's method on the table's task and judge it on the task's tests.

    Settings of the table: `rows` of the source, where they are fewer than the task's.
    """
    plan = TASKS[table.task]
    plan = replace(plan, rows=table.settings.get("rows", plan.rows))
    plan = replace(plan, config=replace(plan.config, device=device))
    for row in rows:
        yield row, cells.run(plan, table.task, row.name, row.method, seed=seed, data=data)


EXPERIMENTS: Mapping[str, Experiment] = {
    "training": training,
    "exemplars": exemplars.cells_of,
    "scarcity": scarcity.cells_of,
}
