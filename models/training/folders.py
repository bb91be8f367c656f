"""ImageFolders as people have them: one subfolder per class, with all that lies about besides."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from models.errors import UnsupportedImageError
from models.pictures import dicom, formats
from models.training.entries import Entry, split_of
from models.training.left_out import LeftOut

_SUFFIXES: Final = {
    ".png",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".bmp",
    ".webp",
    ".tif",
    ".tiff",
    ".gif",
    ".avif",
    ".dcm",
    ".dicom",
}
_MASKS: Final = {"regions", "irrelevant"}
# What operating systems and tools put into folders.
_SYSTEM: Final = {"__macosx", "@eadir", "thumbs.db", "desktop.ini", "$recycle.bin", "lost+found"}
_HEAD: Final = 256


def image_folder(folder: Path, left: LeftOut) -> list[Entry]:
    """Return the rows of `<class>/…` or `<split>/<class>/…`.

    Splits are known by their usual spellings, and only where they hold classes: a folder `train`
    with pictures directly in it is a class.

    Args:
        folder: The data set.
        left: Told of what is no picture, hidden, or beside the splits.
    """
    tops = _folders(folder, left)
    splits = [each for each in tops if split_of(each.name) and _holds_classes(each)]
    entries: list[Entry] = []
    if not splits:
        for kind in tops:
            entries += _class(folder, kind, "", left)
        return entries
    for top in tops:
        if top not in splits:
            left.note("folder", top.name, "stands beside splits, but names none")
            continue
        for kind in _folders(top, left):
            entries += _class(folder, kind, split_of(top.name), left)
    return entries


def _folders(folder: Path, left: LeftOut) -> list[Path]:
    """Return the folders that may be classes or splits."""
    if not folder.is_dir():
        return []
    found = []
    for each in sorted(folder.iterdir()):
        if not each.is_dir() or each.name in _MASKS:
            continue
        if _hidden(each.name):
            left.note("folder", each.name, "is hidden, or a system's own")
        else:
            found.append(each)
    return found


def _holds_classes(folder: Path) -> bool:
    inner = [each for each in folder.iterdir() if not _hidden(each.name)]
    pictures = any(each.is_file() and each.suffix.lower() in _SUFFIXES for each in inner)
    return not pictures and any(each.is_dir() for each in inner)


def _class(folder: Path, kind: Path, split: str, left: LeftOut) -> Iterator[Entry]:
    for path in _files(kind, left, {kind.resolve()}):
        relative = path.relative_to(folder)
        if told := _no_picture(path):
            left.note("file", str(relative), told)
            continue
        yield Entry(
            name=str(relative),
            path=path,
            label=kind.name.strip(),
            region=_parallel(folder / "regions" / relative),
            irrelevant=_parallel(folder / "irrelevant" / relative),
            split=split,
        )


def _files(folder: Path, left: LeftOut, seen: set[Path]) -> Iterator[Path]:
    """Yield the files below a folder in order; links are followed, but not in circles."""
    for name in sorted(os.listdir(folder)):  # noqa: PTH208 - names are what is sorted
        path = folder / name
        if _hidden(name):
            what = "folder" if path.is_dir() else "file"
            left.note("folder" if path.is_dir() else "file", str(path), f"is a hidden {what}")
        elif path.is_dir():
            if (true := path.resolve()) not in seen:
                yield from _files(path, left, seen | {true})
        else:
            yield path


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.casefold() in _SYSTEM


def _no_picture(path: Path) -> str:
    """Say why a file is no picture; "" where it is one, by its suffix or its first bytes."""
    if path.suffix.lower() in _SUFFIXES:
        return ""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
        if not head.startswith(b"BM") and not dicom.is_dicom(head):
            formats.format_of(head)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except UnsupportedImageError as error:
        return str(error).partition("; ")[0]
    return ""


def _parallel(path: Path) -> Path | None:
    """Return the mask at a path, with its own suffix or .png."""
    return next((each for each in (path, path.with_suffix(".png")) if each.is_file()), None)
