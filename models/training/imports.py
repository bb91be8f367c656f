"""Rows from COCO annotations and from Croissant descriptions."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from models.errors import DatasetError
from models.pictures.decoding import Limits, stored_orientation, turned
from models.training.datasets import COLUMNS, SPLITS, Entry, inside, read_folder

_TRIANGLE = 6  # numbers: three corners


def read_data(data: Path) -> list[Entry]:
    """Return the rows of a data set: a folder, a COCO file, or a Croissant description.

    COCO's images lie beside the file or in `images/` beside it. Of a Croissant description the
    fields count that are named as our columns: path, label, region and so on.

    Raises:
        DatasetError: If it is none of these.
    """
    if not data.is_file():
        return read_folder(data)
    content = _json(data)
    if "annotations" in content:
        beside = data.parent / "images"
        return read_coco(data, beside if beside.is_dir() else data.parent)
    if "recordSet" not in content:
        raise DatasetError(f"{data} is neither a COCO file nor a Croissant description")
    named = {
        str(field.get("name", ""))
        for record_set in content["recordSet"]
        for field in record_set.get("field", [])
    }
    columns = {each: each for each in COLUMNS if each in named}
    return read_croissant(data, columns)


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
    try:
        entries = list(_coco_rows(content, annotations.name, images, split))
    except KeyError as error:
        raise DatasetError(f"{annotations}: an entry has no {error.args[0]!r}") from error
    except (TypeError, ValueError, IndexError) as error:
        raise DatasetError(f"{annotations}: an entry cannot be read: {error}") from error
    if not entries:
        raise DatasetError(f"{annotations} annotates no image")
    return entries


def _coco_rows(
    content: Mapping[str, Any], where: str, images: Path, split: str
) -> Iterator[Entry]:
    """Yield one row per annotated image; crowds tell nothing of a single object."""
    names = {each["id"]: str(each["name"]) for each in content["categories"]}
    marks: dict[Any, list[Mapping[str, Any]]] = {}
    for mark in content["annotations"]:
        if mark["category_id"] not in names:
            raise DatasetError(
                f"{where}: annotation {mark.get('id', '?')} is of category "
                f"{mark['category_id']}, which is not listed"
            )
        if not mark.get("iscrowd"):
            marks.setdefault(mark["image_id"], []).append(mark)
    for image in content["images"]:
        own = marks.pop(image["id"], [])
        if not own:
            continue
        areas: dict[Any, float] = {}
        for mark in own:
            areas[mark["category_id"]] = areas.get(mark["category_id"], 0) + _area(mark)
        category = max(areas, key=lambda each: areas[each])
        name = f"{where}: image {image['id']} ({image['file_name']})"
        path = inside(images, str(image["file_name"]), name)
        chosen = [mark for mark in own if mark["category_id"] == category]
        drawn = (int(image["height"]), int(image["width"]))
        region = partial(_region, chosen, drawn, path=path, name=name)
        yield Entry(name, path, names[category], region=region, split=split)
    if marks:
        raise DatasetError(f"{where}: image {next(iter(marks))} is annotated, but not listed")


def _area(mark: Mapping[str, Any]) -> float:
    """Return an annotation's area; that of its box where none is given."""
    if "area" in mark:
        return float(mark["area"])
    return float(mark["bbox"][2]) * float(mark["bbox"][3])


def read_croissant(description: Path, columns: Mapping[str, str]) -> list[Entry]:
    """Return the rows of a Croissant JSON-LD description whose files lie beside it.

    Args:
        description: The JSON-LD file; the record set's CSV file is found through it.
        columns: Our column name → Croissant field name, at least for "path" and "label"; also
            "region", "irrelevant", "split", "subject", "group", "source".

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
    return _croissant_rows(description, {ours: fields[field] for ours, field in columns.items()})


def _identity(node: Any) -> object:  # noqa: ANN401  # whatever JSON-LD holds
    """Return what a JSON-LD node is called, or refers to: an object's "@id", or plain text."""
    return node.get("@id") if isinstance(node, Mapping) else node


