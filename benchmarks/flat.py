"""`--json FILE` of every benchmark: its figures as one flat object, names joined by dots."""

import json
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

_NAMES = ("measure", "name", "what", "method", "detector", "variant")


def add_argument(parser: ArgumentParser) -> None:
    """Add `--json FILE`."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")


def write(path: Path | None, found: object) -> None:
    """Write the figures in nested mappings, sequences and dataclasses; nothing without a path."""
    if path is not None:
        flat = dict(_leaves("", found))
        path.write_text(json.dumps(flat, indent=1, sort_keys=True) + "\n", "utf-8")


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, object]]:  # noqa: ANN401 - any nesting
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        inner = value.items()
    elif isinstance(value, Sequence) and not isinstance(value, str):
        inner = ((_called(each, number), each) for number, each in enumerate(value))
    else:
        yield prefix, value
        return
    for key, each in inner:
        yield from _leaves(f"{prefix}.{key}" if prefix else str(key), each)


def _called(row: Any, number: int) -> str:  # noqa: ANN401 - as above
    """Return what a row of a table calls itself; its position where it does not."""
    row = asdict(row) if is_dataclass(row) and not isinstance(row, type) else row
    named = [row[key] for key in _NAMES if key in row] if isinstance(row, Mapping) else []
    return str(named[0]) if named else str(number)
