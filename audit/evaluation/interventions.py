"""What becomes of the answers when the irrelevant part of each image changes, the truth known.

The live audit asks the same of answers whose truth nobody knows (`audit.reliance.probing`): there
a donor implies the class that was decided for it, and every answer counts. Here it implies its
label, and a flip counts only where the answer had been right.

References:
    Xiao, Engstrom, Ilyas, Madry (2021), "Noise or signal: the role of image backgrounds in object
    recognition": their Mixed-Rand, a background of any class, and Mixed-Next, one of another
    class, are the random and the reversed cue.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.evaluation import resampling
from audit.evaluation.resampling import mean_of
from audit.evaluation.scorecards import Reliance
from audit.intervals import Estimate
from audit.reliance import probes, probing
from audit.reliance.carrying import Lenders, carried
from audit.reliance.effects import Effect, effects
from audit.reliance.probes import Images, Regions
from audit.reliance.probing import Predictor

# Rows whose parts are tried: each costs up to 36 answers.
_PARTS = 200


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What was measured; None or empty where too few rows have a region.

    Attributes:
        masked: Accuracy with everything but the region painted in one mean colour.
        random_cue: Accuracy in the surroundings of any other row.
        reversed_cue: Accuracy in the surroundings of a row of another label.
        reliance: Per intervention: fill, blur, swap.
        part_reliance: How well one part of what is irrelevant carries an answer into other images,
            in [0, 1], as the live audit measures it; of at most 200 rows.
    """

    masked: Estimate | None = None
    random_cue: Estimate | None = None
    reversed_cue: Estimate | None = None
    reliance: tuple[Reliance, ...] = ()
    part_reliance: Estimate | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Regional:
    """Rows whose region is known, and how they are resampled.

    Attributes:
        images: uint8 [N, H, W, 3].
        regions: Where evidence is expected, bool [N, H, W].
        labels: The truth, int64 [N].
        drawn: How often each row is drawn in each resample, as `resampling.weights` says.
        level: Confidence level.
    """

    images: Images
    regions: Regions
    labels: NDArray[np.int64]
    drawn: NDArray[np.int64]
    level: float

    def estimate(self, statistic: resampling.Statistic) -> Estimate:
        """Return a statistic of all rows with its interval."""
        return resampling.estimate(
            statistic, self.drawn, level=self.level, observations=len(self.labels)
        )

    def share(self, values: NDArray[np.bool_], among: NDArray[np.bool_]) -> Estimate | None:
        """Return how often `values` holds among some rows; None where there are none."""
        if not among.any():
            return None
        return resampling.estimate(
            mean_of(values[among]),
            self.drawn[:, among],
            level=self.level,
            observations=int(among.sum()),
        )


def measure(
    predictor: Predictor, rows: Regional, before: NDArray[np.floating], *, seed: int
) -> Surroundings:
    """Ask a classifier again with other surroundings.

    Args:
        predictor: The classifier.
        rows: What it is asked.
        before: Its probabilities for the unchanged images, [N, classes].
        seed: Decides whose surroundings each row gets. The intervals are over subjects; one
            donor is drawn for each row.
    """
    images, regions = rows.images, rows.regions
    if len(images) == 0:
        return Surroundings()
    if len(images) == 1:  # nobody lends it surroundings
        filled = predictor(probes.fill(images, regions))
        return Surroundings(masked=rows.estimate(mean_of(_right(filled, rows))))
    donors = probing.choose_donors(rows.labels, rows.labels, own=True, seed=seed)
    changed = probing.changed(images, regions, images[donors], regions[donors], seed=seed)
    after = {name: predictor(each) for name, each in changed.items()}
    others = probing.any_other(len(images), seed=seed)
    mixed = predictor(probes.swap(images, regions, images[others], regions[others]))
    foreign = rows.labels[donors] != rows.labels
    implied = {"swap": [int(each) for each in rows.labels[donors]]}
    right = _right(before, rows)
    return Surroundings(
        masked=rows.estimate(mean_of(_right(after["fill"], rows))),
        random_cue=rows.estimate(mean_of(_right(mixed, rows))),
        reversed_cue=rows.share(_right(after["swap"], rows), foreign),
        reliance=tuple(
            _reliance(name, effects(name, before, each, implied.get(name)), rows, right)
            for name, each in after.items()
        ),
        part_reliance=_carried(predictor, rows, before, seed),
    )


def _carried(
    predictor: Predictor, rows: Regional, before: NDArray[np.floating], seed: int
) -> Estimate | None:
    """Return how well parts carry answers; None where all rows are answered alike."""
    some = np.linspace(0, len(rows.labels) - 1, min(_PARTS, len(rows.labels))).astype(np.intp)
    asked = Lenders(rows.images[some], rows.regions[some], before[some])
    found = carried(predictor, asked, seed=seed)
    known = np.array([each is not None for each in found])
    if not known.any():
        return None
    values = np.array([each.reliance for each in found if each is not None])
    return resampling.estimate(
        mean_of(values),
        rows.drawn[:, some[known]],
        level=rows.level,
        observations=int(known.sum()),
    )


def _reliance(
    name: str, seen: Sequence[Effect], rows: Regional, right: NDArray[np.bool_]
) -> Reliance:
    """Return the flips of the right answers, and the shift of all."""
    directed = np.array([each.directed_flip is True for each in seen])
    suggested = np.array([each.directed_flip is not None for each in seen])
    shifts = np.array([each.probability_shift for each in seen])
    return Reliance(
        intervention=name,
        flip_rate=rows.share(np.array([each.flip for each in seen]), right),
        directed_flip_rate=rows.share(directed, right & suggested),
        probability_shift=rows.estimate(mean_of(shifts)),
    )


def _right(probabilities: NDArray[np.floating], rows: Regional) -> NDArray[np.bool_]:
    right: NDArray[np.bool_] = probabilities.argmax(axis=1) == rows.labels
    return right
