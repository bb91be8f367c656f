"""An image set in memory: images, labels, masks of what should and must not matter, provenance."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b, sha256

import numpy as np
from numpy.typing import NDArray

from models.errors import DatasetError

_AXES = 4
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class ImageSet:
    """Labelled rows that are used together, for example one split.

    Attributes:
        images: uint8 [M, H, W, 3] pixels, or float32 [M, H, W, C] inputs used as they are
            (tables are [M, 1, features, 1]).
        labels: Class indices, int64 [M].
        classes: Class labels in the order of the indices.
        ids: What a message calls each row.
        relevant: True where evidence is expected, bool [M, H, W]; None where no row has a region.
        irrelevant: True where a pixel must not matter; None means the complement of `relevant`.
        annotated: Rows whose masks are given, bool [M]; None means all rows that mark a pixel.
        groups: Index of each row's subpopulation, int64 [M]; None means the label.
        group_names: Names of the subpopulations in the order of the indices.
        subjects: Whom each row shows ("" where unknown); rows of a subject stay in one split.
    """

    images: NDArray[np.uint8] | NDArray[np.float32]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    relevant: NDArray[np.bool_] | None = None
    irrelevant: NDArray[np.bool_] | None = None
    annotated: NDArray[np.bool_] | None = None
    groups: NDArray[np.int64] | None = None
    group_names: tuple[str, ...] = ()
    subjects: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        rows = len(self.labels)
        self._check_lengths(rows)
        self._check_masks()
        if self.annotated is None:
            object.__setattr__(self, "annotated", self._marked(rows))
        if self.images.ndim != _AXES or self.images.dtype not in (np.uint8, np.float32):
            raise DatasetError(
                f"images must be uint8 or float32 [M, H, W, C], not {self.images.dtype} "
                f"{list(self.images.shape)}"
            )
        wrong = np.flatnonzero((self.labels < 0) | (self.labels >= len(self.classes)))
        if wrong.size:
            raise DatasetError(
                f"row {self.ids[wrong[0]]}: label {self.labels[wrong[0]]} is not one of "
                f"{len(self.classes)} classes"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Rows whose masks are given, bool [M]."""
        if self.annotated is None:  # __post_init__ has filled it
            raise DatasetError("the set was not initialised")
        return self.annotated

    @property
    def subpopulations(self) -> NDArray[np.int64]:
        """Group index of each row; the label where the set names no groups."""
        return self.labels if self.groups is None else self.groups

    @property
    def digest(self) -> str:
        """Name the content, for a model's lineage: "sha256:" over rows, labels and masks.

        Which rows are annotated counts where their masks alone do not say it, so that the digest
        of every other set is the one that stands in cards already.
        """
        content = sha256(repr((self.classes, self.ids, self.subjects, self.group_names)).encode())
        columns = [self.images, self.labels, self.relevant, self.irrelevant, self.groups]
        if not np.array_equal(self.known, self._marked(len(self))):
            columns.append(self.known)
        for each in columns:
            shape = None if each is None else (each.shape, each.dtype.str)
            content.update(repr(shape).encode())
            if each is not None:
                content.update(np.ascontiguousarray(each).tobytes())
        return f"sha256:{content.hexdigest()}"

    def masks(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return the relevant and irrelevant masks of `rows`, all false where not annotated.

        Where only one of the two is given, the other is its complement.
        """
        shape = (len(rows), *self.images.shape[1:3])
        known = self.known[rows][:, None, None]
        relevant = None if self.relevant is None else self.relevant[rows]
        irrelevant = None if self.irrelevant is None else self.irrelevant[rows]
        if relevant is None and irrelevant is None:
            return np.zeros(shape, bool), np.zeros(shape, bool)
        if relevant is None:
            relevant = ~irrelevant  # type: ignore[operator]  # one of the two is given
        if irrelevant is None:
            irrelevant = ~relevant
        return relevant & known, irrelevant & known

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> "ImageSet":
        """Return the given rows in the given order."""
        chosen = np.asarray(rows, np.int64)
        return replace(
            self,
            images=self.images[chosen],
            labels=self.labels[chosen],
            ids=tuple(self.ids[row] for row in chosen),
            relevant=None if self.relevant is None else self.relevant[chosen],
            irrelevant=None if self.irrelevant is None else self.irrelevant[chosen],
            annotated=None if self.annotated is None else self.annotated[chosen],
            groups=None if self.groups is None else self.groups[chosen],
            subjects=None
            if self.subjects is None
            else tuple(self.subjects[row] for row in chosen),
        )

    def _marked(self, rows: int) -> NDArray[np.bool_]:
        """Return which rows mark any pixel, bool [M]."""
        marked = np.zeros(rows, bool)
        for mask in (self.relevant, self.irrelevant):
            if mask is not None:
                marked |= mask.reshape(rows, -1).any(axis=1)
        return marked

    def _check_lengths(self, rows: int) -> None:
        """Refuse columns of different lengths."""
        columns: Mapping[str, object] = {
            "images": self.images,
            "ids": self.ids,
            "relevant": self.relevant,
            "irrelevant": self.irrelevant,
            "annotated": self.annotated,
            "groups": self.groups,
            "subjects": self.subjects,
        }
        for name, column in columns.items():
            if column is not None and len(column) != rows:  # type: ignore[arg-type]  # all sized
                raise DatasetError(f"{name} has {len(column)} rows, labels have {rows}")  # type: ignore[arg-type]  # likewise

    def _check_masks(self) -> None:
        """Refuse masks that do not have the images' size."""
        for name, mask in (("relevant", self.relevant), ("irrelevant", self.irrelevant)):
            if mask is not None and mask.shape != self.images.shape[:3]:
                raise DatasetError(
                    f"{name} masks are {list(mask.shape)}, images {list(self.images.shape[:3])}"
                )


def join(sets: Sequence[ImageSet]) -> ImageSet:
    """Return the rows of several sets of the same classes as one; missing masks stay missing.

    Groups are joined by their names. The groups of a set that names none are its classes, as in
    `ImageSet.subpopulations`; where no set has groups, neither has the whole.

    Raises:
        DatasetError: If the sets differ in classes or there is none, or if a set numbers its
            groups without naming them all while another set has other groups.
    """
    if not sets or any(each.classes != sets[0].classes for each in sets):
        raise DatasetError("only sets of the same classes can be joined")
    masked = any(each.relevant is not None or each.irrelevant is not None for each in sets)
    pairs = [each.masks(np.arange(len(each))) for each in sets] if masked else []
    groups, names = _joined_groups(sets)
    return ImageSet(
        images=np.concatenate([each.images for each in sets]),
        labels=np.concatenate([each.labels for each in sets]),
        classes=sets[0].classes,
        ids=tuple(name for each in sets for name in each.ids),
        relevant=np.concatenate([pair[0] for pair in pairs]) if masked else None,
        irrelevant=np.concatenate([pair[1] for pair in pairs]) if masked else None,
        annotated=np.concatenate([each.known for each in sets]) if masked else None,
        groups=groups,
        group_names=names,
        subjects=tuple(
            name
            for each in sets
            for name in (each.subjects if each.subjects is not None else ("",) * len(each))
        ),
    )


def _joined_groups(sets: Sequence[ImageSet]) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Return the groups of the joined rows under one numbering, and their names."""
    if all(each.groups is None for each in sets):
        return None, ()
    if all(each.groups is not None and not each.group_names for each in sets):
        return np.concatenate([each.subpopulations for each in sets]), ()
    named = [each.classes if each.groups is None else each.group_names for each in sets]
    names = tuple(dict.fromkeys(name for each in named for name in each))
    columns = []
    for each, own in zip(sets, named, strict=True):
        if int(each.subpopulations.max(initial=-1)) >= len(own):
            raise DatasetError(
                f"the set of row {each.ids[0]} has groups without a name; sets whose groups "
                "differ can be joined by names only"
            )
        place = np.array([names.index(name) for name in own], np.int64)
        columns.append(place[each.subpopulations])
    return np.concatenate(columns), names


def split(whole: ImageSet, shares: Mapping[str, float], *, seed: int) -> dict[str, ImageSet]:
    """Divide a set at random, keeping each subject together and the classes in proportion.

    Args:
        whole: The rows to divide.
        shares: Share of the rows per split; they sum to 1.
        seed: Fixes the division.

    Returns:
        One set per name; sizes are exact up to the size of a subject.
    """
    if abs(sum(shares.values()) - 1) > _ROUNDING:
        raise DatasetError(f"the shares sum to {sum(shares.values())}, not to 1")
    draw = np.random.default_rng(seed)
    rows: dict[str, list[int]] = {name: [] for name in shares}
    taken: dict[str, dict[int, int]] = {name: {} for name in shares}
    for members in _subjects(whole, draw):
        label = int(whole.labels[members[0]])
        # The split that is furthest behind its share of this class takes the subject.
        name = min(shares, key=lambda each: taken[each].get(label, 0) / max(shares[each], 1e-12))
        rows[name].extend(members)
        taken[name][label] = taken[name].get(label, 0) + len(members)
    return {name: whole.take(sorted(chosen)) for name, chosen in rows.items()}


def refuse_leakage(splits: Mapping[str, ImageSet]) -> None:
    """Raise if a subject or the very same image stands in two splits.

    Raises:
        DatasetError: Naming the two rows and what they share.
    """
    seen: dict[str, tuple[str, str]] = {}
    for name, rows in splits.items():
        for identifier, mark, what in _marks(rows):
            if mark in seen and seen[mark][0] != name:
                other, where = seen[mark][1], seen[mark][0]
                raise DatasetError(
                    f"row {identifier} of {name} and row {other} of {where} share the {what}: "
                    f"splits must not leak"
                )
            seen[mark] = (name, identifier)


def _marks(rows: ImageSet) -> Iterator[tuple[str, str, str]]:
    """Yield row name, what must not recur in another split, and what to call it."""
    for row, identifier in enumerate(rows.ids):
        subject = "" if rows.subjects is None else rows.subjects[row]
        if subject:
            yield identifier, f"subject:{subject}", f"subject {subject}"
        yield identifier, _content(rows, row), "same image"


def _content(rows: ImageSet, row: int) -> str:
    """Return what tells a row's pixels apart from others."""
    return blake2b(rows.images[row].tobytes(), digest_size=16).hexdigest()


def _subjects(whole: ImageSet, draw: np.random.Generator) -> list[list[int]]:
    """Return the rows of each subject, the subjects in random order, large ones first.

    Exact duplicates count as one subject, and join the subjects that they show.
    """
    first: dict[str, int] = {}
    together = list(range(len(whole)))

    def root(row: int) -> int:
        while together[row] != row:
            row = together[row]
        return row

    for row in range(len(whole)):
        subject = "" if whole.subjects is None else whole.subjects[row]
        content = _content(whole, row) if whole.images.dtype == np.uint8 else ""
        for mark in filter(None, (subject and f"subject:{subject}", content)):
            one, other = root(first.setdefault(mark, row)), root(row)
            together[max(one, other)] = min(one, other)
    members: dict[int, list[int]] = {}
    for row in range(len(whole)):
        members.setdefault(root(row), []).append(row)
    shuffled = [list(each) for each in members.values()]
    order = draw.permutation(len(shuffled))
    return sorted((shuffled[each] for each in order), key=len, reverse=True)
