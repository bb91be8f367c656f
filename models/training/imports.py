"""Rows from COCO annotations and from Croissant descriptions."""

import csv
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from models.errors import DatasetError
from models.training.datasets import Entry


def read_coco(annotations: Path, images: Path, *, split: str = "") -> list[Entry]:
    """Return one row per image of a COCO instances file.

    The label is the category with the largest annotated area; the region is the union of that
    category's polygons (or boxes, where an annotation has no polygon).

    Args:
        annotations: The JSON file.
        images: Folder that the file names are relative to.
        split: Given to every row.

    Raises:
        DatasetError: If the file is no COCO file, an image is missing, or a mask is run-length
            encoded as a string (uncompressed counts are read).
    """
    content = _json(annotations)
    if not {"images", "annotations", "categories"} <= content.keys():
        raise DatasetError(f"{annotations} lacks images, annotations or categories")
    names = {each["id"]: str(each["name"]) for each in content["categories"]}
    marks: dict[Any, list[Mapping[str, Any]]] = {}
    for mark in content["annotations"]:
        marks.setdefault(mark["image_id"], []).append(mark)
    entries = []
    for image in content["images"]:
        own = marks.get(image["id"], [])
        if not own:
            continue
        areas: dict[Any, float] = {}
        for mark in own:
            areas[mark["category_id"]] = areas.get(mark["category_id"], 0) + float(mark["area"])
        category = max(areas, key=lambda each: areas[each])
        path = images / image["file_name"]
        name = f"{annotations.name}: image {image['id']} ({image['file_name']})"
        if not path.is_file():
            raise DatasetError(f"{name}: the file does not exist")
        chosen = [mark for mark in own if mark["category_id"] == category]
        region = partial(_union, chosen, (image["height"], image["width"]), name)
        entries.append(Entry(name, path, names[category], region=region, split=split))
    if not entries:
        raise DatasetError(f"{annotations} annotates no image")
    return entries


def read_croissant(description: Path, columns: Mapping[str, str]) -> list[Entry]:
    """Return the rows of a Croissant JSON-LD description whose files lie beside it.

    Args:
        description: The JSON-LD file; the record set's CSV file is found through it.
        columns: Our column name → Croissant field name, at least for "path" and "label"; also
            "region", "irrelevant", "split", "subject", "group".

    Raises:
        DatasetError: If a field or file is missing.
    """
    content = _json(description)
    tables = {
        each["@id"]: str(each["contentUrl"])
        for each in content.get("distribution", [])
        if each.get("encodingFormat") == "text/csv"
    }
    fields: dict[str, tuple[str, str]] = {}
    for record_set in content.get("recordSet", []):
        for each in record_set.get("field", []):
            source = each.get("source", {})
            table = source.get("fileObject", {}).get("@id")
            column = source.get("extract", {}).get("column")
            if table in tables and column:
                fields[str(each["name"])] = (tables[table], str(column))
    for ours, theirs in columns.items():
        if theirs not in fields:
            raise DatasetError(
                f"{description}: field {theirs!r} (for {ours}) is no column of a CSV file"
            )
    return _croissant_rows(description, {ours: fields[field] for ours, field in columns.items()})


def _croissant_rows(description: Path, columns: Mapping[str, tuple[str, str]]) -> list[Entry]:
    """Read the CSV file that the columns stand in."""
    tables = {table for table, _ in columns.values()}
    if len(tables) != 1:
        raise DatasetError(f"{description}: the fields stand in {len(tables)} files, not in one")
    folder, table = description.parent, tables.pop()
    if not (folder / table).is_file():
        raise DatasetError(f"{description}: {table} does not lie beside it")
    entries = []
    with (folder / table).open(newline="", encoding="utf-8-sig") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            value = {ours: row.get(column) or "" for ours, (_, column) in columns.items()}
            name = f"{table}:{number} ({value['path']})"
            paths = {
                kind: folder / value[kind]
                for kind in ("path", "region", "irrelevant")
                if value.get(kind)
            }
            for path in paths.values():
                if not path.is_file():
                    raise DatasetError(f"{name}: {path.name} does not exist")
            entries.append(
                Entry(
                    name=name,
                    path=paths["path"],
                    label=value["label"],
                    region=paths.get("region"),
                    irrelevant=paths.get("irrelevant"),
                    split=value.get("split", ""),
                    subject=value.get("subject", ""),
                    group=value.get("group", ""),
                )
            )
    return entries


def _union(
    marks: Sequence[Mapping[str, Any]], drawn: tuple[int, int], name: str, height: int, width: int
) -> NDArray[np.bool_]:
    """Draw the union of annotations made at size `drawn`, at the image's true size."""
    plate = Image.new("1", (drawn[1], drawn[0]))
    pen = ImageDraw.Draw(plate)
    union = np.zeros(drawn, bool)
    for mark in marks:
        shape = mark.get("segmentation")
        if isinstance(shape, list) and shape:
            for polygon in shape:
                pen.polygon([float(each) for each in polygon], fill=1)
        elif isinstance(shape, dict):
            union |= _runs(shape, name)
        else:
            left, top, wide, high = (float(each) for each in mark["bbox"])
            pen.rectangle((left, top, left + wide - 1, top + high - 1), fill=1)
    union |= np.asarray(plate)
    resized = Image.fromarray(union).resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(resized)


def _runs(shape: Mapping[str, Any], name: str) -> NDArray[np.bool_]:
    """Decode COCO's uncompressed run lengths: columns first, zeros first."""
    counts = shape.get("counts")
    if not isinstance(counts, list):
        raise DatasetError(f"{name}: compressed run lengths are not read; store them as a list")
    values = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    height, width = shape["size"]
    if values.size != height * width:
        raise DatasetError(
            f"{name}: the run lengths cover {values.size} pixels of {height * width}"
        )
    return values.reshape(width, height).T


def _json(path: Path) -> dict[str, Any]:
    """Return a JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path} holds no JSON object")
    return content
