"""A paper's recipe: a TOML file that names its rows, its published figures and the differences."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from relearning.methods import MASKS, Method

FOLDER = Path(__file__).parents[1] / "recipes"


@dataclass(frozen=True)
class Row:
    """One row of a paper's table.

    Attributes:
        name: What the table calls it.
        published: The paper's figure beside ours; "" where it gives none.
        differs: Why ours differs, or what the row is there for.
        seeds: How many are wanted.
        method: What is trained; the experiment says what else it makes of it.
        settings: Of the experiment, beyond the method.
        known: Name of the row in the retraining benchmark whose cells are shown; "" makes own.
    """

    name: str
    published: str
    differs: str
    seeds: int
    method: Method
    settings: Mapping[str, Any] = field(default_factory=dict)
    known: str = ""


@dataclass(frozen=True)
class Table:
    """One table of a paper: an experiment with its rows.

    Attributes:
        name: Folder of its cells.
        title: What it shows.
        experiment: Name in `relearning.experiments`.
        task: Name in `relearning.tasks`; "" where the experiment makes its own.
        settings: Of the experiment, for all rows.
        figures: Columns: heading → path of the figure in a cell, parts joined by dots.
        lead: What a reader has to know before the figures.
        says: What the figures say, for a reader of the page.
        rows: In the table's order.
    """

    name: str
    title: str
    experiment: str
    task: str
    settings: Mapping[str, Any]
    figures: Mapping[str, str]
    lead: str
    says: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Paper:
    """A paper and how it was tried.

    Attributes:
        name: The recipe file's stem.
        title: Of the paper.
        reference: Authors, year, where.
        claim: What it claims that is tried here.
        tables: The experiments.
    """

    name: str
    title: str
    reference: str
    claim: str
    tables: tuple[Table, ...]


def papers(folder: Path = FOLDER) -> list[Paper]:
    """Return every recipe of a folder, by the order of its file names."""
    return [read(path) for path in sorted(folder.glob("*.toml"))]


def read(path: Path) -> Paper:
    """Read one recipe.

    Raises:
        ValueError: If a row names something that no method has; the message names row and file.
    """
    content = tomllib.loads(path.read_text("utf-8"))
    tables = tuple(_table(each, path) for each in content["table"])
    return Paper(
        path.stem, content["title"], content["reference"], content["claim"].strip(), tables
    )


def _table(content: Mapping[str, Any], path: Path) -> Table:
    rows = tuple(_row(each, path) for each in content["row"])
    return Table(
        name=content["name"],
        title=content["title"],
        experiment=content.get("experiment", "training"),
        task=content.get("task", ""),
        settings=content.get("settings", {}),
        figures=content["figures"],
        lead=content.get("lead", "").strip(),
        says=content.get("says", "").strip(),
        rows=rows,
    )


def _row(content: Mapping[str, Any], path: Path) -> Row:
    values = dict(content)
    name, settings = values.pop("name"), values.pop("settings", {})
    told = {key: values.pop(key, "") for key in ("published", "differs", "known")}
    values.setdefault("objective", "erm")
    seeds = values.pop("seeds", 1)
    values["masks"] = MASKS[values.pop("masks", "true")]
    unknown = sorted(values.keys() - {each.name for each in fields(Method)})
    if unknown:
        raise ValueError(f"{path}: the row {name!r} has {unknown[0]!r}, which no method has")
    return Row(name, **told, seeds=seeds, method=Method(**values), settings=settings)
