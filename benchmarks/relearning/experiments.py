"""What a recipe's table does with its rows: one function per experiment, each makes one cell."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from relearning import cells
from relearning.recipes import Row, Table
from relearning.tasks import Plan

Experiment: TypeAlias = Callable[[Plan, Table, Row, int, Path], dict[str, Any]]


def training(plan: Plan, table: Table, row: Row, seed: int, data: Path) -> dict[str, Any]:
    """Train a row's method on the table's task and judge it on the task's tests."""
    return cells.run(plan, table.task, row.name, row.method, seed=seed, data=data)


EXPERIMENTS: Mapping[str, Experiment] = {"training": training}
