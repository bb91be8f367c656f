"""Is what a network answers what Rightly takes it for? Cheap tests before anything is served.

A network answers something plausible also where it was misunderstood: a softmax of probabilities,
a heatmap of tokens that lie nowhere in the image, a map of zeros. Each test here refuses one such
misunderstanding and says what to state instead.
"""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import backbones
from models.architectures import Classifier
from models.errors import ArchitectureError, ExportError
from models.explainers.gradcam import gradcam
from models.modes import evaluation_mode

_AT_MOST: Final = 8  # images
_ROUNDING: Final = 1e-4
_FAINTEST: Final = 1e-5  # of what a CAM's terms sum to without their signs
_WHITE: Final = 255.0


def check(classifier: Classifier, samples: NDArray[np.uint8]) -> None:
    """Refuse a classifier that answers nonsense, or whose explanations are none.

    Args:
        classifier: In any mode; it is left as found.
        samples: As it takes them, uint8 [M,H,W,3]; a few are used.

    Raises:
        ArchitectureError: If it cannot run on them, or answers no logits.
        ExportError: If its outputs are probabilities already, or its target layer explains
            nothing.
    """
    spread = np.linspace(0, len(samples) - 1, min(_AT_MOST, len(samples))).astype(np.intp)
    pixels = torch.from_numpy(samples[spread]).permute(0, 3, 1, 2).contiguous().float() / _WHITE
    with evaluation_mode(classifier):
        logits = answers(classifier, pixels)
        check_outputs(logits)
        _check_maps(classifier, pixels, logits)


def answers(classifier: Classifier, pixels: Tensor) -> Tensor:
    """Return the logits [N,K] of images [N,3,H,W] in [0,1], or say why there are none.

    Raises:
        ArchitectureError: If the network fails, or returns anything else.
    """
    spec = classifier.spec
    what = f"{spec.architecture} at {spec.preprocessing.height} x {spec.preprocessing.width}"
    try:
        with torch.no_grad():
            found: object = classifier.network(classifier.normalise(pixels))
    except Exception as error:  # whatever the user's own network raises is his to read
        channels = backbones.input_channels(classifier.network)
        raise ArchitectureError(
            f"{what}: the network, whose first convolution takes {channels} channels, fails on "
            f"its input: {type(error).__name__}: {error}"
        ) from error
    expected = (len(pixels), len(spec.classes))
    if not isinstance(found, Tensor):
        raise ArchitectureError(
            f"{what}: the network returns a {type(found).__name__}, expected one tensor of logits "
            f"{list(expected)}; let your factory return a module that picks it"
        )
    if tuple(found.shape) != expected:
        raise ArchitectureError(
            f"{what}: the network returns {list(found.shape)}, expected logits {list(expected)}"
        )
    if not bool(found.isfinite().all()):
        raise ArchitectureError(f"{what}: the network answers with numbers that are not finite")
    return found


def check_outputs(logits: Tensor) -> None:
    """Refuse outputs [N,K] that are probabilities already: a softmax of them would mislead.

    Raises:
        ExportError: If they are.
    """
    if not bool(((logits >= 0) & (logits <= 1)).all()):
        return
    if bool(((logits.sum(1) - 1).abs() < _ROUNDING).all()):
        raise ExportError(
            "the outputs are probabilities already (in 0..1, each row sums to 1): the network "
            "ends in a softmax; say --outputs probabilities, and it is taken off"
        )
    raise ExportError(
        "the outputs are probabilities already (in 0..1, but rows do not sum to 1): the network "
        "ends in a sigmoid for each output, and findings that do not exclude each other are not "
        "served here"
    )


def _check_maps(classifier: Classifier, pixels: Tensor, logits: Tensor) -> None:
    """Refuse a target layer whose class activation map is zero up to rounding on every image."""
    layer = classifier.spec.target_layer
    targets = torch.cat((logits.argmax(1), logits.argsort(1)[:, -2]))
    twice = torch.cat((pixels, pixels))
    forward = classifier.trace(twice)
    scores = forward.logits.gather(1, targets[:, None]).sum()
    (gradient,) = torch.autograd.grad(
        scores, forward.activation, retain_graph=True, allow_unused=True
    )
    if gradient is None:
        raise ExportError(
            f"no output depends on the target layer {layer!r}; name another by --target-layer"
        )
    cam = gradcam(classifier, twice, targets, forward=forward).attribution
    maps = classifier.grid(forward.activation.detach())
    slopes = classifier.grid(gradient).mean((2, 3), keepdim=True)
    if cam.shape[1:] != maps.shape[2:] or min(cam.shape[1:]) < 1:
        raise ExportError(f"the target layer {layer!r} gives no map; name another")
    # What the terms of the sum would amount to if none cancelled another.
    weight = (slopes.abs() * maps.abs()).sum(1).amax()
    scale = torch.maximum(weight, (classifier.grid(gradient).abs() * maps.abs()).sum(1).amax())
    if not float(cam.abs().amax()) > _FAINTEST * float(scale):
        raise ExportError(
            f"the class activation map of the target layer {layer!r} is zero on all samples, so "
            "it is no feature map that leads to the answer; name another by --target-layer"
        )
