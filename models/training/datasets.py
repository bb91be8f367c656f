"""Data sets on disk: a folder with a manifest, or an ImageFolder with a parallel regions/ tree.

A manifest is `manifest.csv` (or `manifest.parquet`, for installations with the extra `parquet`)
with the columns `path` and `label`, and where known `region`, `irrelevant`, `split`, `subject`,
`group`, `source`. A region is an image of any size whose non-zero pixels are where evidence is
expected. Every refusal names the row and the reason.
"""

import csv
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.errors import DatasetError, ImageError
from models.pictures import regions
from models.pictures.decoding import Array, Limits, decode_image
from models.pictures.regions import decode_mask
from models.preprocessing import prepare, prepare_region
from models.training.image_sets import ImageSet, refuse_leakage, split
from models.types import Preprocessing

LOG = logging.getLogger("rightly.data")
SPLITS = ("train", "val", "test")
_COLUMNS = ("region", "irrelevant", "split", "subject", "group", "source")
COLUMNS = ("path", "label", *_COLUMNS)
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".avif", ".dcm"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a data set before its pixels are read; "" means not known.

    Attributes:
        name: What a message calls the row, for example "manifest.csv:17 (images/a.png)".
        path: The image's file.
        label: Class label.
        region: File of the relevant mask, or a function that draws it at a given size.
        irrelevant: File of the irrelevant mask.
        split: "train", "val", "test" or "".
        subject: Whom the image shows.
        group: Subpopulation.
        source: Where the image comes from: a note for people, which goes no further than here.
    """

    name: str
    path: Path
    label: str
    region: Path | Callable[[int, int], NDArray[np.bool_]] | None = None
    irrelevant: Path | None = None
    split: str = ""
    subject: str = ""
    group: str = ""
    source: str = ""


def read_folder(folder: Path) -> list[Entry]:
    """Return the rows of a folder: its manifest, or one subfolder per class.

    An ImageFolder is `<class>/…` or `<split>/<class>/…`; masks lie under `regions/` and
    `irrelevant/` at the same relative path, with the suffix .png or the image's own.

    Raises:
        DatasetError: If the folder is neither.
    """
    for name in ("manifest.csv", "manifest.parquet"):
        if (folder / name).is_file():
            return read_manifest(folder / name)
    entries = _image_folder(folder)
    if not entries:
        raise DatasetError(
            f"{folder} holds neither manifest.csv, manifest.parquet nor a folder per class"
        )
    return entries


def read_manifest(manifest: Path) -> list[Entry]:
    """Return the rows of a manifest; paths are relative to it.

    Raises:
        DatasetError: Naming the row and what is wrong with it.
    """
    entries = []
    for number, row in enumerate(_rows(manifest), start=2):
        name = f"{manifest.name}:{number} ({row.get('path') or 'no path'})"
        for column in ("path", "label"):
            if not row.get(column):
                raise DatasetError(f"{name}: column {column!r} is empty or missing")
        known = {column: row.get(column) or "" for column in _COLUMNS}
        if known["split"] and known["split"] not in SPLITS:
            raise DatasetError(f"{name}: split {known['split']!r} is none of {', '.join(SPLITS)}")
        entries.append(
            Entry(
                name=name,
                path=inside(manifest.parent, row["path"], name),
                label=row["label"],
                region=_optional(manifest.parent, known["region"], name),
                irrelevant=_optional(manifest.parent, known["irrelevant"], name),
                split=known["split"],
                subject=known["subject"],
                group=known["group"],
                source=known["source"],
            )
        )
    if not entries:
        raise DatasetError(f"{manifest} has no rows")
    return entries


def load(
    entries: Sequence[Entry],
    preprocessing: Preprocessing,
    classes: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
) -> ImageSet:
    """Read the pixels and masks of rows, prepared as a classifier will see them.

    A mask that tells nothing at that size, as a region of which no pixel is left, does not count:
    the row is as if it had none, and a warning says how many are.

    Args:
        entries: The rows.
        preprocessing: Size and fit; masks go through the same geometry.
        classes: Class labels in the order wanted; None sorts those found.
        groups: Group names in the order wanted, for rows that name theirs; None sorts those found.

    Raises:
        DatasetError: Naming the row and what is wrong with it.
    """
    order = tuple(sorted({each.label for each in entries})) if classes is None else tuple(classes)
    found = {each.group for each in entries if each.group}
    kinds = tuple(sorted(found) if groups is None or not found else groups)
    size = (len(entries), preprocessing.height, preprocessing.width)
    images = np.zeros((*size, 3), np.uint8)
    masks = {"region": np.zeros(size, bool), "irrelevant": np.zeros(size, bool)}
    given = {"region": np.zeros(len(entries), bool), "irrelevant": np.zeros(len(entries), bool)}
    vanished = []
    for row, entry in enumerate(entries):
        if entry.label not in order:
            raise DatasetError(f"{entry.name}: label {entry.label!r} is none of {list(order)}")
        raw = _image(entry)
        try:
            images[row] = prepare(raw, preprocessing)
        except ImageError as error:
            raise DatasetError(f"{entry.name}: {error}") from error
        for kind, plane in masks.items():
            mask = _mask(entry, kind, raw.shape[:2])
            if mask is None:
                continue
            fitted = prepare_region(mask, preprocessing)
            if _tells(kind, mask, fitted):
                plane[row], given[kind][row] = fitted, True
            else:
                vanished.append(f"{kind} of {entry.name}")
    _warn(vanished, preprocessing)
    # A row with one kind of mask gets the other as its complement.
    only_region = given["region"] & ~given["irrelevant"]
    only_irrelevant = given["irrelevant"] & ~given["region"]
    masks["irrelevant"][only_region] = ~masks["region"][only_region]
    masks["region"][only_irrelevant] = ~masks["irrelevant"][only_irrelevant]
    annotated = given["region"] | given["irrelevant"]
    return ImageSet(
        images=images,
        labels=np.array([order.index(each.label) for each in entries], np.int64),
        classes=order,
        ids=tuple(each.name for each in entries),
        relevant=masks["region"] if given["region"].any() else None,
        irrelevant=masks["irrelevant"] if given["irrelevant"].any() else None,
        annotated=annotated,
        groups=_group_indices(entries, kinds),
        group_names=kinds,
        subjects=tuple(each.subject for each in entries),
    )


def load_splits(
    entries: Sequence[Entry],
    preprocessing: Preprocessing,
    *,
    seed: int = 0,
    classes: Sequence[str] | None = None,
) -> dict[str, ImageSet]:
    """Read rows by split; rows without one are divided 80/10/10 by subject and class.

    Args:
        entries: The rows.
        preprocessing: As for `load`.
        seed: Fixes the division of rows without a split.
        classes: Class labels in the order wanted, which does not change the division; None sorts
            those found.

    Returns:
        One set for each of "train", "val" and "test" that has rows; same classes and groups in
        all.

    Raises:
        DatasetError: If splits share a subject or an image, or one has no rows to learn from.
    """
    unnamed = [each for each in entries if not each.split]
    if unnamed and len(unnamed) != len(entries):
        raise DatasetError(f"{unnamed[0].name}: the split is missing, other rows name theirs")
    classes = sorted({each.label for each in entries}) if classes is None else classes
    if unnamed:
        whole = load(entries, preprocessing, classes)
        made = split(whole, {"train": 0.8, "val": 0.1, "test": 0.1}, seed=seed)
    else:
        named = {name: [each for each in entries if each.split == name] for name in SPLITS}
        groups = sorted({each.group for each in entries if each.group})
        made = {
            name: load(rows, preprocessing, classes, groups)
            for name, rows in named.items()
            if rows
        }
    if "train" not in made:
        raise DatasetError("no row is in the split 'train'")
    refuse_leakage(made)
    return made


def division_seed(recipe: Mapping[str, object]) -> int:
    """Return the seed that divided a data set without splits, by the recipe in a version's card.

    A retraining keeps the seed of the training that first divided it, whatever its own is.
    """
    nested = recipe.get("training")
    own = nested if isinstance(nested, Mapping) else recipe
    return int(str(recipe.get("base_seed", own.get("seed", 0))))


def _rows(manifest: Path) -> list[Mapping[str, str]]:
    """Return a manifest's rows as text; a cell without a value is ""."""
    if manifest.suffix == ".parquet":
        return [
            {key: "" if _missing(value) else str(value) for key, value in row}
            for row in _parquet(manifest)
        ]
    with manifest.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def _parquet(manifest: Path) -> list[Iterable[tuple[str, object]]]:
    """Return the rows of a Parquet file, each as pairs of column and value."""
    try:
        from pyarrow import ArrowException, parquet  # noqa: PLC0415  # optional, wanted here only
    except ImportError as error:
        raise DatasetError(
            f"{manifest}: Parquet needs the extra: pip install 'rightly[parquet]'"
        ) from error
    try:
        return [row.items() for row in parquet.read_table(manifest).to_pylist()]
    except (ArrowException, OSError) as error:
        raise DatasetError(f"{manifest} cannot be read as Parquet: {error}") from error


