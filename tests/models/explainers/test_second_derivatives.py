"""Our derivatives of convolution and frozen batch normalisation against torch's own."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from models.explainers.input_gradients import input_gradients
from models.explainers.second_derivatives import pixels_only, twice_differentiable
from tests import networks

_NETWORKS = {
    "plain": lambda: nn.Conv2d(3, 4, 3),
    "strided": lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1),
    "same padding": lambda: nn.Conv2d(3, 4, 3, padding="same", bias=False),
    "dilated": lambda: nn.Conv2d(3, 4, (3, 1), dilation=(2, 1), padding=(1, 0)),
    "depthwise": lambda: nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, groups=6)),
    "normalised": lambda: nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)),
    "normalised without parameters": lambda: nn.BatchNorm2d(3, affine=False),
    "normalised first": lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)),
}


def case(name: str) -> tuple[nn.Module, Tensor]:
    """Return a small network in eval mode with statistics of its own, and its input."""
    torch.manual_seed(0)
    network = nn.Sequential(_NETWORKS[name](), nn.Tanh()).double().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return network, torch.randn(2, 3, 7, 6, dtype=torch.float64)


def derivatives(name: str, *, ours: bool) -> list[Tensor]:
    """Return outputs, input gradient, and parameter gradients of a loss on that gradient."""
    network, inputs = case(name)
    pixels = inputs.requires_grad_()
    with twice_differentiable(pixels) if ours else nullcontext():
        outputs = network(pixels)
    weights = torch.linspace(-1, 1, outputs.numel(), dtype=torch.float64).view_as(outputs)
    with pixels_only():
        (gradient,) = torch.autograd.grad((weights * outputs).sum(), pixels, create_graph=True)
    (gradient.pow(3).sum() + outputs.pow(2).sum()).backward()
    assert all(each.grad is not None for each in network.parameters())
    return [outputs, gradient, *(each.grad for each in network.parameters())]  # type: ignore[misc]


@pytest.mark.parametrize("name", _NETWORKS)
def test_values_and_both_derivatives_equal_torchs(name: str) -> None:
    expected = derivatives(name, ours=False)

    for own, theirs in zip(derivatives(name, ours=True), expected, strict=True):
        assert torch.allclose(theirs, own, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", _NETWORKS)
def test_derivatives_of_third_order_equal_torchs(name: str) -> None:
    """What RBR needs: an input gradient of a parameter gradient, differentiated once more."""

    def third(*, ours: bool) -> list[Tensor]:
        network, inputs = case(name)
        learnt = list(network.parameters())
        pixels = (inputs + 0.0).requires_grad_()
        shifted = pixels * 1.5  # so that no pass begins with the leaf itself
        with twice_differentiable(torch.zeros(1).requires_grad_()) if ours else nullcontext():
            outputs = network(shifted)
        first = torch.autograd.grad(outputs.pow(3).sum(), [pixels, *learnt], create_graph=True)
        (second,) = torch.autograd.grad(
            sum(each.pow(2).sum() for each in first), pixels, create_graph=True
        )  # type: ignore[arg-type]
        return list(torch.autograd.grad(second.pow(2).sum(), [pixels, *learnt]))

    for own, theirs in zip(third(ours=True), third(ours=False), strict=True):
        assert torch.allclose(theirs, own, rtol=1e-9, atol=1e-11)


def test_the_weights_gradient_is_left_out_where_only_pixels_are_asked_for() -> None:
    network, inputs = case("plain")
    pixels = inputs.requires_grad_()
    with twice_differentiable(pixels):
        outputs = network(pixels)

    with pixels_only():
        outputs.sum().backward()

    assert pixels.grad is not None
    assert network[0].weight.grad is None


def test_the_pixels_gradient_is_left_out_where_a_loss_is_differentiated() -> None:
    network, inputs = case("plain")
    pixels = inputs.requires_grad_()
    with twice_differentiable(pixels):
        outputs = network((pixels - 0.5) / 0.25)

    outputs.sum().backward()

    assert pixels.grad is None
    assert network[0].weight.grad is not None


def test_a_learnt_scale_before_the_first_convolution_still_learns() -> None:
    network, inputs = case("plain")
    scale = torch.ones(1, dtype=torch.float64, requires_grad=True)
    pixels = inputs.requires_grad_()
    with twice_differentiable(pixels):
        outputs = network(pixels * scale)

    outputs.sum().backward()

    assert scale.grad is not None


def test_a_loss_on_input_gradients_reaches_the_whole_network_as_before() -> None:
    classifier = networks.residual().double()
    images, targets = (each[:2] for each in networks.batch(side=32))

    def gradients(*, create_graph_of_torch: bool) -> list[Tensor]:
        classifier.zero_grad()
        if create_graph_of_torch:
            pixels = images.double().requires_grad_()
            logits = classifier(pixels)
            score = logits.log_softmax(1).gather(1, targets[:, None]).sum()
            (found,) = torch.autograd.grad(score, pixels, create_graph=True)
        else:
            found = input_gradients(
                classifier, images.double(), targets, create_graph=True
            ).attribution
        found.pow(2).sum().backward()
        return [each.grad.clone() for each in classifier.parameters() if each.grad is not None]

    expected = gradients(create_graph_of_torch=True)

    found = gradients(create_graph_of_torch=False)
    assert len(expected) == len(found)
    for own, theirs in zip(found, expected, strict=True):
        assert torch.allclose(theirs, own, rtol=1e-8, atol=1e-12)
