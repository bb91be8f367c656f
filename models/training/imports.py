"""Rows from folders, manifests, COCO annotations and Croissant descriptions."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.errors import DatasetError
from models.training import coco, manifests
from models.training.datasets import COLUMNS, MANIFESTS, entries_of, read_folder, read_manifest
from models.training.entries import Entry, inside, split_of
from models.training.left_out import LeftOut


def read_data(data: Path, *, left: LeftOut | None = None) -> list[Entry]:
    """Return the rows of a data set: a folder, a COCO file, or a Croissant description.

    COCO's images lie beside the file, in `images/` beside it or beside its folder, or in a folder
    that is called like the split in the file's name. A folder may hold the COCO file of an export
    instead of a manifest, or one per split. Of a Croissant description the fields count that are
    named as our columns: path, label, region and so on.

    Args:
        data: The folder or file.
        left: Told of what cannot be used; without it, a warning says so.

    Raises:
        DatasetError: If it is none of these, or most of it cannot be used.
    """
    told = LeftOut() if left is None else left
    entries = _read(data, told)
    if left is None:
        told.say()
    return entries


def _read(data: Path, left: LeftOut) -> list[Entry]:
    if not data.is_file():
        files = _coco_files(data)
        if files and not any((data / each).is_file() for each in MANIFESTS):
            return [
                entry
                for file, split in files.items()
                for entry in read_coco(file, split=split, left=left)
            ]
        return read_folder(data, left=left)
    if data.name in MANIFESTS or data.suffix.lower() in {".csv", ".tsv", ".parquet"}:
        return read_manifest(data, left=left)
    content = _json(data)
    if "annotations" in content:
        return read_coco(data, left=left)
    if "recordSet" not in content:
        raise DatasetError(f"{data} is neither a COCO file nor a Croissant description")
    named = {
        str(field.get("name", ""))
        for record_set in content["recordSet"]
        for field in record_set.get("field", [])
    }
    columns = {each: each for each in COLUMNS if each in named}
    return read_croissant(data, columns, left=left)


def _coco_files(folder: Path) -> dict[Path, str]:
    """Return the COCO files of an export, and the split that each is of.

    Roboflow writes `<split>/_annotations.coco.json`, CVAT and COCO itself
    `annotations/instances_<name>.json`, Label Studio `result.json`.
    """
    found = {}
    for path in sorted(folder.glob("*/_annotations.coco.json")):
        found[path] = split_of(path.parent.name)
    for path in sorted(folder.glob("annotations/instances_*.json")):
        found[path] = split_of(path.stem.removeprefix("instances_").rstrip("0123456789"))
    for name in ("_annotations.coco.json", "result.json", "instances.json"):
        if (folder / name).is_file():
            found[folder / name] = ""
    return found


def read_coco(
    annotations: Path,
    images: Path | None = None,
    *,
    split: str = "",
    left: LeftOut | None = None,
) -> list[Entry]:
    """Return one row per image of a COCO instances file.

    The label is the category with the largest annotated area; the region is the union of that
    category's polygons and run lengths (or boxes, where an annotation has neither).

    Args:
        annotations: The JSON file.
        images: Folder that the file names are relative to; None for where they usually lie.
        split: Given to every row.
        left: Told of what cannot be used; without it, a warning says so.

    Raises:
        DatasetError: If the file is no COCO file, or most of its images cannot be used.
    """
    told = LeftOut() if left is None else left
    content = _json(annotations)
    if not {"images", "annotations", "categories"} <= content.keys():
        raise DatasetError(f"{annotations} lacks images, annotations or categories")
    folders = _image_folders(annotations) if images is None else [images]
    since = len(told.items)
    try:
        entries = list(coco.rows_of(content, annotations, folders, split, told))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DatasetError(f"{annotations}: an entry cannot be read: {error}") from error
    given = len(entries) + sum(each.kind == "row" for each in told.items[since:])
    told.refuse_most("row", since=since, given=given, rows=given)
    if not entries:
        raise DatasetError(
            f"{annotations} annotates no image: {told.summary() or 'none is there'}"
        )
    if left is None:
        told.say()
    return entries


def _image_folders(annotations: Path) -> list[Path]:
    """Return where the images of a COCO file may lie, first choice first."""
    beside, above = annotations.parent, annotations.parent.parent
    name = annotations.stem.removeprefix("instances_")
    candidates = [
        beside / "images" / name,
        beside / "images",
        beside / name,
        beside,
        above / "images" / name,
        above / "images",
        above / name,
    ]
    return [each for each in candidates if each.is_dir()]


def read_croissant(
    description: Path, columns: Mapping[str, str], *, left: LeftOut | None = None
) -> list[Entry]:
    """Return the rows of a Croissant JSON-LD description whose files lie beside it.

    Args:
        description: The JSON-LD file; the record set's CSV file is found through it.
        columns: Our column name → Croissant field name, at least for "path" and "label"; also
            "region", "irrelevant", "split", "subject", "group", "source".
        left: Told of what cannot be used; without it, a warning says so.

    Raises:
        DatasetError: If a field or file is missing.
    """
    content = _json(description)
    missing = sorted({"path", "label"} - columns.keys())
    if missing:
        raise DatasetError(f"{description}: no field is named for {' and '.join(missing)}")
    tables = {
        str(_identity(each)): str(each.get("contentUrl", ""))
        for each in content.get("distribution", [])
        if each.get("encodingFormat") == "text/csv"
    }
    fields: dict[str, tuple[str, str]] = {}
    for record_set in content.get("recordSet", []):
        for each in record_set.get("field", []):
            source = each.get("source", {})
            table = _identity(source.get("fileObject", {}))
            column = source.get("extract", {}).get("column")
            if table in tables and column:
                place = (tables[table], str(column))
                fields[str(each.get("name", ""))] = place
                fields[str(each.get("@id", ""))] = place
    for ours, theirs in columns.items():
        if theirs not in fields:
            raise DatasetError(
                f"{description}: field {theirs!r} (for {ours}) is no column of a CSV file"
            )
    told = LeftOut() if left is None else left
    places = {ours: fields[field] for ours, field in columns.items()}
    entries = _croissant_rows(description, places, told)
    if left is None:
        told.say()
    return entries


def _identity(node: Any) -> object:  # noqa: ANN401  # whatever JSON-LD holds
    """Return what a JSON-LD node is called, or refers to: an object's "@id", or plain text."""
    return node.get("@id") if isinstance(node, Mapping) else node


def _croissant_rows(
    description: Path, columns: Mapping[str, tuple[str, str]], left: LeftOut
) -> list[Entry]:
    """Read the CSV file that the columns stand in."""
    tables = {table for table, _ in columns.values()}
    if len(tables) != 1:
        raise DatasetError(f"{description}: the fields stand in {len(tables)} files, not in one")
    table = tables.pop()
    if "://" in table:
        raise DatasetError(f"{description}: {table} is elsewhere; download it beside the file")
    fields = {ours: column for ours, (_, column) in columns.items()}
    path = inside(description.parent, table, description.name)
    given = {each for row in manifests.rows_of(path)[:1] for each in row}
    absent = [each for each in fields.values() if given and each.strip().casefold() not in given]
    if absent:
        raise DatasetError(f"{description}: {table} has no column {min(absent)!r}")
    return entries_of(path, description.parent, fields, left)


def _json(path: Path) -> dict[str, Any]:
    """Return a JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path} holds no JSON object")
    return content
