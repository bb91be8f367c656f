"""Sequential detectors: each says when a measure has changed, with a stated false-alarm rate."""

from audit.detectors.base import Detector
from audit.detectors.conformal import ConformalESR
from audit.detectors.cusum import Cusum
from audit.detectors.esr import MixtureESR

ALL: tuple[type[Detector], ...] = (MixtureESR, Cusum, ConformalESR)