def _missing(value: object) -> bool:
    """Whether a cell has no value: null, or the NaN that pandas writes for one."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def inside(folder: Path, relative: str, name: str) -> Path:
    """Return a file of the folder; a path that leaves it is refused."""
    path = (folder / relative).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise DatasetError(f"{name}: {relative} lies outside the data set")
    if not path.is_file():
        raise DatasetError(f"{name}: {relative} does not exist")
    return path


def _optional(folder: Path, relative: str, name: str) -> Path | None:
    return inside(folder, relative, name) if relative else None


def _image_folder(folder: Path) -> list[Entry]:
    """Return the rows of `<class>/…` or `<split>/<class>/…`."""
    tops = [folder / each for each in SPLITS if (folder / each).is_dir()]
    entries = []
    for top in tops or [folder]:
        kinds = sorted(each for each in top.iterdir() if each.is_dir()) if top.is_dir() else []
        for kind in kinds:
            if kind.name in {"regions", "irrelevant"}:
                continue
            for path in sorted(kind.rglob("*")):
                if path.suffix.lower() not in _SUFFIXES:
                    continue
                relative = path.relative_to(folder)
                entries.append(
                    Entry(
                        name=str(relative),
                        path=path,
                        label=kind.name,
                        region=_parallel(folder / "regions" / relative),
                        irrelevant=_parallel(folder / "irrelevant" / relative),
                        split=top.name if tops else "",
                    )
                )
    return entries


def _parallel(path: Path) -> Path | None:
    """Return the mask at a path, with its own suffix or .png."""
    return next((each for each in (path, path.with_suffix(".png")) if each.is_file()), None)


def _image(entry: Entry, limits: Limits = Limits()) -> NDArray[np.uint8]:  # noqa: B008 - frozen
    """Return an image's pixels as RGB, as a server would read the same file."""
    return _read(entry, entry.path, lambda content: decode_image(content, limits))


