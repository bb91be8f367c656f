"""Data sets on disk: a folder with a manifest, or an ImageFolder with a parallel regions/ tree.

A manifest is `manifest.csv` (or `manifest.parquet`, for installations with the extra `parquet`)
with the columns `path` and `label`, and where known `region`, `irrelevant`, `split`, `subject`,
`group`, `source`. A region is an image of any size whose non-zero pixels are where evidence is
expected. Every refusal names the row and the reason.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.errors import DatasetError, ImageError
from models.pictures import regions
from models.pictures.decoding import Array, Limits, decode_image
from models.pictures.regions import decode_mask
from models.preprocessing import prepare, prepare_region
from models.training import manifests
from models.training.entries import SPLITS, Entry, inside, split_of
from models.training.folders import image_folder
from models.training.image_sets import ImageSet, refuse_leakage, split
from models.training.left_out import LeftOut
from models.types import Preprocessing

LOG = logging.getLogger("rightly.data")
MANIFESTS = ("manifest.csv", "manifest.parquet")
_MASKS = ("region", "irrelevant")
_COLUMNS = ("region", "irrelevant", "split", "subject", "group", "source")
COLUMNS = ("path", "label", *_COLUMNS)


def read_folder(folder: Path, *, left: LeftOut | None = None) -> list[Entry]:
    """Return the rows of a folder: its manifest, or one subfolder per class.

    An ImageFolder is `<class>/…` or `<split>/<class>/…`; masks lie under `regions/` and
    `irrelevant/` at the same relative path, with the suffix .png or the image's own.

    Args:
        folder: The data set.
        left: Told of what cannot be used; without it, a warning says so.

    Raises:
        DatasetError: If the folder is neither, or most of it cannot be used.
    """
    told = LeftOut() if left is None else left
    named = next((folder / each for each in MANIFESTS if (folder / each).is_file()), None)
    entries = image_folder(folder, told) if named is None else read_manifest(named, left=told)
    if not entries:
        raise DatasetError(
            f"{folder} holds neither manifest.csv, manifest.parquet nor a folder per class"
            + (f"; {told.summary()}" if told.items else "")
        )
    if left is None:
        told.say()
    return entries


def read_manifest(manifest: Path, *, left: LeftOut | None = None) -> list[Entry]:
    """Return the rows of a manifest; paths are relative to it.

    Args:
        manifest: CSV or Parquet.
        left: Told of rows that cannot be used; without it, a warning says so.

    Raises:
        DatasetError: If it has no columns path and label, or most rows cannot be used; naming the
            first row and what is wrong with it.
    """
    told = LeftOut() if left is None else left
    entries = entries_of(manifest, manifest.parent, {each: each for each in COLUMNS}, told)
    if left is None:
        told.say()
    return entries


def entries_of(
    table: Path, folder: Path, columns: Mapping[str, str], left: LeftOut
) -> list[Entry]:
    """Return the rows of a table.

    Args:
        table: CSV or Parquet.
        folder: That paths are relative to.
        columns: Our column → the table's.
        left: Told of rows that cannot be used.

    Raises:
        DatasetError: As `read_manifest`.
    """
    rows = manifests.rows_of(table)
    if not rows:
        raise DatasetError(f"{table} has no rows")
    theirs = {ours: column.strip().casefold() for ours, column in columns.items()}
    for ours in ("path", "label"):
        if theirs[ours] not in rows[0]:
            found = ", ".join(repr(each) for each in rows[0])
            raise DatasetError(f"{table.name} has no column {columns[ours]!r}; it has {found}")
    entries, since = [], len(left.items)
    for number, row in enumerate(rows, start=2):
        values = {ours: row.get(column, "") for ours, column in theirs.items()}
        name = f"{table.name}:{number} ({values['path'] or 'no path'})"
        for ours in ("path", "label"):
            if not values[ours]:
                left.note("row", name, f"column {columns[ours]!r} is empty")
        if not (values["path"] and values["label"]):
            continue
        try:
            entries.append(_entry(values, folder, name, left))
        except DatasetError as error:
            left.note("row", name, str(error).removeprefix(f"{name}: "))
    left.refuse_most("row", since=since, given=len(rows), rows=len(rows))
    return entries


def _entry(values: Mapping[str, str], folder: Path, name: str, left: LeftOut) -> Entry:
    """Return a row of a table; whatever is wrong with it, masks apart, is an error."""
    known = {column: values.get(column, "") for column in _COLUMNS}
    split = split_of(known["split"])
    if known["split"] and not split:
        raise DatasetError(f"{name}: split {known['split']!r} is none of {', '.join(SPLITS)}")
    return Entry(
        name=name,
        path=inside(folder, values["path"], name),
        label=values["label"],
        region=_optional(folder, known["region"], name, left),
        irrelevant=_optional(folder, known["irrelevant"], name, left),
        split=split,
        subject=known["subject"],
        group=known["group"],
        source=known["source"],
    )


def load(
    entries: Sequence[Entry],
    preprocessing: Preprocessing,
    classes: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    *,
    left: LeftOut | None = None,
) -> ImageSet:
    """Read the pixels and masks of rows, prepared as a classifier will see them.

    A row whose image cannot be read is left out. A mask that cannot be used, marks everything or
    nothing, or tells nothing at the classifier's size, does not count: the row is as if it had
    none. A warning says how many are.

    Args:
        entries: The rows.
        preprocessing: Size and fit; masks go through the same geometry.
        classes: Class labels in the order wanted; None sorts those found.
        groups: Group names in the order wanted, for rows that name theirs; None sorts those found.
        left: Told of what cannot be used; without it, a warning says so.

    Raises:
        DatasetError: If a label is of no class, or most images or masks cannot be used; naming the
            first row and what is wrong with it.
    """
    told = LeftOut() if left is None else left
    order = tuple(sorted({each.label for each in entries})) if classes is None else tuple(classes)
    found = {each.group for each in entries if each.group}
    kinds = tuple(sorted(found) if groups is None or not found else groups)
    size = (len(entries), preprocessing.height, preprocessing.width)
    images = np.zeros((*size, 3), np.uint8)
    masks = {kind: np.zeros(size, bool) for kind in _MASKS}
    given = {kind: np.zeros(len(entries), bool) for kind in _MASKS}
    kept: list[Entry] = []
    since, files, vanished = len(told.items), 0, []
    for entry in entries:
        if entry.label not in order:
            raise DatasetError(f"{entry.name}: label {entry.label!r} is none of {list(order)}")
        row = len(kept)
        try:
            raw = _image(entry)
            images[row] = prepare(raw, preprocessing)
        except (DatasetError, ImageError) as error:
            told.note("row", entry.name, str(error).removeprefix(f"{entry.name}: "))
            continue
        kept.append(entry)
        for kind in _MASKS:
            files += isinstance(getattr(entry, kind), Path)
            mask = _usable_mask(entry, kind, raw.shape[:2], told)
            if mask is None:
                continue
            fitted = prepare_region(mask, preprocessing)
            if _tells(kind, mask, fitted):
                masks[kind][row], given[kind][row] = fitted, True
            else:
                vanished.append(f"{kind} of {entry.name}")
    told.refuse_most("row", since=since, given=len(entries), rows=len(entries))
    told.refuse_most("mask", since=since, given=files, rows=len(entries))
    _warn(vanished, preprocessing)
    if left is None:
        told.say()
    return _assembled(kept, images, masks, given, (order, kinds))


def _assembled(
    kept: Sequence[Entry],
    images: NDArray[np.uint8],
    masks: Mapping[str, NDArray[np.bool_]],
    given: Mapping[str, NDArray[np.bool_]],
    names: tuple[tuple[str, ...], tuple[str, ...]],
) -> ImageSet:
    """Return the rows that were read, of arrays that had room for all."""
    order, kinds = names
    count = len(kept)
    region, irrelevant = (masks[kind][:count] for kind in _MASKS)
    has_region, has_irrelevant = (given[kind][:count] for kind in _MASKS)
    # A row with one kind of mask gets the other as its complement.
    only_region = has_region & ~has_irrelevant
    only_irrelevant = has_irrelevant & ~has_region
    irrelevant[only_region] = ~region[only_region]
    region[only_irrelevant] = ~irrelevant[only_irrelevant]
    return ImageSet(
        images=images[:count],
        labels=np.array([order.index(each.label) for each in kept], np.int64),
        classes=order,
        ids=tuple(each.name for each in kept),
        relevant=region if has_region.any() else None,
        irrelevant=irrelevant if has_irrelevant.any() else None,
        annotated=has_region | has_irrelevant,
        groups=_group_indices(kept, kinds),
        group_names=kinds,
        subjects=tuple(each.subject for each in kept),
    )


def load_splits(
    entries: Sequence[Entry],
    preprocessing: Preprocessing,
    *,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    left: LeftOut | None = None,
) -> dict[str, ImageSet]:
    """Read rows by split; rows without one are divided 80/10/10 by subject and class.

    Rows of the same subject, and exact duplicates, stay together in a division.

    Args:
        entries: The rows.
        preprocessing: As for `load`.
        seed: Fixes the division of rows without a split.
        classes: Class labels in the order wanted, which does not change the division; None sorts
            those found.
        left: Told of what cannot be used; without it, a warning says so.

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
        whole = load(entries, preprocessing, classes, left=left)
        made = split(whole, {"train": 0.8, "val": 0.1, "test": 0.1}, seed=seed)
    else:
        named = {name: [each for each in entries if each.split == name] for name in SPLITS}
        groups = sorted({each.group for each in entries if each.group})
        made = {
            name: load(rows, preprocessing, classes, groups, left=left)
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


def _optional(folder: Path, relative: str, name: str, left: LeftOut) -> Path | None:
    """Return the file of a mask; None where none is named, or none is there."""
    try:
        return inside(folder, relative, name) if relative else None
    except DatasetError as error:
        left.note("mask", name, str(error).removeprefix(f"{name}: "))
        return None


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


def _usable_mask(
    entry: Entry, kind: str, size: tuple[int, int], left: LeftOut
) -> NDArray[np.bool_] | None:
    """Return a row's mask at its image's size; None where there is none that can be used."""
    try:
        return _mask(entry, kind, size)
    except DatasetError as error:
        left.note("mask", entry.name, str(error).removeprefix(f"{entry.name}: "))
        return None


def _tells(kind: str, mask: NDArray[np.bool_], fitted: NDArray[np.bool_]) -> bool:
    """Whether a mask says something at the classifier's size; "nothing is irrelevant" does."""
    if kind == "region":
        return bool(fitted.any()) and not mask.all()
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
