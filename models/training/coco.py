"""Rows from COCO annotations, as Label Studio, CVAT, Roboflow, pycocotools and others write them.

An annotation without a usable shape keeps its label: its box counts as the shape, or none does.
What cannot be used at all is left out, counted and named.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from models.errors import DatasetError
from models.pictures.decoding import Limits, stored_orientation, turned
from models.training.entries import Entry, inside
from models.training.left_out import LeftOut
from models.training.run_lengths import mask_of

_TRIANGLE = 6  # numbers: three corners
_CORNERS = 4  # of a box: left, top, width, height
_UNUSABLE = (KeyError, TypeError, ValueError, IndexError, OverflowError)


@dataclass(frozen=True, slots=True)
class Drawn:
    """The union of some annotations of an image, drawn when it is wanted.

    Attributes:
        polygons: Corners as x, y, x, y, … in pixels.
        boxes: Left, top, width and height.
        runs: Run lengths.
        size: (height, width) that the annotations were made at; None for the image's own.
        path: The image's file, which says how its rows are turned.
    """

    polygons: tuple[tuple[float, ...], ...]
    boxes: tuple[tuple[float, ...], ...]
    runs: tuple[Mapping[str, Any], ...]
    size: tuple[int, int] | None
    path: Path

    def __call__(self, height: int, width: int) -> NDArray[np.bool_]:
        """Return the union on the upright view of the image, bool [height, width].

        Most tools draw on the upright view. One that ignores EXIF draws on the stored rows, and
        its file says so: it has the sides the other way round.
        """
        drawn = self.size or (height, width)
        union = self._union(drawn)
        if drawn[0] != drawn[1] and abs(drawn[0] * width - drawn[1] * height) > abs(
            drawn[0] * height - drawn[1] * width
        ):
            union = turned(union, stored_orientation(self.path.read_bytes(), Limits()))
        grey = Image.fromarray(union.astype(np.uint8))
        return np.asarray(grey.resize((width, height), Image.Resampling.NEAREST)) > 0

    def _union(self, drawn: tuple[int, int]) -> NDArray[np.bool_]:
        plate = Image.new("1", (drawn[1], drawn[0]))
        pen = ImageDraw.Draw(plate)
        for corners in self.polygons:
            pen.polygon(corners, fill=1)
        for left, top, wide, high in self.boxes:
            pen.rectangle((left, top, left + max(wide, 1) - 1, top + max(high, 1) - 1), fill=1)
        union: NDArray[np.bool_] = np.asarray(plate).copy()
        for each in self.runs:
            union |= mask_of(each, drawn[0] * drawn[1])
        return union


def rows_of(
    content: Mapping[str, Any],
    annotations: Path,
    folders: Sequence[Path],
    split: str,
    left: LeftOut,
) -> Iterator[Entry]:
    """Yield one row per annotated image; crowds tell nothing of a single object.

    Args:
        content: What the file holds.
        annotations: The file.
        folders: Where its images may lie, first choice first.
        split: Given to every row.
        left: Told of what cannot be used.
    """
    where = annotations.name
    names = _named(content["categories"], where, left)
    marks = _by_image(content["annotations"], names, where, left)
    for number, image in enumerate(content["images"]):
        try:
            identity, file = image["id"], str(image["file_name"])
        except (KeyError, TypeError) as error:
            left.note("row", f"{where}: image {number}", f"an entry has no {_lack(error)}")
            continue
        own = marks.pop(identity, [])
        if not own:
            continue
        name = f"{where}: image {identity} ({file})"
        areas: dict[Any, float] = {}
        for mark in own:
            areas[mark["category_id"]] = areas.get(mark["category_id"], 0.0) + _area(mark)
        category = max(areas, key=lambda each: areas[each])
        try:
            path = _found(file, folders, name)
        except DatasetError as error:
            left.note("row", name, str(error).removeprefix(f"{name}: "))
            continue
        chosen = [mark for mark in own if mark["category_id"] == category]
        region = _region(chosen, _size(image), path, (name, left))
        yield Entry(name, path, names[category], region=region, split=split)
    for identity, own in marks.items():
        for mark in own:
            left.note(
                "annotation",
                f"{where}: annotation {mark.get('id', '?')}",
                f"image {identity} is annotated, but not listed",
            )


def _named(categories: Any, where: str, left: LeftOut) -> dict[Any, str]:  # noqa: ANN401 - JSON
    names: dict[Any, str] = {}
    for each in categories:
        try:
            names[each["id"]] = str(each["name"]).strip()
        except (KeyError, TypeError) as error:
            left.note("annotation", f"{where}: a category", f"an entry has no {_lack(error)}")
    return names


def _by_image(
    annotations: Any,  # noqa: ANN401 - JSON
    names: Mapping[Any, str],
    where: str,
    left: LeftOut,
) -> dict[Any, list[Mapping[str, Any]]]:
    marks: dict[Any, list[Mapping[str, Any]]] = {}
    for number, mark in enumerate(annotations):
        identity = mark.get("id", number) if isinstance(mark, Mapping) else number
        name = f"{where}: annotation {identity}"
        try:
            image, category = mark["image_id"], mark["category_id"]
        except (KeyError, TypeError) as error:
            left.note("annotation", name, f"an entry has no {_lack(error)}")
            continue
        if category not in names:
            left.note("annotation", name, f"is of category {category}, which is not listed")
        elif mark.get("iscrowd"):
            left.note("annotation", name, "is of a crowd, which tells nothing of a single object")
        else:
            marks.setdefault(image, []).append(mark)
    return marks


def _lack(error: Exception) -> str:
    return repr(error.args[0]) if isinstance(error, KeyError) else "fields"


def _area(mark: Mapping[str, Any]) -> float:
    """Return an annotation's area; that of its box where none is given, else 0."""
    try:
        return float(mark["area"])
    except _UNUSABLE:
        box = _box(mark)
        return box[2] * box[3] if box else 0.0


