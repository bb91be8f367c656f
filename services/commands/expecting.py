"""`rightly export --expect`: reads its owner's own predictions, to compare a network with them."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from models.errors import ArchitectureError
from services import settings
from services.commands.asking import decoded

if TYPE_CHECKING:
    from models.expectations import Expected

_PATHS = ("path", "paths", "file", "files", "filename", "image", "images", "image_id")
_LABELS = ("label", "class", "prediction", "predicted", "decided")
_NUMBERS = ("logits", "probabilities", "predictions", "outputs")
_MOST = 64  # images
_SEPARATORS = ",;\t"


def read(path: Path, classes: Sequence[str], folder: Path | None) -> "Expected":
    """Read predictions on images.

    Args:
        path: A table with the columns path and one for each class, or path and label; or an .npz
            file with `paths` [M] and `logits` or `probabilities` [M,K].
        classes: The labels in the order of the outputs.
        folder: Where else the images may lie than beside the file.

    Raises:
        ArchitectureError: If the file, or an image that it names, is not as described.
    """
    names, values = _arrays(path) if path.suffix == ".npz" else _table(path, classes)
    chosen = np.unique(np.linspace(0, len(names) - 1, min(_MOST, len(names))).astype(np.intp))
    limits = settings.load()
    images = [decoded(_found(names[row], path, folder), limits) for row in chosen]
    from models import expectations

    if values.dtype.kind != "f":
        unknown = sorted(set(map(str, values)) - set(classes))
        if unknown:
            raise ArchitectureError(f"{path}: no class is called {unknown[0]!r}")
        decided = np.array([classes.index(str(values[row])) for row in chosen], np.intp)
        return expectations.Expected(images, None, decided)
    if values.ndim != 2 or values.shape[1] != len(classes):  # noqa: PLR2004 - rows, classes
        raise ArchitectureError(
            f"{path} has numbers of shape {list(values.shape)}, expected one column for each of "
            f"{len(classes)} classes"
        )
    return expectations.expected(values[chosen].astype(np.float64), images)


def _arrays(path: Path) -> tuple[list[str], NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as held:
            content = {name: held[name] for name in held.files}
    except (OSError, ValueError, BadZipFile) as error:
        raise ArchitectureError(f"cannot read {path} as arrays: {error}") from error
    names = next((content[each] for each in _PATHS if each in content), None)
    values = next((content[each] for each in _NUMBERS if each in content), None)
    if names is None or values is None or len(names) != len(values) or not len(names):
        raise ArchitectureError(
            f"{path} holds {', '.join(content) or 'nothing'}; expected `paths` [M] and `logits` "
            "or `probabilities` [M,K]"
        )
    return [str(each) for each in names], values.astype(np.float64)


def _table(path: Path, classes: Sequence[str]) -> tuple[list[str], NDArray[Any]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ArchitectureError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ArchitectureError(f"{path} is not UTF-8 at byte {error.start}") from error
    beginning = text.partition("\n")[0]
    separator = max(_SEPARATORS, key=beginning.count)
    rows = list(csv.DictReader(io.StringIO(text), delimiter=separator))
    columns = {str(name).strip().lower(): name for name in (rows[0] if rows else {})}
    where = next((columns[each] for each in _PATHS if each in columns), None)
    named = [columns[each.lower()] for each in classes if each.lower() in columns]
    label = next((columns[each] for each in _LABELS if each in columns), None)
    if where is None or (len(named) != len(classes) and label is None):
        raise ArchitectureError(
            f"{path} has the columns {', '.join(columns) or 'none'}; expected path and one for "
            f"each of the classes {', '.join(classes[:5])}…, or path and label"
        )
    names = [str(row[where]).strip() for row in rows]
    if len(named) != len(classes):
        return names, np.array([str(row[label]).strip() for row in rows])
    return names, np.array(list(_numbers(rows, named, path)), np.float64)


def _numbers(rows: Sequence[dict[str, str]], names: Sequence[str], path: Path) -> Iterator[Any]:
    for number, row in enumerate(rows, start=2):
        try:
            yield [float(row[name]) for name in names]
        except (TypeError, ValueError) as error:
            raise ArchitectureError(f"{path}, line {number}: {error}") from error


def _found(name: str, table: Path, folder: Path | None) -> Path:
    places = [table.parent, *([] if folder is None else [folder]), Path()]
    for place in places:
        if (place / name).is_file():
            return place / name
    tried = ", ".join(str(each) for each in places)
    raise ArchitectureError(f"{table} names {name}, which is not in {tried}")
