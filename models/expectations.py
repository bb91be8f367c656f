"""Does a classifier answer as its owner saw it answer? And if not, what was misunderstood?

Weights say nothing of colour order, normalisation or resizing, and a network answers plausibly
with the wrong ones. Its owner's own predictions on his own images tell; where they differ, what
people most often do otherwise is tried in its place, one thing and then two.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from models import presets
from models.architectures import Classifier
from models.errors import ExportError
from models.modes import evaluation_mode
from models.preprocessing import prepare
from models.types import Channels, ClassifierSpec, Preprocessing

Rows = NDArray[np.float64]

TOLERANCE: Final = 0.01
_TRIED_ON: Final = 12  # images
_BATCH: Final = 16
_WHITE: Final = 255.0
_NORMALISING: Final = ("googlenet", "inception")
_SUM: Final = 0.02  # how far rounded probabilities may sum from one


@dataclass(frozen=True, slots=True)
class Expected:
    """What the owner's own code answered.

    Attributes:
        images: The images, RGB uint8 [h,w,3] each, of any size.
        probabilities: Per image and class, [M,K]; None where only classes are known.
        decided: Index of the class per image, [M].
    """

    images: Sequence[NDArray[np.uint8]]
    probabilities: Rows | None
    decided: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far our answers are from those expected.

    Attributes:
        images: How many were compared.
        difference: Largest difference of a probability; of classes, the share that differs.
    """

    images: int
    difference: float


@dataclass(frozen=True, slots=True)
class _Change:
    """One thing that the owner may have done otherwise."""

    kind: str
    option: str
    preprocessing: Preprocessing


def expected(values: Rows, images: Sequence[NDArray[np.uint8]]) -> Expected:
    """Return expectations from numbers per class: probabilities, or logits.

    Args:
        values: [M,K]; taken for probabilities where all lie in 0..1 and each row sums to 1.
        images: M images.
    """
    sums = np.abs(values.sum(1) - 1)
    are_probabilities = bool(((values >= 0) & (values <= 1)).all() and (sums < _SUM).all())
    found = values if are_probabilities else _softmax(values)
    return Expected(images, found, values.argmax(1))


def check(
    classifier: Classifier, wanted: Expected, *, tolerance: float = TOLERANCE, source: str = ""
) -> Agreement:
    """Compare a classifier with its owner's predictions.

    Args:
        classifier: It is left as found.
        wanted: His predictions.
        tolerance: Largest difference of a probability; of classes, the share that may differ.
        source: How to call the predictions in an error.

    Raises:
        ExportError: If they differ by more; names the likeliest cause.
    """
    with evaluation_mode(classifier):
        found = Agreement(
            len(wanted.images), _difference(_answers(classifier, wanted.images), wanted)
        )
        if found.difference <= tolerance:
            return found
        cause = _cause(classifier, _part(wanted), tolerance)
    measure = "probability differs by" if wanted.probabilities is not None else "class differs in"
    raise ExportError(
        f"not as in {source}: on {found.images} images a {measure} up to {found.difference:.3g} "
        f"(at most {tolerance:.3g}); {cause}"
    )


def _cause(classifier: Classifier, wanted: Expected, tolerance: float) -> str:
    said = _outputs(classifier, wanted, tolerance)
    if said:
        return said
    changes = list(_changes(classifier.spec))
    # Rounded, so that of equal ones the likelier counts, which stands first.
    tried = [(round(_under(classifier, [each], wanted), 6), each) for each in changes]
    single = sorted(tried, key=lambda pair: pair[0])
    best, change = single[0]
    if best <= tolerance:
        return f"they agree (to {best:.2g}) with {change.option}: {change.kind}"
    likely = [each for _, each in single[:6]]
    pairs = [
        (_under(classifier, [one, two], wanted), f"{one.option} {two.option}", one, two)
        for one, two in combinations(likely, 2)
        if one.kind != two.kind
    ]
    pairs.sort(key=lambda each: each[0])
    if pairs and pairs[0][0] <= tolerance:
        found, options, one, two = pairs[0]
        return f"they agree (to {found:.2g}) with {options}: {one.kind} and {two.kind}"
    return (
        f"none of {len(changes)} other ways to prepare images, nor two of them, explains it "
        f"(nearest: {change.option}, to {best:.2g}); are these the weights that answered?"
    )


def _outputs(classifier: Classifier, wanted: Expected, tolerance: float) -> str:
    """Return what is the matter where the inputs are right and the outputs were read otherwise."""
    if wanted.probabilities is None:
        return ""
    logits = _logits(classifier, wanted.images)
    ours = _softmax(logits)
    if _far(_softmax(ours), wanted.probabilities) <= tolerance:
        return "they are a softmax of probabilities: a softmax was applied twice there"
    if _far(logits, wanted.probabilities) <= tolerance:
        return (
            "the network's outputs are these probabilities already, and a softmax was applied "
            "twice here: --outputs probabilities"
        )
    if _far(np.sort(ours, 1), np.sort(wanted.probabilities, 1)) <= tolerance:
        return "the same numbers stand at other classes: the order of --classes is another one"
    return ""


