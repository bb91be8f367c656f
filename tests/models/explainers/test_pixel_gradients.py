"""Input gradients and what is built on them, against differences and identities."""

import numpy as np
import pytest
import torch
from torch import Tensor

from models.architectures import Classifier
from models.errors import ExplainerError
from models.explainers.base import log_probability, logit
from models.explainers.gradient_x_input import gradient_x_input
from models.explainers.input_gradients import input_gradients
from models.explainers.integrated_gradients import integrated_gradients
from models.explainers.smoothgrad import smoothgrad
from tests import networks


def all_log_probabilities(logits: Tensor, _targets: Tensor) -> Tensor:
    return logits.log_softmax(1).sum(1)


@pytest.mark.parametrize("scalar", [log_probability, logit, all_log_probabilities])
def test_input_gradients_agree_with_finite_differences(scalar) -> None:
    classifier = networks.tiny(head="hidden")
    images, targets = networks.batch()
    step = 1e-6

    found = input_gradients(classifier, images, targets, scalar=scalar).attribution

    with torch.no_grad():
        for channel, row, column in np.ndindex(3, 8, 8):
            changed = images.clone()
            changed[:, channel, row, column] += step
            upper = scalar(classifier(changed), targets)
            changed[:, channel, row, column] -= 2 * step
            expected = (upper - scalar(classifier(changed), targets)) / (2 * step)
            assert torch.allclose(expected, found[:, channel, row, column], atol=1e-7)


def test_gradient_x_input_is_blind_to_black_pixels() -> None:
    images, targets = networks.batch()
    images[:, :, :4] = 0

    attribution = gradient_x_input(networks.tiny(), images, targets).attribution

    assert (attribution[:, :, :4] == 0).all()
    assert (attribution[:, :, 4:] != 0).any()


@pytest.mark.parametrize("grey", [0.0, 0.7])
def test_integrated_gradients_are_complete(grey: float) -> None:
    classifier = networks.tiny(head="hidden")
    images, targets = networks.batch()
    baseline = torch.full((1, 3, 1, 1), grey, dtype=images.dtype)

    attribution = integrated_gradients(
        classifier, images, targets, steps=2000, baseline=baseline
    ).attribution

    with torch.no_grad():
        empty = baseline.expand_as(images)
        expected = log_probability(classifier(images), targets) - log_probability(
            classifier(empty), targets
        )
    assert torch.allclose(expected, attribution.sum((1, 2, 3)), atol=2e-3)


def test_integrated_gradients_of_a_linear_classifier_need_one_step() -> None:
    classifier = linear_classifier()
    images, targets = networks.batch()

    one = integrated_gradients(classifier, images, targets, steps=1, scalar=logit).attribution

    expected = gradient_x_input(classifier, images, targets, scalar=logit).attribution
    assert torch.allclose(expected, one)


def linear_classifier() -> Classifier:
    """The tiny classifier moved to where all its ReLUs are open for every image."""
    classifier = networks.tiny()
    with torch.no_grad():
        for name in ("conv1", "conv2"):
            classifier.network.get_submodule(name).bias.fill_(1000)
        # A maximum is linear too if it is always of one pixel.
    classifier.network.pool = torch.nn.Identity()
    return classifier


def test_smoothgrad_is_the_mean_over_noisy_copies() -> None:
    classifier = networks.tiny(head="hidden")
    images, targets = networks.batch()
    generator = torch.Generator().manual_seed(5)

    found = smoothgrad(classifier, images, targets, samples=3, sigma=0.2, seed=5).attribution

    noisy = [
        images + 0.2 * torch.randn(images.shape[1:], generator=generator, dtype=images.dtype)
        for _ in range(3)
    ]
    expected = sum(input_gradients(classifier, each, targets).attribution for each in noisy) / 3
    assert torch.allclose(expected, found)


def test_smoothgrad_without_noise_is_the_input_gradient() -> None:
    classifier = networks.tiny()
    images, targets = networks.batch()

    found = smoothgrad(classifier, images, targets, samples=2, sigma=0).attribution

    assert torch.allclose(input_gradients(classifier, images, targets).attribution, found)


def test_smoothgrad_depends_on_its_seed_only() -> None:
    classifier = networks.tiny(head="hidden")
    images, targets = networks.batch()
    torch.manual_seed(1)
    first = smoothgrad(classifier, images, targets, seed=1).attribution
    torch.manual_seed(2)

    again = smoothgrad(classifier, images, targets, seed=1).attribution
    other = smoothgrad(classifier, images, targets, seed=2).attribution

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_empty_sums_are_refused() -> None:
    images, targets = networks.batch()

    with pytest.raises(ExplainerError, match="at least 1 sample"):
        smoothgrad(networks.tiny(), images, targets, samples=0)
    with pytest.raises(ExplainerError, match="at least 1 step"):
        integrated_gradients(networks.tiny(), images, targets, steps=0)


def test_second_derivatives_reach_the_first_layer() -> None:
    classifier = networks.tiny(head="hidden")
    images, targets = networks.batch()

    attribution = input_gradients(classifier, images, targets, create_graph=True).attribution
    (attribution**2).sum().backward()

    for name in ("conv1.weight", "conv2.weight", "hidden.weight", "fc.weight"):
        gradient = classifier.network.get_parameter(name).grad
        assert gradient is not None, name
        assert gradient.abs().sum() > 0, name
