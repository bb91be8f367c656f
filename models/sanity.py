"""Does an explainer react to what was learnt? Its maps before and after the weights are random.

An explanation of what a network has learnt cannot stay the same when everything learnt is gone.
One that does shows the image (its edges, its dark parts), not the classifier. And where a map says
that the evidence lies, its loss must cost the answer more than the loss of another place.
"""

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from models.architectures import Classifier
from models.explainers import lrp
from models.explainers.base import Explainer
from models.explainers.gradcam import gradcam
from models.explainers.gradient_x_input import gradient_x_input
from models.explainers.input_gradients import input_gradients
from models.explainers.integrated_gradients import integrated_gradients
from models.explainers.smoothgrad import smoothgrad
from models.modes import evaluation_mode

# From this rank correlation on, an explainer counts as one that does not react.
UNMOVED: Final = 0.5
_IMAGES = 16
# Images of more pixels than this are dear: fewer of them are taken.
_SMALL, _FEW = 10_000, 4
_AXES = 4
_WHITE = 255.0
_DELETED = 0.2  # share of a map's cells


@dataclass(frozen=True, slots=True)
class Reaction:
    """How one explainer's maps change when the weights become random.

    Attributes:
        similarity: Mean Spearman correlation of the maps before and after, in [-1, 1]; near 0
            where the explainer shows what was learnt.
        images: How many images it is the mean of; those whose map is constant do not count.
        reacts: Whether the similarity is below `UNMOVED`.
        deletion: By how much more the probability of the answer falls as the hottest fifth of the
            map is painted over in the image than as the same shape elsewhere is, in [-1, 1].
    """

    similarity: float
    images: int
    reacts: bool
    deletion: float


def randomisation(
    classifier: Classifier, images: NDArray[np.uint8], *, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Compare each served explainer on the classifier with the same on random weights.

    Grad-CAM is compared signed, the maps of pixels by magnitude, summed over the colours, which is
    what a person sees. SmoothGrad and integrated gradients take fewer points than when served.

    Args:
        classifier: The trained classifier; it is left as found.
        images: As it takes them, uint8 [N,H,W,3]; at most 16 are used, 4 large ones.
        seed: Of the random weights.

    Returns:
        Name of the explainer → `Reaction` as plain values, for `cards.REACTIONS`; without one
        whose maps are constant.

    References:
        Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim (2018), "Sanity checks for saliency maps",
        section 3, the model parameter randomisation test with all layers at once. Petsiuk, Das,
        Saenko (2018), "RISE", section 4.2, deletion; ours is one step of it, against a control.
    """
    count = _IMAGES if images.shape[1] * images.shape[2] <= _SMALL else _FEW
    spread = np.linspace(0, len(images) - 1, min(count, len(images))).astype(np.intp)
    pixels = torch.from_numpy(images[spread]).permute(0, 3, 1, 2).contiguous().float() / _WHITE
    found = {}
    with evaluation_mode(classifier), torch.no_grad():
        targets = classifier(pixels).argmax(1)
        other = randomised(classifier, pixels, seed=seed)
    with evaluation_mode(classifier):
        for name, explainer in _served(classifier).items():
            before, after = (
                _maps(explainer, each, pixels, targets) for each in (classifier, other)
            )
            if (similar := _similarity(before, after)) is not None:
                mean, count = similar
                found[name] = asdict(
                    Reaction(
                        mean, count, mean < UNMOVED, deletion(classifier, pixels, targets, before)
                    )
                )
    return found


def deletion(
    classifier: Classifier, pixels: Tensor, targets: Tensor, maps: NDArray[np.floating]
) -> float:
    """Return how much more painting over what maps show costs than the same shape elsewhere.

    Args:
        classifier: In eval mode.
        pixels: Images [N,3,H,W] in [0,1].
        targets: The explained classes, [N].
        maps: Their maps, [N,h,w]; higher means more evidence.

    Returns:
        Mean difference of the falls of the targets' probabilities, in [-1, 1]; near 0 for maps
        that know nothing.
    """
    rows, columns = (
        torch.from_numpy(np.arange(size) * count // size)
        for size, count in zip(pixels.shape[2:], maps.shape[1:], strict=True)
    )
    ranked = torch.from_numpy(np.ascontiguousarray(maps)).flatten(1)
    hottest = ranked.topk(max(1, round(_DELETED * ranked.shape[1])), dim=1).indices
    cells = torch.zeros_like(ranked, dtype=torch.bool).scatter_(1, hottest, value=True)
    hot = cells.view(maps.shape)[:, rows][:, :, columns][:, None]
    paint = pixels.mean((2, 3), keepdim=True)
    height, width = pixels.shape[2:]
    shifts = [(height // 2, 0), (0, width // 2), (height // 2, width // 2)]
    elsewhere = [torch.roll(hot, shift, (2, 3)) for shift in shifts]
    with torch.no_grad():
        kept = [
            classifier(torch.where(mask, paint, pixels)).softmax(1).gather(1, targets[:, None])
            for mask in (hot, *elsewhere)
        ]
    return round(float((torch.stack(kept[1:]).mean(0) - kept[0]).mean()), 4)


def randomised(classifier: Classifier, pixels: Tensor, *, seed: int) -> Classifier:
    """Return a copy with random weights, in eval mode.

    Each parameter is drawn from the normal distribution with the mean and deviation of its trained
    values, so that activations keep their order of size; batch normalisation takes its statistics
    anew from `pixels`.
    """
    other = copy.deepcopy(classifier).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in other.parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            spread = parameter.std(unbiased=False)
            parameter.copy_(drawn * spread + parameter.mean())
        layers = [each for each in other.modules() if isinstance(each, _BatchNorm)]
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # the mean of what it sees
            layer.train()
        if layers:
            other(pixels)
        return other.eval()


def spearman(one: NDArray[np.floating], other: NDArray[np.floating]) -> float | None:
    """Return the rank correlation of two maps, ties ranked in the middle; None for a constant one.

    References:
        Spearman (1904), "The proof and measurement of association between two things".
    """
    first, second = _ranks(one), _ranks(other)
    spreads = float(first.std() * second.std())
    if spreads == 0.0:
        return None
    return float(((first - first.mean()) * (second - second.mean())).mean() / spreads)


def _served(classifier: Classifier) -> Mapping[str, Explainer]:
    served: dict[str, Any] = {
        "gradcam": gradcam,
        "input_gradients": input_gradients,
        "gradient_x_input": gradient_x_input,
        "smoothgrad": partial(smoothgrad, samples=4),
        "integrated_gradients": partial(integrated_gradients, steps=4),
    }
    return {**served, "lrp": lrp.lrp_epsilon} if lrp.covers(classifier) else served


def _maps(
    explainer: Explainer, classifier: Classifier, pixels: Tensor, targets: Tensor
) -> NDArray[np.float64]:
    attribution = explainer(classifier, pixels, targets).attribution
    if attribution.dim() == _AXES:
        attribution = attribution.abs().sum(1)
    maps: NDArray[np.float64] = attribution.double().numpy()
    return maps


def _similarity(
    before: NDArray[np.float64], after: NDArray[np.float64]
) -> tuple[float, int] | None:
    pairs = zip(before, after, strict=True)
    found = [each for one, other in pairs if (each := spearman(one, other)) is not None]
    if not found:
        return None
    return round(float(np.mean(found)), 4), len(found)


def _ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the rank of each value, equal ones sharing the middle of theirs."""
    _, inverse, counts = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    middles: NDArray[np.float64] = (ends - counts + ends - 1) / 2.0
    ranks: NDArray[np.float64] = middles[inverse.ravel()]
    return ranks
