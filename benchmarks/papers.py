"""The papers that Rightly makes usable, tried: published figures beside ours, and why they differ.

    python benchmarks/papers.py [--paper tea] [--table D3] [--row NAME …] [--seed 0] [--list]
    python benchmarks/papers.py --page docs/papers.md

Each paper has a recipe, benchmarks/recipes/*.toml. A cell (row × seed) is a small file below
benchmarks/results/papers and never computed twice, so an interrupted run goes on where it ended.
`--page` computes nothing, and writes the page that docs/papers.md is from the cells that exist;
what was not run is marked there. `--device cuda` trains on a GPU.
"""

import argparse
import os
import sys
from pathlib import Path

import torch
from relearning import cells, experiments, paper_page, recipes

_RESULTS = Path(__file__).parent / "results" / "papers"


def main() -> int:
    """Compute what is asked for and missing, or write the page."""
    asked = _arguments()
    torch.set_num_threads(1)
    papers = recipes.papers(asked.recipes)
    if asked.page:
        asked.page.write_text(paper_page.text(papers, asked.results), "utf-8")
        return 0
    data = Path(os.environ.get("RIGHTLY_DATA", "../shared/data"))
    for paper in papers:
        for table in paper.tables:
            if asked.paper in {None, paper.name} and asked.table in {None, table.name}:
                _compute(paper, table, asked, data)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The papers, tried.")
    parser.add_argument("--paper", help="a recipe's name; else all of them")
    parser.add_argument("--table", help="a table's name; else all of them")
    parser.add_argument("--row", action="append", help="repeatable; else all of a table's")
    parser.add_argument("--seed", action="append", type=int, help="repeatable; else the row's")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--list", action="store_true", help="say what is missing, compute nothing")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the page")
    parser.add_argument("--recipes", type=Path, default=recipes.FOLDER)
    parser.add_argument("--results", type=Path, default=_RESULTS)
    return parser.parse_args()


def _compute(
    paper: recipes.Paper, table: recipes.Table, asked: argparse.Namespace, data: Path
) -> None:
    """Compute a table's missing cells, seed by seed."""
    make = experiments.EXPERIMENTS[table.experiment]
    for seed in asked.seed or range(max(row.seeds for row in table.rows)):
        wanted = [
            row
            for row in table.rows
            if not row.known
            and row.name in (asked.row or [row.name])
            and (asked.seed or seed < row.seeds)
            and cells.load(paper_page.cell_of(asked.results, paper, table, row, seed)) is None
        ]
        if asked.list or not wanted:
            print(*(f"{paper.name}, {table.name}: {row.name}, seed {seed}" for row in wanted),
                  sep="\n", end="\n" if wanted else "")  # fmt: skip
            continue
        for row, cell in make(table, wanted, seed, data, asked.device):
            cells.save(paper_page.cell_of(asked.results, paper, table, row, seed), cell)
            print(f"{paper.name}, {table.name}: {row.name}, seed {seed}: {cell.get('seconds')} s",
                  file=sys.stderr, flush=True)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