def _size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    try:
        height, width = int(image["height"]), int(image["width"])
    except _UNUSABLE:
        return None
    return (height, width) if height > 0 and width > 0 else None


def _found(file: str, folders: Sequence[Path], name: str) -> Path:
    """Return an image's file: as it is named, or by its last part in the same folders."""
    first: DatasetError | None = None
    last = file.replace("\\", "/").rpartition("/")[2]
    for spelling in dict.fromkeys((file, last)):
        for folder in folders:
            try:
                return inside(folder, spelling, name)
            except DatasetError as error:
                first = first or error
    raise first or DatasetError(f"{name}: {file} does not exist")


def _region(
    marks: Sequence[Mapping[str, Any]],
    size: tuple[int, int] | None,
    path: Path,
    told: tuple[str, LeftOut],
) -> Drawn | None:
    """Return what the marks of one category draw; None where they draw nothing."""
    polygons: list[tuple[float, ...]] = []
    boxes: list[tuple[float, ...]] = []
    runs: list[Mapping[str, Any]] = []
    name, left = told
    for mark in marks:
        shape, faults = mark.get("segmentation"), ""
        count = len(polygons) + len(runs)
        if isinstance(shape, Mapping):
            faults = _run_fault(shape, size)
            runs += [] if faults else [shape]
        elif isinstance(shape, list):
            flat = bool(shape) and not isinstance(shape[0], list | dict)
            for polygon in [shape] if flat else shape:
                corners, fault = _polygon(polygon)
                polygons += [corners] if corners else []
                faults = faults or fault
        if len(polygons) + len(runs) == count:
            box = _box(mark)
            boxes += [box] if box else []
            faults = faults or ("" if box else "has neither a shape nor a box with an area")
        if faults:
            left.note("annotation", f"{name}, annotation {mark.get('id', '?')}", faults)
    if not (polygons or boxes or runs):
        return None
    return Drawn(tuple(polygons), tuple(boxes), tuple(runs), size, path)


def _polygon(corners: Any) -> tuple[tuple[float, ...], str]:  # noqa: ANN401 - JSON
    """Return a polygon's numbers, or nothing and why."""
    try:
        numbers = tuple(float(each) for each in corners)
    except (TypeError, ValueError):
        return (), "has a polygon that is not made of numbers"
    if len(numbers) < _TRIANGLE or len(numbers) % 2 or not all(map(math.isfinite, numbers)):
        return (), f"has a polygon of {len(numbers)} numbers, which is none"
    return numbers, ""


def _box(mark: Mapping[str, Any]) -> tuple[float, ...]:
    """Return an annotation's box; nothing where it has none with an area."""
    try:
        numbers = tuple(float(each) for each in mark["bbox"])
    except _UNUSABLE:
        return ()
    usable = len(numbers) == _CORNERS and all(map(math.isfinite, numbers))
    return numbers if usable and numbers[2] > 0 and numbers[3] > 0 else ()


def _run_fault(shape: Mapping[str, Any], size: tuple[int, int] | None) -> str:
    """Say why run lengths cannot be used; "" where they can."""
    try:
        mask = mask_of(shape, Limits().max_pixels)
    except _UNUSABLE as error:
        return f"has run lengths that cannot be read: {error}"
    if size is not None and mask.shape != size:
        return (
            f"has run lengths of {mask.shape[0]} × {mask.shape[1]} pixels, the image is "
            f"{size[0]} × {size[1]}"
        )
    return ""
