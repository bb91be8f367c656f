"""Which way of learning from explanations works: every method, its controls, several tasks.

    python benchmarks/retraining.py [--quick] [--json FILE] [--task C …] [--seeds 3]

Every cell (method × task × seed) is a small file below benchmarks/results/retraining with its
recipe, versions and seconds; what is there is not computed again, so an interrupted run goes on
where it stopped. `--quick` computes a smaller table in about two minutes and keeps nothing.
Tasks: A-digits, A-fashion (D1: a square in the corner), B (D3: a flat half), C (D4: colour), D5,
D6 (toys), D-isic, D-cxr, D-objects (real images, pretrained network). All of them take about seven
hours of one core; tasks can run side by side in several processes. What is slow has one seed.

The epoch is always the last one: no method selects on unbiased rows, or on any. The status is 1
where a promise below the tables is kept by no method. `--cost` prints what a step of each method
costs on ResNet-18 instead.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import flat
import torch
from relearning import cells, cost, tables, targets
from relearning.methods import METHODS, chosen, seeds
from relearning.published import PUBLISHED
from relearning.tasks import TASKS

from models.errors import DatasetError

_RESULTS = Path(__file__).parent / "results" / "retraining"
_QUICK = ("A-digits", "B")


def main() -> int:
    """Compute what is missing and print one table per task."""
    asked = _arguments()
    torch.set_num_threads(1)
    if asked.cost:
        return _cost(quick=asked.quick, file=asked.json)
    data = Path(os.environ.get("RIGHTLY_DATA", "../shared/data"))
    with tempfile.TemporaryDirectory() as passing:
        folder = Path(passing) if asked.quick else asked.results
        found = {}
        for task in asked.task or (_QUICK if asked.quick else TASKS):
            table = _task(task, asked, folder, data)
            if table:
                found[task] = table
    flat.write(asked.json, found)
    for task, table in found.items():
        title, beside = f"{task}: {TASKS[task].title}", PUBLISHED.get(task, {})
        print(*tables.lines(title, TASKS[task].judged, table, beside), sep="\n")
    return 0 if asked.quick else _promises(targets.judged(found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Every way of learning from explanations.")
    parser.add_argument("--quick", action="store_true", help="small, about two minutes")
    flat.add_argument(parser)
    parser.add_argument("--cost", action="store_true", help="step cost on ResNet-18 only")
    parser.add_argument("--task", action="append", choices=sorted(TASKS), help="repeatable")
    parser.add_argument("--method", action="append", help="repeatable; else all of the task's")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--print", action="store_true", help="compute nothing that is missing")
    parser.add_argument("--results", type=Path, default=_RESULTS)
    return parser.parse_args()


def _promises(found: list[tuple[str, list[str]]]) -> int:
    """Print each promise with the methods that keep it; answer 1 where one is missed."""
    print()
    for promise, kept in found:
        print(f"{promise}: {', '.join(kept) or 'MISSED'}")
    return int(any(not kept for _, kept in found))


def _cost(*, quick: bool, file: Path | None) -> int:
    """Print step costs beside what was promised; answer whether every promise is kept."""
    found = cost.factors(side=64 if quick else 224, batch=8 if quick else 32, rounds=3)
    for name, factor in found.items():
        limit = cost.LIMITS.get(name)
        print(f"{name:20}{factor:6.2f} x ERM{'' if limit is None else f'  (at most {limit})'}")
    flat.write(file, found)
    return int(any(found[name] > limit for name, limit in cost.LIMITS.items()))


def _task(task: str, asked: argparse.Namespace, folder: Path, data: Path) -> list[tables.Row]:
    """Compute a task's missing cells and return its rows."""
    plan = TASKS[task].quick() if asked.quick else TASKS[task]
    wanted = asked.method or chosen(task, plan.methods, main=asked.quick)
    done = []
    # Seed by seed, so that an interrupted run has whole tables of fewer seeds.
    for seed in range(1 if asked.quick else asked.seeds):
        for method in wanted:
            if seed >= seeds(task, method, asked.seeds):
                continue
            path = cells.path_of(folder, task, method, seed)
            cell = cells.load(path)
            if cell is None and not asked.print:
                try:
                    cell = cells.run(plan, task, method, METHODS[method], seed=seed, data=data)
                except DatasetError as missing:
                    print(f"{task} was left out: {missing}", file=sys.stderr)
                    return []
                cells.save(path, cell)
                print(f"{task}: {method}, seed {seed}: {cell.get('seconds')} s", file=sys.stderr)
            if cell is not None:
                done.append(cell)
    return tables.rows(done, plan.judged)


if __name__ == "__main__":
    sys.exit(main())
