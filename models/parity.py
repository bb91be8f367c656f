"""Does an exported graph answer as torch does? Checked on real images, before anything is served.

Probabilities and the scaled Grad-CAM are compared number by number. A gradient is compared by its
direction: where a ReLU's input is zero up to rounding, its gate is a matter of luck, and one gate
may change many pixels a little. The gradient of a certain answer is rounding itself (its
probability is 1 up to the last digits), so the runner-up class is explained as well.

How far single precision is from the truth depends on the network: a deep one with large inner
values loses more digits. So a graph that is out of the fixed tolerance is compared with torch in
float64, and may differ from it by what torch's own float32 differs, times `FACTOR`, per output.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from models.architectures import Classifier
from models.errors import ParityError
from models.explainers import lrp
from models.explainers.gradcam import gradcam
from models.explainers.input_gradients import input_gradients

Arrays = Mapping[str, NDArray[Any]]

FACTOR: Final = 4.0  # how many times torch's own rounding a graph may be from float64
MOST: Final = 1e-2  # beyond this, torch's own rounding excuses nothing
_LEAST_COSINE: Final = 0.9
_WHITE = 255.0
_CERTAIN = 1e-4  # closer to 1 than this, a probability's gradient is rounding
_FAINT = 1e-2  # a CAM is scaled by at least this share of its largest absolute value


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a graph may be from torch.

    Attributes:
        difference: Largest absolute difference of a probability, or of a CAM scaled to [0,1];
            of an embedding or logits, relative to the largest absolute value of the batch.
        cosine: Least cosine between two gradients of one image.
        share: Share of images whose gradient must reach it.
    """

    difference: float
    cosine: float
    share: float


FLOAT = Tolerance(difference=1e-4, cosine=0.999, share=0.95)
# Eleven bits of mantissa through some fifty layers.
HALF = Tolerance(difference=3e-2, cosine=0.98, share=0.9)


@dataclass(frozen=True, slots=True)
class Parity:
    """What the comparison found.

    Attributes:
        images: How many images were compared.
        half: Whether the graph computes in float16.
        tolerance: What was allowed.
        differences: Worst difference per output, named "graph.output".
        cosines: Per gradient output, the cosine that the required share of images reached.
        decided: Share of images whose most probable class is the same.
        grid: Rows and columns of the heatmap.
        rounding: Where float64 had to judge: how far torch's own float32 is from it, per output as
            in `differences` and `cosines`. All figures are then differences from float64.
    """

    images: int
    half: bool
    tolerance: Tolerance
    differences: Mapping[str, float]
    cosines: Mapping[str, float]
    decided: float
    grid: tuple[int, int]
    rounding: Mapping[str, float] = field(default_factory=dict)

    def allowed(self, name: str) -> float:
        """Return the largest difference, or the least cosine, that an output may have."""
        own = self.rounding.get(name)
        if name in self.cosines:
            usual = self.tolerance.cosine
            scaled = usual if own is None else 1 - FACTOR * (1 - own)
            return min(usual, max(scaled, _LEAST_COSINE))
        usual = self.tolerance.difference
        return usual if own is None else max(usual, min(FACTOR * own, MOST))

    def to_mapping(self) -> dict[str, Any]:
        """Return the parity as plain values for JSON."""
        return asdict(self)

    def failures(self) -> tuple[str, ...]:
        """Return one phrase for each output that is out of tolerance; empty when all agree."""
        far = [
            f"{name} differs by {value:.2g} (at most {self.allowed(name):.2g})"
            for name, value in self.differences.items()
            if not value <= self.allowed(name)  # NaN must fail
        ]
        astray = [
            f"{name} reaches a cosine of {value:.4f} on {self.tolerance.share:.0%} of the images "
            f"(at least {self.allowed(name):.4g})"
            for name, value in self.cosines.items()
            if not value >= self.allowed(name)
        ]
        undecided = [] if self.decided == 1 else [f"decided class: {self.decided:.1%} agree"]
        return (*far, *astray, *undecided)

    def require(self) -> None:
        """Refuse a graph that is out of tolerance.

        Raises:
            ParityError: Naming each output that differs, and by how much.
        """
        if failures := self.failures():
            precise = " in float64" if self.rounding else ""
            raise ParityError(
                f"the graph does not answer as torch{precise} does on {self.images} images: "
                + "; ".join(failures)
            )


