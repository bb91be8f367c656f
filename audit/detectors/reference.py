"""What a stream looked like when all was well: frozen, never learnt from traffic."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.errors import BaselineError

# Fewer observations do not tell a mean and its error.
FEWEST = 30


@dataclass(frozen=True, slots=True)
class Reference:
    """Mean and spread of a measure on the reference set of a model version.

    Attributes:
        mean: Mean of the measure.
        deviation: Standard deviation of the measure, at least 0.
        observations: How many it was measured on.
    """

    mean: float
    deviation: float
    observations: int

    @classmethod
    def of(cls, values: Sequence[float] | NDArray[np.floating]) -> "Reference":
        """Return the reference that `values` describe.

        Raises:
            BaselineError: If there are fewer than 30, or one is not a finite number.
        """
        sample = np.asarray(values, np.float64).ravel()
        if sample.size < FEWEST or not np.isfinite(sample).all():
            raise BaselineError(
                f"{sample.size} values for a reference; at least {FEWEST} finite ones are needed"
            )
        return cls(float(sample.mean()), float(sample.std(ddof=1)), sample.size)

    @property
    def standard_error(self) -> float:
        """Standard error of the mean."""
        return self.deviation / math.sqrt(self.observations)

    def mirrored(self) -> "Reference":
        """Return the reference of 1 - x, for watching the other side."""
        return Reference(1.0 - self.mean, self.deviation, self.observations)
