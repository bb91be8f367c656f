"""Tables as people save them: separators, byte-order marks, letters of headers, encodings."""

import csv
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from models.errors import DatasetError

_SEPARATORS: Final = ",;\t|"
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")


def rows_of(table: Path) -> list[Mapping[str, str]]:
    """Return a table's rows by column, in lower case and without blanks around.

    CSV in UTF-8, or UTF-16 by its mark, separated by comma, semicolon, tab or bar; or Parquet.

    Raises:
        DatasetError: If it cannot be read, or its text is of another encoding.
    """
    if table.suffix == ".parquet":
        return [
            {_plain(key): "" if _missing(value) else str(value).strip() for key, value in row}
            for row in _parquet(table)
        ]
    text = _text(table)
    first = text.partition("\n")[0]
    separator = max(_SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        header = [_plain(each) for each in next(reader, [])]
        return [
            {key: value.strip() for key, value in zip(header, row, strict=False)}
            for row in reader
            if row
        ]
    except csv.Error as error:
        raise DatasetError(f"{table.name}:{reader.line_num + 1}: {error}") from error


def _plain(header: str) -> str:
    return header.strip().strip('"').casefold()


def _text(table: Path) -> str:
    try:
        content = table.read_bytes()
    except OSError as error:
        raise DatasetError(f"{table} cannot be read: {error.strerror}") from error
    encoding = "utf-16" if content.startswith(_UTF16) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        shown = content[error.start : error.start + 1].decode("cp1252", "replace")
        raise DatasetError(
            f"{table.name}:{line} is not UTF-8: byte 0x{content[error.start]:02x} would be "
            f"{shown!r} in Latin-1 (Windows-1252); save the file as UTF-8"
        ) from error


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
