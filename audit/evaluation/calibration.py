"""Calibration: does a probability of 0.8 mean right in four of five?"""

import numpy as np
from numpy.typing import NDArray

from audit.evaluation.resampling import Statistic

BINS = 15


def calibration_error(
    confidence: NDArray[np.floating], correct: NDArray[np.bool_], bins: int = BINS
) -> Statistic:
    """Return the expected calibration error: Σ_b n_b/n · |accuracy_b - confidence_b|.

    Args:
        confidence: Top probability per row, in [0, 1].
        correct: Whether the top class is right.
        bins: Number of equally wide bins.

    References:
        Guo, Pleiss, Sun, Weinberger (2017), "On calibration of modern neural networks", equation
        3.
    """
    bin_of = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    surplus = correct.astype(np.float64) - confidence.astype(np.float64)

    def statistic(times: NDArray[np.int64]) -> float:
        total = times.sum()
        if not total:
            return float("nan")
        # n_b · |acc_b - conf_b| is the magnitude of the bin's summed surplus.
        return float(np.abs(np.bincount(bin_of, weights=times * surplus)).sum() / total)

    return statistic
