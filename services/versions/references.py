"""What a model's card says about its reference set, for the auditor's detectors.

In the card: `measures["reference"] = {measure: {class: [mean, deviation, observations]}}`, with
the class "" for all classes together, and under "class_mix" each class's share; beside the card:
`strangeness.safetensors`. `services.versions.baselines` writes both.
"""

import logging
from dataclasses import dataclass, field

import safetensors.numpy
from safetensors import SafetensorError

from audit.detectors.family import Series
from audit.detectors.reference import FEWEST, Reference
from audit.detectors.strangeness import StrangenessReference
from models.errors import RegistryError
from models.registry import Registry, Version

LOG = logging.getLogger("rightly.auditor")
FIELD = "reference"
CLASS_MIX = "class_mix"
_NOT_OF_PEOPLE = frozenset({"segmenter", "template"})
STRANGENESS_FILE = "strangeness.safetensors"


@dataclass(slots=True)
class CardReferences:
    """References from the cards of a registry; versions never change, so each is read once.

    Attributes:
        registry: Where the versions are.
    """

    registry: Registry
    _versions: dict[tuple[str, int], Version | None] = field(default_factory=dict)
    _strangeness: dict[tuple[str, int], StrangenessReference | None] = field(default_factory=dict)

    def reference(self, series: Series) -> Reference | None:
        """Return the reference of a series; None where the card has none.

        The card's reference is from regions that people drew. A segmenter or a template draws
        others, so theirs comes from the first live answers.
        """
        if series.source in _NOT_OF_PEOPLE:
            return None
        version = self._version(series.model, series.version)
        if version is None:
            return None
        stated = version.card.fields.measures.get(FIELD)
        by_class = stated.get(series.measure) if isinstance(stated, dict) else None
        numbers = by_class.get(series.class_label) if isinstance(by_class, dict) else None
        return _reference(numbers)

    def strangeness(self, model: str, version: int) -> StrangenessReference | None:
        """Return the reference of the embeddings; None where the version has none."""
        key = (model, version)
        if key not in self._strangeness:
            found = self._version(model, version)
            self._strangeness[key] = _strangeness(found) if found else None
        return self._strangeness[key]

    def _version(self, model: str, number: int) -> Version | None:
        key = (model, number)
        if key not in self._versions:
            try:
                self._versions[key] = self.registry.version(model, number)
            except RegistryError as error:
                LOG.warning("%s/%s has no card to compare with: %s", model, number, error)
                self._versions[key] = None
        return self._versions[key]


def class_counts(version: Version) -> dict[str, float] | None:
    """Return how often each class was decided on the reference set; None where the card is silent.

    A card from before "class_mix" was written counts where it names every class.
    """
    stated = version.card.fields.measures.get(FIELD)
    if not isinstance(stated, dict):
        return None
    classes = version.card.spec.classes
    mix = stated.get(CLASS_MIX)
    by_class = mix if isinstance(mix, dict) else stated.get("confidence")
    if not isinstance(by_class, dict) or (mix is None and not set(classes) <= by_class.keys()):
        return None
    found = {label: _observations(by_class.get(label)) for label in classes}
    return found if sum(found.values()) else None


def _observations(numbers: object) -> float:
    match numbers:
        case [_, _, int() as observations] if observations > 0:
            return float(observations)
        case _:
            return 0.0


def _reference(numbers: object) -> Reference | None:
    match numbers:
        case [float() | int() as mean, float() | int() as deviation, int() as observations]:
            usable = 0.0 <= mean <= 1.0 and deviation >= 0.0 and observations >= FEWEST
            return Reference(float(mean), float(deviation), observations) if usable else None
        case _:
            return None


def _strangeness(version: Version) -> StrangenessReference | None:
    path = version.folder / STRANGENESS_FILE
    if not path.exists():
        return None
    try:
        tensors = safetensors.numpy.load(path.read_bytes())
        mean, whitening = tensors["mean"], tensors["whitening"]
        reference = StrangenessReference(mean, whitening, tensors["calibration"])
    except (SafetensorError, KeyError) as error:
        LOG.warning("%s: %s", path, error)
        return None
    fits = mean.ndim == reference.calibration.ndim == 1 and whitening.shape == (len(mean),) * 2
    return reference if fits else None


def strangeness_bytes(reference: StrangenessReference) -> bytes:
    """Return the content of `STRANGENESS_FILE`."""
    return safetensors.numpy.save(
        {
            "mean": reference.mean,
            "whitening": reference.whitening,
            "calibration": reference.calibration,
        }
    )
