"""What of a data set was not used, and why: counted, named, listed in a file, or refused."""

import csv
import logging
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from models.errors import DatasetError

LOG = logging.getLogger("rightly.data")
FILE = "left-out.csv"

Kind = Literal["row", "mask", "annotation", "file", "folder"]
_PLURALS: dict[Kind, str] = {
    "row": "rows",
    "mask": "masks",
    "annotation": "annotations",
    "file": "files",
    "folder": "folders",
}
# Of the rows, so that one bad mask among thousands of rows without any stops nothing.
_NOTABLE = 20


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that does not count.

    Attributes:
        kind: What it is.
        name: What a message calls it.
        reason: Why it does not count.
    """

    kind: Kind
    name: str
    reason: str


@dataclass(slots=True)
class LeftOut:
    """Takes what does not count; strict, it refuses the first.

    Attributes:
        strict: Whether anything that cannot be used is an error.
        items: In the order in which they were found.
    """

    strict: bool = False
    items: list[Item] = field(default_factory=list)

    def note(self, kind: Kind, name: str, reason: str) -> None:
        """Take down that something does not count.

        Raises:
            DatasetError: If nothing may be left out.
        """
        if self.strict:
            raise DatasetError(f"{name}: {reason}")
        self.items.append(Item(kind, name, reason))

    def count(self, kind: Kind) -> int:
        """Return how many of a kind do not count."""
        return sum(each.kind == kind for each in self.items)

    def refuse_most(self, kind: Kind, *, since: int, given: int, rows: int) -> None:
        """Raise where most of what was given does not count: then it is not the odd one out.

        Args:
            kind: What is meant.
            since: Number of items before.
            given: How many there were.
            rows: Of the whole set.

        Raises:
            DatasetError: With the first reason.
        """
        found = [each for each in self.items[since:] if each.kind == kind]
        if found and 2 * len(found) > given and _NOTABLE * len(found) >= rows:
            first = found[0]
            raise DatasetError(
                f"{first.name}: {first.reason}"
                + (f" (and {len(found) - 1} more)" if len(found) > 1 else "")
            )

    def summary(self) -> str:
        """Say in one line how many of each kind do not count, and the first of them."""
        told = []
        for kind, number in Counter(each.kind for each in self.items).items():
            first = next(each for each in self.items if each.kind == kind)
            told.append(f"{number} {_PLURALS[kind]} (first {first.name}: {first.reason})")
        return "left out: " + "; ".join(told) if told else ""

    def say(self) -> None:
        """Warn of what does not count, in one line."""
        if self.items:
            LOG.warning("%s", self.summary())

    def write(self, path: Path) -> None:
        """List what does not count in a CSV file; no file where everything does."""
        if not self.items:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("kind", "name", "reason"))
            writer.writerows((each.kind, each.name, each.reason) for each in self.items)
