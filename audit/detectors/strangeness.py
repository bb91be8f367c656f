"""How unlike the reference an image's embedding is: a distance, and how rare that distance was.

Everything is frozen when the model version is made and stored with its card: the reference mean,
the whitening, and the sorted strangeness of a calibration set that took no part in either.
"""

import io
import zipfile
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.errors import BaselineError, ObservationError

# The p value of a strange image is at best 1 / (calibration + 1); 2,000 and more find rare
# strangers early, fewer only frequent ones.
FEWEST = 200
# The calibration set is an estimate too: each p value is raised by this many of its standard
# errors, so that an unlucky set does not feed the detector with evidence that is none.
SLACK = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class StrangenessReference:
    """The frozen reference of one model version's embeddings.

    Attributes:
        mean: Mean embedding, float32 [features].
        whitening: Lower triangle W with |W(x - mean)| the Mahalanobis distance under the shrunk
            covariance, float32 [features, features].
        calibration: Strangeness of the calibration set, ascending, float64 [observations].
    """

    mean: NDArray[np.float32]
    whitening: NDArray[np.float32]
    calibration: NDArray[np.float64]

    @classmethod
    def fit(
        cls, reference: NDArray[np.floating], calibration: NDArray[np.floating]
    ) -> "StrangenessReference":
        """Return the reference of two disjoint sets of embeddings, each [observations, features].

        Raises:
            BaselineError: If the sets do not fit each other, are too small, or never vary.
        """
        if reference.ndim != 2 or calibration.shape[1:] != reference.shape[1:]:  # noqa: PLR2004
            raise BaselineError(
                f"embeddings of shapes {reference.shape} and {calibration.shape}; "
                "expected [observations, features] with the same features"
            )
        if min(len(reference), len(calibration)) < FEWEST:
            raise BaselineError(
                f"{len(reference)} reference and {len(calibration)} calibration embeddings; "
                f"at least {FEWEST} of each are needed"
            )
        mean = reference.mean(axis=0, dtype=np.float64)
        covariance = shrunk_covariance(reference)
        if not (np.isfinite(covariance).all() and np.trace(covariance) > 0.0):
            raise BaselineError("the reference embeddings never vary, or are not finite")
        whitening = np.linalg.inv(np.linalg.cholesky(covariance))
        frozen = cls(
            mean.astype(np.float32), whitening.astype(np.float32), np.empty(0, np.float64)
        )
        return cls(frozen.mean, frozen.whitening, np.sort(frozen.strangeness(calibration)))

    def strangeness(self, embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the Mahalanobis distance of each embedding, [observations], at least 0.

        Raises:
            ObservationError: If the embeddings have other features or are not finite.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != len(self.mean):  # noqa: PLR2004
            raise ObservationError(
                f"embeddings of shape {embeddings.shape}; "
                f"expected [observations, {len(self.mean)}]"
            )
        if not np.isfinite(embeddings).all():
            raise ObservationError("an embedding holds a value that is not finite")
        centred = embeddings.astype(np.float64) - self.mean
        distances: NDArray[np.float64] = np.linalg.norm(centred @ self.whitening.T, axis=1)
        return distances

    def p_values(self, strangeness: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how rare each strangeness was in the calibration set, in (0, 1].

        (number of calibration values at least as strange + 1) / (calibration values + 1), raised
        by half its standard error. Ties count as stranger, so the value is conservative.

        References:
            Vovk, Gammerman, Shafer (2005), "Algorithmic Learning in a Random World", conformal
            p values with a fixed calibration set.
        """
        size = len(self.calibration)
        below = np.searchsorted(self.calibration, strangeness, side="left")
        plain = (size - below + 1.0) / (size + 1.0)
        return np.minimum(1.0, plain + SLACK * np.sqrt(plain * (1.0 - plain) / size))

    def to_bytes(self) -> bytes:
        """Return the reference as NPZ, the artefact beside the model card."""
        buffer = io.BytesIO()
        np.savez(buffer, mean=self.mean, whitening=self.whitening, calibration=self.calibration)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "StrangenessReference":
        """Return the reference that `to_bytes` wrote.

        Raises:
            BaselineError: If the content is not such a reference.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                mean, whitening = arrays["mean"], arrays["whitening"]
                calibration = arrays["calibration"]
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise BaselineError(f"not a strangeness reference: {error}") from error
        features = len(mean)
        if whitening.shape != (features, features) or calibration.ndim != 1:
            raise BaselineError(
                f"a strangeness reference of shapes {mean.shape}, {whitening.shape}, "
                f"{calibration.shape} does not fit together"
            )
        return cls(mean, whitening, calibration)


def shrunk_covariance(embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the covariance, shrunk towards a multiple of the identity, [features, features].

    Invertible even with more features than observations. The amount of shrinkage minimises the
    expected squared error and is estimated from the sample itself.

    References:
        Ledoit, Wolf (2004), "A well-conditioned estimator for large-dimensional covariance
        matrices"; their m is `scale`, d² `spread`, b² `noise`.
    """
    centred = embeddings.astype(np.float64) - embeddings.mean(axis=0, dtype=np.float64)
    count, features = centred.shape
    sample = centred.T @ centred / count
    scale = float(np.trace(sample)) / features
    target = scale * np.eye(features)
    spread = float(((sample - target) ** 2).sum())
    # Mean over observations of |x xᵀ - S|², expanded so that no outer product is formed.
    fourth = float((np.square(centred).sum(axis=1) ** 2).mean())
    noise = (fourth - float((sample**2).sum())) / count
    weight = min(1.0, max(0.0, noise / spread)) if spread > 0.0 else 1.0
    shrunk: NDArray[np.float64] = weight * target + (1.0 - weight) * sample
    return shrunk
