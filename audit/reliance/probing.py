"""Probes a classifier through a protocol, so that the version that is served can be passed in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from audit.errors import ProbeError
from audit.reliance import probes
from audit.reliance.carrying import ALL, Carried, Lenders, carried
from audit.reliance.effects import Effect, effects
from audit.reliance.probes import Images, Regions


class Predictor(Protocol):
    """Anything that answers images: the served graph, or a fake."""

    def __call__(self, images: Images, /) -> NDArray[np.floating]:
        """Return probabilities [N, classes] for uint8 images [N, H, W, 3]."""


@dataclass(frozen=True, slots=True)
class Probed:
    """The answers to the images, and what each intervention did to them.

    Attributes:
        decided: Index of the class decided for each unchanged image.
        effects: For each intervention, in the order fill, blur, swap, one effect per image.
        carried: For each image the part that carries its answer; None where that was not asked,
            or nobody is answered otherwise.
    """

    decided: tuple[int, ...]
    effects: tuple[tuple[Effect, ...], ...]
    carried: tuple[Carried | None, ...]

    def of(self, image: int) -> tuple[Effect, ...]:
        """Return the effects of every intervention on one image."""
        return tuple(each[image] for each in self.effects)

    def flip_share(self, image: int) -> float:
        """Return the share of the interventions that changed the answer for one image."""
        seen = self.of(image)
        return sum(each.flip for each in seen) / len(seen)


def probe(
    predictor: Predictor,
    images: Images,
    regions: Regions,
    *,
    paint: probes.Paint = "mean",
    colour: tuple[int, int, int] | None = None,
    pool: Images | None = None,
    pool_regions: Regions | None = None,
    most: int = ALL,
    seed: int = 0,
) -> Probed:
    """Return what changing the irrelevant part does to the answers: as a whole, and part by part.

    Args:
        predictor: The classifier; asked once per kind of image. Nobody knows the truth here, so
            that every answer counts, and a donor implies the class that is decided for it.
        images: The images, at least one.
        regions: Where evidence is expected in each.
        paint: What the fill paints with.
        colour: The mean colour, best that of the reference set; see `probes.fill`.
        pool: Images that lend their irrelevant part; `images` themselves unless given.
        pool_regions: Where evidence is expected in the pool; required with `pool`.
        most: Most answers that the parts of an image may cost; see `carrying.carried`. 0 asks
            nothing about parts.
        seed: Decides who lends to whom.

    Raises:
        ProbeError: If there is no image, or nobody to lend an irrelevant part.
        RegionError: If a region does not fit.
    """
    if (pool is None) != (pool_regions is None):
        raise ProbeError("a pool of images needs its regions, and regions need their pool")
    lenders = images if pool is None else pool
    lender_regions = regions if pool_regions is None else pool_regions
    before = predictor(images)
    suggested = before if pool is None else predictor(lenders)
    decided = before.argmax(axis=1)
    chosen = choose_donors(decided, suggested.argmax(axis=1), own=pool is None, seed=seed)
    images_of = changed(
        images,
        regions,
        lenders[chosen],
        lender_regions[chosen],
        paint=paint,
        colour=colour,
        seed=seed,
    )
    implied = {"swap": [int(each) for each in suggested.argmax(axis=1)[chosen]]}
    asked = Lenders(images, regions, before)
    everybody = asked
    if pool is not None:
        everybody = Lenders(
            np.concatenate([images, lenders]),
            np.concatenate([regions, lender_regions]),
            np.concatenate([before, suggested]),
        )
    return Probed(
        carried=carried(predictor, asked, everybody, most=most, seed=seed)
        if most
        else (None,) * len(images),
        decided=tuple(int(each) for each in decided),
        effects=tuple(
            effects(name, before, predictor(each), implied.get(name))
            for name, each in images_of.items()
        ),
    )


def changed(
    images: Images,
    regions: Regions,
    donors: Images,
    donor_regions: Regions,
    *,
    paint: probes.Paint = "mean",
    colour: tuple[int, int, int] | None = None,
    seed: int = 0,
) -> dict[str, Images]:
    """Return the images that each intervention makes, by its name: fill, blur, swap.

    Args:
        images: The images.
        regions: Where evidence is expected in each.
        donors: One other image for each, which lends its irrelevant part.
        donor_regions: Where evidence is expected in the donors.
        paint: What the fill paints with.
        colour: The mean colour; see `probes.fill`.
        seed: Of the noise.

    Raises:
        RegionError: If a region does not fit.
    """
    return {
        "fill": probes.fill(images, regions, paint, colour=colour, seed=seed),
        "blur": probes.blur(images, regions),
        "swap": probes.swap(images, regions, donors, donor_regions),
    }


def any_other(count: int, *, seed: int) -> NDArray[np.intp]:
    """Return for each of several images another one, drawn at random whatever it shows.

    Raises:
        ProbeError: If there is no other.
    """
    if count < 2:  # noqa: PLR2004  # one to lend, one to take
        raise ProbeError("a swap needs another image to lend its irrelevant part")
    steps = np.random.default_rng([seed, 1]).integers(1, count, count)
    return (np.arange(count) + steps) % count


def choose_donors(
    decided: NDArray[np.integer],
    suggested: NDArray[np.integer],
    *,
    own: bool,
    seed: int,
) -> NDArray[np.intp]:
    """Return for each image who lends its irrelevant part: one decided otherwise where possible.

    A donor of another class is the sharper probe: a classifier that reads the surroundings would
    follow them.

    Args:
        decided: Class decided for each image.
        suggested: Class decided for each possible donor.
        own: Whether donor i is image i, which must not lend to itself.
        seed: Decides among equals.

    Raises:
        ProbeError: If nobody can lend.
    """
    rng = np.random.default_rng(seed)
    chosen = np.empty(len(decided), np.intp)
    for image, label in enumerate(decided):
        others = np.arange(len(suggested)) != image if own else np.ones(len(suggested), bool)
        foreign = np.flatnonzero(others & (suggested != label))
        candidates: Sequence[int] | NDArray[np.intp] = (
            foreign if foreign.size else np.flatnonzero(others)
        )
        if len(candidates) == 0:
            raise ProbeError("a swap needs another image to lend its irrelevant part")
        chosen[image] = rng.choice(candidates)
    return chosen