def _croissant_rows(description: Path, columns: Mapping[str, tuple[str, str]]) -> list[Entry]:
    """Read the CSV file that the columns stand in."""
    tables = {table for table, _ in columns.values()}
    if len(tables) != 1:
        raise DatasetError(f"{description}: the fields stand in {len(tables)} files, not in one")
    folder, table = description.parent, tables.pop()
    if "://" in table:
        raise DatasetError(f"{description}: {table} is elsewhere; download it beside the file")
    entries = []
    with inside(folder, table, description.name).open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        absent = {column for _, column in columns.values()} - set(reader.fieldnames or ())
        if absent:
            raise DatasetError(f"{description}: {table} has no column {min(absent)!r}")
        for number, row in enumerate(reader, start=2):
            value = {ours: row.get(column) or "" for ours, (_, column) in columns.items()}
            name = f"{table}:{number} ({value.get('path') or 'no path'})"
            for column in ("path", "label"):
                if not value.get(column):
                    raise DatasetError(f"{name}: {columns[column][1]!r} is empty")
            if value.get("split") and value["split"] not in SPLITS:
                raise DatasetError(
                    f"{name}: split {value['split']!r} is none of {', '.join(SPLITS)}"
                )
            paths = {
                kind: inside(folder, value[kind], name)
                for kind in ("path", "region", "irrelevant")
                if value.get(kind)
            }
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
                    source=value.get("source", ""),
                )
            )
    if not entries:
        raise DatasetError(f"{description}: {table} has no rows")
    return entries


def _region(
    marks: Sequence[Mapping[str, Any]],
    drawn: tuple[int, int],
    height: int,
    width: int,
    *,
    path: Path,
    name: str,
) -> NDArray[np.bool_]:
    """Return the union of annotations on the upright view of their image.

    Most tools draw on the upright view. One that ignores EXIF draws on the stored rows, and its
    file says so: it has the sides the other way round.
    """
    union = _union(marks, drawn, name)
    if drawn[0] != drawn[1] and abs(drawn[0] * width - drawn[1] * height) > abs(
        drawn[0] * height - drawn[1] * width
    ):
        union = turned(union, stored_orientation(path.read_bytes(), Limits()))
    grey = Image.fromarray(union.astype(np.uint8))
    return np.asarray(grey.resize((width, height), Image.Resampling.NEAREST)) > 0


def _union(
    marks: Sequence[Mapping[str, Any]], drawn: tuple[int, int], name: str
) -> NDArray[np.bool_]:
    """Draw the union of annotations at the size `drawn` that they were made at."""
    plate = Image.new("1", (drawn[1], drawn[0]))
    pen = ImageDraw.Draw(plate)
    union = np.zeros(drawn, bool)
    for mark in marks:
        shape = mark.get("segmentation")
        if isinstance(shape, list) and shape:
            for polygon in shape:
                corners = [float(each) for each in polygon]
                if len(corners) < _TRIANGLE or len(corners) % 2:
                    raise DatasetError(f"{name}: {len(corners)} numbers are no polygon")
                pen.polygon(corners, fill=1)
        elif isinstance(shape, dict):
            union |= _runs(shape, drawn, name)
        else:
            left, top, wide, high = (float(each) for each in mark["bbox"])
            pen.rectangle((left, top, left + wide - 1, top + high - 1), fill=1)
    union |= np.asarray(plate)
    return union


def _runs(shape: Mapping[str, Any], drawn: tuple[int, int], name: str) -> NDArray[np.bool_]:
    """Decode COCO's uncompressed run lengths: columns first, zeros first."""
    counts = shape.get("counts")
    if not isinstance(counts, list):
        raise DatasetError(f"{name}: compressed run lengths are not read; store them as a list")
    values = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    height, width = shape["size"]
    if (height, width) != drawn:
        raise DatasetError(
            f"{name}: the run lengths are of {height} × {width} pixels, the image is {drawn[0]} "
            f"× {drawn[1]}"
        )
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
