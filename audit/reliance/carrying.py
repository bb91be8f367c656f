"""Which part of what is irrelevant carries an answer: found in one image, tried in others.

First each part of an image (`parts`) is exchanged for that of an image which is answered
otherwise. The part whose exchange takes most from the answer is suspected. Then it is put into
other images, answered otherwise, and so is the same part of images which are answered as those
are. A shortcut can be carried: its part brings the answer with it, wherever it comes. What merely
belongs together, as a body around its lungs, cannot be cut out and carried in a piece; and a
network that any change upsets is upset by the second exchange as much as by the first.

Since the part is found in one image and tried in others, a part that was suspected by chance
brings nothing along: the measure is about zero where nothing is carried.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.errors import ProbeError
from audit.reliance import parts
from audit.reliance.probes import Images, Regions

Ask = Callable[[Images], NDArray[np.floating]]
# Other images that a suspected part is tried in; each costs two answers.
HOSTS = 4
# Answers that an image costs with every part tried.
ALL = len(parts.names()) + 2 * HOSTS


@dataclass(frozen=True, slots=True)
class Lenders:
    """Images that lend their parts and take others', with their answers.

    Attributes:
        images: uint8 [M, H, W, 3].
        regions: Where evidence is expected, bool [M, H, W].
        probabilities: Their answers, [M, classes].
    """

    images: Images
    regions: Regions
    probabilities: NDArray[np.floating]

    @property
    def decided(self) -> NDArray[np.intp]:
        """Class decided for each."""
        decided: NDArray[np.intp] = self.probabilities.argmax(axis=1)
        return decided


@dataclass(frozen=True, slots=True)
class Carried:
    """What was found for one image.

    Attributes:
        falls: By how much the probability of the answer fell as each part was exchanged, in
            [-1, 1], one per part; None for one that the image does not have or that was not tried.
        part: Position of the suspected part.
        rise: By how much that part raised the probability of the answer in other images, less
            what the same part of an image answered as they are did, in [-1, 1].
        turned: Share of the other images that it turned to the answer, less the other's share.
    """

    falls: tuple[float | None, ...]
    part: int
    rise: float
    turned: float

    @property
    def reliance(self) -> float:
        """The measure that is watched, in [0, 1]: the rise, where it is one."""
        return min(1.0, max(0.0, self.rise))

    def named(self) -> dict[str, float]:
        """Return the fall of each part that was tried, by its name, to three decimals."""
        return {
            name: round(fall, 3)
            for name, fall in zip(parts.names(), self.falls, strict=True)
            if fall is not None
        }


def carried(
    ask: Ask, asked: Lenders, pool: Lenders | None = None, *, most: int = ALL, seed: int = 0
) -> tuple[Carried | None, ...]:
    """Return which part carries each answer, and how well.

    Args:
        ask: The classifier: probabilities [N, classes] for uint8 images [N, H, W, 3].
        asked: The images in question, with their answers.
        pool: Images that lend and host; the images in question themselves unless given.
        most: Most answers that an image may cost. Where it does not suffice for all parts, as
            many are tried as it does for, drawn at random.
        seed: Of who lends to whom, and of the parts where not all are tried.

    Returns:
        One finding per image; None where every image of the pool is answered as it is, so that
        nothing can be carried.

    Raises:
        ProbeError: If fewer answers are allowed than one part takes.
        RegionError: If a region does not fit its image.
    """
    tried = most - 2 * HOSTS
    if tried < 1:
        raise ProbeError(f"{most} answers for an image; at least {2 * HOSTS + 1} are needed")
    lenders = asked if pool is None else pool
    rng = np.random.default_rng([seed, 37])
    decided, theirs = asked.decided, lenders.decided
    rows = np.flatnonzero([(theirs != each).any() for each in decided])
    found: list[Carried | None] = [None] * len(decided)
    if not len(rows):
        return tuple(found)
    chosen = _Chosen(ask, asked, lenders, rows, rng)
    falls = chosen.falls(tried)
    known = np.isfinite(falls).any(axis=1)
    best = np.where(np.isfinite(falls), falls, -np.inf).argmax(axis=1)
    rises, turns = chosen.tried_elsewhere(best)
    for number, row in enumerate(rows):
        if known[number]:
            found[row] = Carried(
                tuple(float(each) if np.isfinite(each) else None for each in falls[number]),
                int(best[number]),
                float(rises[number]),
                float(turns[number]),
            )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The images for which there is somebody who is answered otherwise."""

    ask: Ask
    asked: Lenders
    lenders: Lenders
    rows: NDArray[np.intp]
    rng: np.random.Generator

    def falls(self, tried: int) -> NDArray[np.floating]:
        """Return the fall for each part, [rows, parts]."""
        images, regions = self.asked.images[self.rows], self.asked.regions[self.rows]
        decided = self.asked.decided[self.rows]
        before = self.asked.probabilities[self.rows, decided]
        there = parts.present(regions)
        order = self.rng.random(there.shape)
        # The parts without a place first, since no other part stands in for one of them.
        order[:, -len(parts.Whole) :] -= 1.0
        ranks = np.where(there, order, np.inf).argsort(axis=1).argsort(axis=1)
        donors = self._otherwise(decided)
        falls = np.full(there.shape, np.nan)
        for part, rows in self._of(there & (ranks < tried)):
            changed = parts.exchanged(
                part,
                images[rows],
                regions[rows],
                self.lenders.images[donors[rows]],
                self.lenders.regions[donors[rows]],
            )
            falls[rows, part] = (
                before[rows] - self.ask(changed)[np.arange(len(rows)), decided[rows]]
            )
        return falls

    def tried_elsewhere(
        self, suspected: NDArray[np.intp]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return rise and share turned, each less those of a part of the hosts' own kind."""
        decided = self.asked.decided[self.rows]
        rise, turned = np.zeros((2, len(decided)))
        for _ in range(HOSTS):
            hosts = self._otherwise(decided)
            own = np.array([self._alike(host) for host in hosts], np.intp)
            for sign, lent in (
                (1.0, (self.asked.images[self.rows], self.asked.regions[self.rows])),
                (-1.0, (self.lenders.images[own], self.lenders.regions[own])),
            ):
                after = self._put(suspected, hosts, *lent)
                rise += sign * after[np.arange(len(after)), decided]
                turned += sign * (after.argmax(axis=1) == decided)
        return rise / HOSTS, turned / HOSTS

    def _put(
        self,
        suspected: NDArray[np.intp],
        hosts: NDArray[np.intp],
        images: Images,
        regions: Regions,
    ) -> NDArray[np.floating]:
        """Return the hosts' answers with the suspected parts of other images."""
        made = self.lenders.images[hosts].copy()
        for part in np.unique(suspected):
            rows = np.flatnonzero(suspected == part)
            made[rows] = parts.exchanged(
                int(part),
                made[rows],
                self.lenders.regions[hosts[rows]],
                images[rows],
                regions[rows],
            )
        return self.ask(made)

    def _otherwise(self, decided: NDArray[np.intp]) -> NDArray[np.intp]:
        theirs = self.lenders.decided
        return np.array(
            [self.rng.choice(np.flatnonzero(theirs != each)) for each in decided], np.intp
        )

    def _alike(self, host: int) -> int:
        """Return another image answered as the host is; the host itself where it is alone."""
        others = np.flatnonzero(self.lenders.decided == self.lenders.decided[host])
        others = others[others != host]
        return int(self.rng.choice(others)) if len(others) else int(host)

    @staticmethod
    def _of(wanted: NDArray[np.bool_]) -> Iterator[tuple[int, NDArray[np.intp]]]:
        for part in range(wanted.shape[1]):
            rows = np.flatnonzero(wanted[:, part])
            if len(rows):
                yield part, rows