def _mask(entry: Entry, kind: str, size: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Return a row's mask at its image's size, or None."""
    given = entry.region if kind == "region" else entry.irrelevant
    if given is None:
        return None
    if callable(given):
        return given(*size)
    mask = _read(entry, given, lambda content: decode_mask(content, Limits()))
    if kind == "region":
        if told := regions.fault(mask):
            raise DatasetError(f"{entry.name}: region {given.name} {told}")
    elif mask.all():
        raise DatasetError(
            f"{entry.name}: irrelevant {given.name} marks every pixel, so nothing could matter"
        )
    if mask.shape != size:
        height, width = mask.shape
        if abs(width * size[0] - height * size[1]) > max(size) * max(mask.shape) * 0.02:
            raise DatasetError(
                f"{entry.name}: mask {given.name} is {mask.shape[::-1]}, the image {size[::-1]}: "
                f"the sides have another ratio"
            )
        grey = Image.fromarray(mask.astype(np.uint8))
        mask = np.asarray(grey.resize(size[::-1], Image.Resampling.NEAREST)) > 0
    return mask


def _read(entry: Entry, path: Path, decode: Callable[[bytes], Array]) -> Array:
    """Return what a file of a row holds; whatever is wrong with it names the row."""
    try:
        return decode(path.read_bytes())
    except (OSError, ImageError) as error:
        raise DatasetError(f"{entry.name}: {path.name} cannot be read: {error}") from error


def _tells(kind: str, mask: NDArray[np.bool_], fitted: NDArray[np.bool_]) -> bool:
    """Whether a mask says something at the classifier's size; "nothing is irrelevant" does."""
    if kind == "region":
        return bool(fitted.any())
    return bool((fitted.any() or not mask.any()) and not fitted.all())


def _warn(vanished: Sequence[str], preprocessing: Preprocessing) -> None:
    """Say which masks are too small for the classifier's input."""
    if vanished:
        LOG.warning(
            "masks that tell nothing any more at %d × %d pixels, first the %s: %d; "
            "their rows count as without them",
            preprocessing.height,
            preprocessing.width,
            vanished[0],
            len(vanished),
        )


def _group_indices(entries: Sequence[Entry], groups: tuple[str, ...]) -> NDArray[np.int64] | None:
    """Return each row's group, None where no row names one."""
    if not groups:
        return None
    missing = next((each for each in entries if not each.group), None)
    if missing is not None:
        raise DatasetError(f"{missing.name}: the group is missing, other rows name theirs")
    return np.array([groups.index(each.group) for each in entries], np.int64)
