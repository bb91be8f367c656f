"""Paired bootstrap: both models on the same resampled rows, so that what is hard for both cancels.

Whole units are drawn (all rows of one image or subject together), and every measure of a
comparison uses the same draws.

References:
    Efron, Tibshirani (1993), "An introduction to the bootstrap", sections 8.3 and 16.4.
    Bonett, Price (2012), "Adjusted Wald confidence interval for a difference of binomial
    proportions based on paired data": one imaginary win and one imaginary loss, so that an
    interval has width also where the two models never differ.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.intervals import Estimate

RESAMPLES = 2000
BINS = 10
_CELLS = 8_000_000  # of one block of draws: 64 MB


@dataclass(frozen=True, slots=True)
class Draws:
    """Which units are drawn, made again from the seed block by block.

    Attributes:
        units: Unit of each row, int64 [N].
        seed: Of the draws.
        resamples: How many.
        level: Confidence level of the two-sided intervals; each end is a one-sided bound at
            (1 + level) / 2.
    """

    units: NDArray[np.int64]
    seed: int
    resamples: int = RESAMPLES
    level: float = 0.9

    def mean(
        self, values: NDArray[np.floating], rows: NDArray[np.bool_], *, imaginary: float = 0.0
    ) -> Estimate:
        """Return the mean of `values` over `rows`.

        Args:
            values: One per row, float [N].
            rows: Which count, bool [N]; at least one.
            imaginary: Size of one win and one loss that are added, as if each were a unit.
        """
        drawn, total, count = self._sums(values, rows)
        real = int(rows.sum())
        if imaginary:
            total = np.append(total, [imaginary, -imaginary])
            count = np.append(count, [1.0, 1.0])
        means = np.concatenate(
            [total[block].sum(axis=1) / count[block].sum(axis=1) for block in drawn(len(total))]
        )
        low, high = self._ends(means)
        return Estimate(float(total.sum() / count.sum()), low, high, real, self.level)

    def rate_difference(
        self,
        ours: tuple[NDArray[np.floating], NDArray[np.bool_]],
        theirs: tuple[NDArray[np.floating], NDArray[np.bool_]],
    ) -> Estimate:
        """Return the difference of two rates, each of its own rows, ours minus theirs.

        One unit more has it for us alone, and one for them alone, so that the interval has width
        also where both are 0.

        Args:
            ours: One value per row, float [N], and which rows count, bool [N]; at least one.
            theirs: Likewise.
        """
        _, index = np.unique(self.units, return_inverse=True)
        totals, counts = (
            np.stack([np.bincount(index, weights) for weights in each])
            for each in (
                [np.where(rows, values, 0.0) for values, rows in (ours, theirs)],
                [rows.astype(np.float64) for _, rows in (ours, theirs)],
            )
        )
        kept = counts.any(axis=0)
        totals = np.concatenate([totals[:, kept], np.eye(2)], axis=1)
        counts = np.concatenate([counts[:, kept], np.ones((2, 2))], axis=1)
        blocks = _Blocks(self.seed, self.resamples)(counts.shape[1])
        rates = np.concatenate(
            [
                totals[:, block].sum(axis=2) / np.maximum(counts[:, block].sum(axis=2), 1.0)
                for block in blocks
            ],
            axis=1,
        )
        value = totals.sum(axis=1) / counts.sum(axis=1)
        low, high = self._ends(rates[0] - rates[1])
        seen = int((ours[1] | theirs[1]).sum())
        return Estimate(float(value[0] - value[1]), low, high, seen, self.level)

    def calibration_difference(
        self,
        ours: tuple[NDArray[np.floating], NDArray[np.floating]],
        theirs: tuple[NDArray[np.floating], NDArray[np.floating]],
    ) -> Estimate:
        """Return the difference of two expected calibration errors, ours minus theirs.

        Args:
            ours: Confidence and correctness per row, float [N] each.
            theirs: Likewise.

        References:
            Guo, Pleiss, Sun, Weinberger (2017), "On calibration of modern neural networks",
            equation (3).
        """
        rows = np.ones(len(self.units), bool)
        drawn, _, count = self._sums(np.zeros(len(rows)), rows)
        parts = [self._surplus(*each) for each in (ours, theirs)]

        def error(block: NDArray[np.int64], surplus: NDArray[np.float64]) -> NDArray[np.float64]:
            summed: NDArray[np.float64] = np.abs(surplus[block].sum(axis=1)).sum(axis=1)
            errors: NDArray[np.float64] = summed / count[block].sum(axis=1)
            return errors

        spread = np.concatenate(
            [
                error(block, parts[0]) - error(block, parts[1])
                for block in drawn(len(count) * BINS, len(count))
            ]
        )
        once = np.arange(len(count))[None]
        value = float((error(once, parts[0]) - error(once, parts[1]))[0])
        low, high = self._ends(spread)
        return Estimate(value, low, high, len(rows), self.level)

    def calibration_error(
        self, confidence: NDArray[np.floating], correct: NDArray[np.floating]
    ) -> float:
        """Return the expected calibration error of one model over all rows, in [0, 1]."""
        surplus = self._surplus(confidence, correct).sum(axis=0)
        return float(np.abs(surplus).sum() / len(self.units))

    def _surplus(
        self, confidence: NDArray[np.floating], correct: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Return the summed correctness minus confidence per unit and bin, [units, BINS]."""
        _, index = np.unique(self.units, return_inverse=True)
        bins = np.minimum((np.asarray(confidence) * BINS).astype(np.int64), BINS - 1)
        table = np.zeros((int(index.max()) + 1, BINS))
        np.add.at(table, (index, bins), np.asarray(correct) - np.asarray(confidence))
        return table

    def _sums(
        self, values: NDArray[np.floating], rows: NDArray[np.bool_]
    ) -> tuple["_Blocks", NDArray[np.float64], NDArray[np.float64]]:
        """Return the draws, and sum and count per unit that has a row."""
        _, index = np.unique(self.units[rows], return_inverse=True)
        total = np.bincount(index, np.asarray(values, np.float64)[rows]).astype(np.float64)
        count = np.bincount(index).astype(np.float64)
        return _Blocks(self.seed, self.resamples), total, count

    def _ends(self, spread: NDArray[np.float64]) -> tuple[float, float]:
        tail = (1 - self.level) / 2
        low, high = np.quantile(spread, [tail, 1 - tail])
        return float(low), float(high)


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Draws with replacement of a fixed seed."""

    seed: int
    resamples: int

    def __call__(self, width: int, units: int = 0) -> Iterator[NDArray[np.int64]]:
        """Yield blocks of resamples, each the drawn units, int64 [resamples, units].

        Args:
            width: Numbers that the caller gathers for each resample.
            units: How many there are; `width` where 0.
        """
        count = units or width
        draw = np.random.default_rng([self.seed, count])
        size = max(1, _CELLS // width)
        for start in range(0, self.resamples, size):
            yield draw.integers(0, count, (min(size, self.resamples - start), count))