def _changes(spec: ClassifierSpec) -> Iterator[_Change]:
    known = spec.preprocessing
    if known.transform_input or spec.architecture.startswith(_NORMALISING):
        word = "--no-transform-input" if known.transform_input else "--transform-input"
        other = replace(known, transform_input=not known.transform_input)
        yield _Change("transform_input", word, other)
    order: Channels = "rgb" if known.channels == "bgr" else "bgr"
    if not known.channels.startswith("grey"):
        other = replace(known, channels=order)
        yield _Change("the order of the channels", f"--channels {order}", other)
        grey = replace(known, channels="grey_rgb")
        yield _Change("the colours", "--channels grey_rgb", grey)
    for words, mean, std in _normalisations():
        if (mean, std) != (known.mean, known.std):
            changed = replace(known, mean=mean, std=std)
            yield _Change("the normalisation", words, changed)
    yield from _fits(known)
    for filtered in ("bilinear", "bicubic", "lanczos", "nearest"):
        if filtered != known.interpolation:
            other = replace(known, interpolation=filtered)
            yield _Change("the filter of resizing", f"--interpolation {filtered}", other)
    word = "--no-antialias" if known.antialias else "--antialias"
    yield _Change("antialiasing", word, replace(known, antialias=not known.antialias))


def _normalisations() -> Iterator[tuple[str, presets.Three, presets.Three]]:
    zero, one = (0.0,) * 3, (1.0,) * 3
    yield "--mean 0 --std 1", zero, one
    yield "--mean 0.5 --std 0.5", presets.HALF, presets.HALF
    mean, std = (
        ",".join(map(str, each)) for each in (presets.IMAGENET_MEAN, presets.IMAGENET_STD)
    )
    yield f"--mean {mean} --std {std}", presets.IMAGENET_MEAN, presets.IMAGENET_STD
    white = 1 / 255
    yield "--mean 0 --std 1 --value-range 0,255", zero, (white,) * 3
    caffe = "--mean 103.939,116.779,123.68 --std 1 --value-range 0,255"
    yield caffe, (103.939 / 255, 116.779 / 255, 123.68 / 255), (white,) * 3


def _fits(known: Preprocessing) -> Iterator[_Change]:
    kind = "the resize rule"
    plain = replace(known, resize=None, crop_fraction=1.0)
    if known.fit != "stretch":
        yield _Change(kind, "--fit stretch", replace(plain, fit="stretch"))
    yield _Change(kind, "--fit letterbox", replace(plain, fit="letterbox"))
    smaller = min(known.height, known.width)
    for side in (smaller, round(smaller * 256 / 224), round(smaller * 232 / 224)):
        changed = replace(plain, fit="crop", resize=side)
        if changed != known:
            yield _Change(kind, f"--fit crop --resize {side}", changed)


def _under(classifier: Classifier, changes: Sequence[_Change], wanted: Expected) -> float:
    """Return how far the answers would be if the owner had done these things otherwise."""
    known = made = classifier.spec.preprocessing
    for each in changes:
        there = each.preprocessing
        fields = {
            name: getattr(there, name)
            for name in Preprocessing.__dataclass_fields__
            if getattr(there, name) != getattr(known, name)
        }
        made = replace(made, **fields)
    other = Classifier(replace(classifier.spec, preprocessing=made), classifier.network).eval()
    return _difference(_answers(other, wanted.images), wanted)


def _part(wanted: Expected) -> Expected:
    rows = np.linspace(0, len(wanted.images) - 1, min(_TRIED_ON, len(wanted.images)))
    chosen = np.unique(rows.astype(np.intp))
    return Expected(
        [wanted.images[row] for row in chosen],
        None if wanted.probabilities is None else wanted.probabilities[chosen],
        wanted.decided[chosen],
    )


def _difference(ours: Rows, wanted: Expected) -> float:
    if wanted.probabilities is None:
        return float((ours.argmax(1) != wanted.decided).mean())
    return _far(ours, wanted.probabilities)


def _far(one: Rows, other: Rows) -> float:
    return float(np.abs(one - other).max())


def _answers(classifier: Classifier, images: Sequence[NDArray[np.uint8]]) -> Rows:
    return _softmax(_logits(classifier, images))


def _logits(classifier: Classifier, images: Sequence[NDArray[np.uint8]]) -> Rows:
    size, rows = classifier.spec.preprocessing, []
    for start in range(0, len(images), _BATCH):
        batch = np.stack([prepare(each, size) for each in images[start : start + _BATCH]])
        pixels = torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous().float() / _WHITE
        with torch.no_grad():
            rows.append(classifier(pixels).double().numpy())
    found: Rows = np.concatenate(rows)
    return found


def _softmax(values: Rows) -> Rows:
    raised = np.exp(values - values.max(1, keepdims=True))
    found: Rows = raised / raised.sum(1, keepdims=True)
    return found