def reference(
    classifier: Classifier, images: NDArray[np.uint8], target: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """Answer as both graphs should, in torch and the classifier's own precision, in eval mode.

    Args:
        classifier: The original, not what was traced.
        images: uint8 [N,H,W,3].
        target: Class to explain, -1 for the most probable one, [N].
    """
    shaped = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    pixels = shaped.to(classifier.mean.dtype) / _WHITE
    wanted = torch.from_numpy(target)
    forward = classifier.trace(pixels)
    logits = forward.logits.detach()
    explained = torch.where(wanted < 0, logits.argmax(1), wanted)
    cam = gradcam(classifier, pixels, explained, forward=forward).attribution
    gradient = input_gradients(classifier, pixels, explained).attribution
    answers = {
        "logits": logits,
        "probabilities": logits.softmax(1),
        "signed_cam": cam,
        "cam": cam.relu(),
        "embedding": forward.embedding.detach(),
        "explained": explained,
        "input_gradient": gradient.permute(0, 2, 3, 1) / _WHITE,
    }
    if lrp.covers(classifier):
        answers["lrp"] = lrp.lrp_epsilon(classifier, pixels, explained).attribution.sum(1)
    return {name: value.numpy() for name, value in answers.items()}


def compare(
    expected: Sequence[Arrays], graphs: Mapping[str, Sequence[Arrays]], *, half: bool
) -> Parity:
    """Compare what graphs answered with what torch answers.

    Args:
        expected: Per batch, the answers of `reference`.
        graphs: Per graph name, per batch, its outputs.
        half: Whether the graphs compute in float16.
    """
    tolerance = HALF if half else FLOAT
    differences: dict[str, float] = {}
    cosines: dict[str, float] = {}
    for graph, batches in graphs.items():
        for output in batches[0]:
            pairs = list(zip(expected, batches, strict=True))
            if output in {"input_gradient", "lrp"}:
                found = np.concatenate([_cosines(want, got, output) for want, got in pairs])
                cosines[f"{graph}.{output}"] = float(np.quantile(found, 1 - tolerance.share))
            elif output != "explained":
                worst = [_difference(want, got, output) for want, got in pairs]
                differences[f"{graph}.{output}"] = float(np.max(worst))
    decided = [
        _decided(want, got, tolerance)
        for batches in graphs.values()
        for want, got in zip(expected, batches, strict=True)
    ]
    return Parity(
        images=sum(len(batch["logits"]) for batch in expected),
        half=half,
        tolerance=tolerance,
        differences=differences,
        cosines=cosines,
        decided=float(np.mean(np.concatenate(decided))),
        grid=(expected[0]["cam"].shape[1], expected[0]["cam"].shape[2]),
    )


def by_scale(
    precise: Sequence[Arrays],
    expected: Sequence[Arrays],
    graphs: Mapping[str, Sequence[Arrays]],
) -> Parity:
    """Compare graphs with torch in float64, beside how far torch's own float32 is from it.

    Args:
        precise: Per batch, the answers of `reference` in float64.
        expected: Likewise in float32.
        graphs: Per graph name, per batch, its outputs.
    """
    own: dict[str, Sequence[Arrays]] = {
        name: [
            {output: want[output] for output in batch}
            for want, batch in zip(expected, batches, strict=True)
        ]
        for name, batches in graphs.items()
    }
    rounding = compare(precise, own, half=False)
    found = compare(precise, graphs, half=False)
    return replace(found, rounding={**rounding.differences, **rounding.cosines})


def _difference(want: Arrays, got: Arrays, output: str) -> float:
    difference = np.abs(want[output] - got[output])
    if output == "probabilities":
        return float(difference.max())
    if output == "cam":
        brightest = want["cam"].max((1, 2))
        faintest = _FAINT * np.abs(want["signed_cam"]).max((1, 2))
        scale = np.maximum(np.maximum(brightest, faintest), np.finfo(np.float32).tiny)
        return float((difference / scale[:, None, None]).max())
    return float(difference.max() / max(float(np.abs(want[output]).max()), 1e-6))


def _cosines(want: Arrays, got: Arrays, output: str) -> NDArray[np.float64]:
    """Return one cosine per image whose answer is not certain; 1 where both are zero."""
    left, right = (
        each[output].reshape(len(each[output]), -1).astype(np.float64) for each in (want, got)
    )
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosines = (left * right).sum(1) / np.maximum(lengths, np.finfo(np.float64).tiny)
    cosines[(left == right).all(1)] = 1.0
    rows = np.arange(len(left))
    probability = want["probabilities"][rows, want["explained"]]
    meaningful = (1 - probability > _CERTAIN) | (output != "input_gradient")
    kept: NDArray[np.float64] = cosines[meaningful]
    return kept if len(kept) else np.ones(1)


def _decided(want: Arrays, got: Arrays, tolerance: Tolerance) -> NDArray[np.bool_]:
    """Tell per image whether the same class is most probable, up to a tie within tolerance."""
    rows = np.arange(len(want["logits"]))
    chosen = want["probabilities"][rows, got["probabilities"].argmax(1)]
    lost = want["probabilities"].max(1) - chosen
    tie = tolerance.difference if tolerance is HALF else np.finfo(np.float32).eps
    same: NDArray[np.bool_] = lost <= tie
    return same
