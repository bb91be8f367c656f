"""Class activation maps against loops written as the papers' formulas read."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models import architectures
from models.architectures import Classifier
from models.explainers.base import Explainer
from models.explainers.gradcam import gradcam
from models.explainers.gradcam_plus_plus import gradcam_plus_plus
from models.explainers.hirescam import hirescam
from tests import networks

MAPS = (gradcam, gradcam_plus_plus, hirescam)


def above(classifier: Classifier, activation: Tensor) -> Tensor:
    """The part of the tiny network that follows its target layer."""
    names = [name for name, _ in classifier.network.named_children()]
    for name in names[names.index("relu2") + 1 :]:
        activation = classifier.network.get_submodule(name)(activation)
    return activation


def gradient_by_differences(classifier: Classifier, activation: Tensor, target: int) -> Tensor:
    """∂z_t/∂A, one entry of A at a time."""
    gradient = torch.zeros_like(activation)
    step = 1e-6
    for index in np.ndindex(*activation.shape):
        changed = activation.clone()
        changed[index] += step
        upper = above(classifier, changed[None])[0, target]
        changed[index] -= 2 * step
        gradient[index] = (upper - above(classifier, changed[None])[0, target]) / (2 * step)
    return gradient


def slow_gradcam(activation: Tensor, gradient: Tensor) -> Tensor:
    channels, rows, columns = activation.shape
    result = torch.zeros(rows, columns, dtype=activation.dtype)
    for k in range(channels):
        weight = sum(gradient[k, i, j] for i in range(rows) for j in range(columns))
        for i in range(rows):
            for j in range(columns):
                result[i, j] += weight / (rows * columns) * activation[k, i, j]
    return result


def slow_hirescam(activation: Tensor, gradient: Tensor) -> Tensor:
    channels, rows, columns = activation.shape
    result = torch.zeros(rows, columns, dtype=activation.dtype)
    for k in range(channels):
        for i in range(rows):
            for j in range(columns):
                result[i, j] += gradient[k, i, j] * activation[k, i, j]
    return result


def slow_gradcam_plus_plus(activation: Tensor, gradient: Tensor) -> Tensor:
    channels, rows, columns = activation.shape
    result = torch.zeros(rows, columns, dtype=activation.dtype)
    for k in range(channels):
        weight = 0.0
        for i in range(rows):
            for j in range(columns):
                g = float(gradient[k, i, j])
                denominator = 2 * g**2 + float(activation[k].sum()) * g**3
                if denominator:
                    weight += g**2 / denominator * max(g, 0)
        result += weight * activation[k]
    return result


@pytest.mark.parametrize("head", ["linear", "hidden"])
@pytest.mark.parametrize(
    ("fast", "slow"),
    [
        (gradcam, slow_gradcam),
        (hirescam, slow_hirescam),
        (gradcam_plus_plus, slow_gradcam_plus_plus),
    ],
)
def test_agrees_with_a_loop(fast: Explainer, slow: Explainer, head: str) -> None:
    classifier = networks.tiny(head=head)
    images, targets = networks.batch()
    with torch.no_grad():
        activations = classifier.trace(images).activation.detach()

    found = fast(classifier, images, targets).attribution

    with torch.no_grad():
        for activation, target, each in zip(activations, targets, found, strict=True):
            gradient = gradient_by_differences(classifier, activation, int(target))
            assert torch.allclose(slow(activation, gradient), each, atol=1e-7)


def test_gradcam_is_the_class_activation_map_behind_global_pooling() -> None:
    """CAM: the last layer's weights on the maps, divided by the number of positions."""
    classifier = networks.tiny()
    images, targets = networks.batch()
    weight = classifier.network.get_submodule("fc").weight[targets]

    expected = torch.einsum("nc,nchw->nhw", weight, classifier.trace(images).activation) / 16

    assert torch.allclose(expected, gradcam(classifier, images, targets).attribution)


def test_hirescam_sums_to_the_logit_without_its_bias() -> None:
    classifier = networks.tiny()
    images, targets = networks.batch()

    attribution, logits = hirescam(classifier, images, targets)

    biases = classifier.network.get_submodule("fc").bias[targets]
    expected = logits.gather(1, targets[:, None])[:, 0] - biases
    assert torch.allclose(expected, attribution.sum((1, 2)))


@pytest.mark.parametrize("explainer", MAPS)
def test_a_loss_trains_the_parameters_above_the_target_layer(explainer: Explainer) -> None:
    """A map with detached channel weights would leave these without a gradient."""
    classifier = networks.tiny(head="hidden")
    images, targets = networks.batch()

    attribution = explainer(classifier, images, targets, create_graph=True).attribution
    (attribution**2).sum().backward()

    for name in ("conv1.weight", "conv2.weight", "hidden.weight", "fc.weight"):
        gradient = classifier.network.get_parameter(name).grad
        assert gradient is not None, name
        assert gradient.abs().sum() > 0, name


@pytest.mark.parametrize("explainer", MAPS)
@pytest.mark.parametrize("create_graph", [True, False])
def test_reuses_a_forward_pass_that_stays_usable(
    explainer: Explainer, *, create_graph: bool
) -> None:
    classifier = networks.tiny(head="hidden")
    images, targets = networks.batch()
    forward = classifier.trace(images)

    reused = explainer(classifier, images, targets, forward=forward, create_graph=create_graph)

    expected = explainer(classifier, images, targets).attribution
    assert torch.allclose(expected, reused.attribution)
    forward.logits.sum().backward()
    assert classifier.network.get_parameter("conv1.weight").grad is not None


@pytest.mark.parametrize(
    ("explainer", "architecture"),
    [(gradcam, "vit_b_32"), (hirescam, "swin_t"), (gradcam_plus_plus, "swin_t")],
)
def test_maps_tokens_to_a_grid_with_second_derivatives(
    explainer: Explainer, architecture: str
) -> None:
    side = 64
    torch.manual_seed(0)
    spec = architectures.default_spec(architecture, networks.CLASSES, height=side)
    classifier = architectures.build(spec).eval()
    nn.init.normal_(classifier.get_submodule(f"network.{classifier._last_linear}").weight)
    images, targets = networks.batch(count=2, side=side)

    attribution = explainer(classifier, images.float(), targets, create_graph=True).attribution
    attribution.sum().backward()

    assert attribution.shape == (2, 2, 2)
    gradients = [each.grad for each in classifier.parameters() if each.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
