"""LRP-ε against the textbook's sums, conservation, and gradient x input in its limit."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from models import architectures
from models.architectures import Classifier
from models.errors import ExplainerError
from models.explainers.base import logit
from models.explainers.lrp import covers, lrp_epsilon
from models.types import ClassifierSpec
from tests import networks

COVERED = (
    "small_cnn",
    "efficientnet_lite0",
    "alexnet",
    "densenet121",
    "googlenet",
    "inception_v3",
    "mnasnet0_5",
    "mobilenet_v2",
    "regnet_x_400mf",
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "shufflenet_v2_x0_5",
    "vgg11",
    "vgg11_bn",
)
UNCOVERED = {
    "convnext_tiny": "layer_norm in module 'features.0.1'",
    "efficientnet_b0": "silu in module 'features.0.2'",
    "mobilenet_v3_small": "hardswish in module 'features.0.2'",
    "regnet_y_400mf": "sigmoid in module 'trunk_output.block1.block1-0.f.se.scale_activation'",
    "vit_b_32": "module",
}


class Wrapped(nn.Module):
    """Any forward function around a linear layer, as a user may write it."""

    def __init__(self, forward) -> None:
        super().__init__()
        self.body = nn.Flatten()
        self.fc = nn.Linear(3 * 8 * 8, 3)
        self.run = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.run(self.body(x)))


def classifier_of(network: nn.Module, target_layer: str) -> Classifier:
    spec = ClassifierSpec("own", networks.CLASSES, networks.preprocessing(), target_layer)
    return Classifier(spec, network).double().eval()


def test_agrees_with_the_textbooks_sums() -> None:
    """R_i = Σ_j a_i w_ij / (z_j + ε) R_j, term by term, from the logit down to the pixels.

    The normalisation is the lowest layer: it scales a pixel by 1/σ, and its shift takes the rest.
    """
    torch.manual_seed(0)
    layers = [nn.Linear(192, 7), nn.Linear(7, 5), nn.Linear(5, 3)]
    network = nn.Sequential(nn.Flatten(), layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    classifier = classifier_of(network, "0")
    images, targets = networks.batch()
    epsilon = 0.05

    found = lrp_epsilon(classifier, images, targets, epsilon=epsilon).attribution

    with torch.no_grad():
        for image, target, each in zip(images, targets, found, strict=True):
            scales = (1 / classifier.std).expand(1, *image.shape).flatten()
            inputs = [classifier.normalise(image[None])[0].flatten()]
            for layer in layers[:-1]:
                inputs.append(layer(inputs[-1]).relu())
            relevance = inputs[-1] * layers[-1].weight[target]
            for layer, below, outputs in zip(
                reversed(layers[:-1]), reversed(inputs[:-1]), reversed(inputs[1:]), strict=True
            ):
                passed = torch.zeros_like(below)
                for j, output in enumerate(outputs):
                    for i, value in enumerate(below):
                        passed[i] += value * layer.weight[j, i] / (output + epsilon) * relevance[j]
                relevance = passed
            relevance *= image.flatten() * scales / inputs[0]
            assert torch.allclose(relevance, each.flatten(), atol=1e-12)


@pytest.mark.parametrize("background", ["black", "one channel black"])
def test_a_black_pixel_has_no_relevance(background: str) -> None:
    """Whatever the normalisation makes of it; a teacher that sees black there says so."""
    classifier = networks.tiny(head="hidden")
    images, targets = networks.batch()
    black = torch.zeros_like(images, dtype=torch.bool)
    black[:, 1 if background == "one channel black" else slice(None), :4] = True
    images = images.masked_fill(black, 0.0)

    found = lrp_epsilon(classifier, images, targets).attribution

    assert found[~black].abs().sum() > 0
    assert torch.equal(torch.zeros_like(found[black]), found[black])


def test_a_grey_pixel_has_relevance_although_it_is_normalised_to_zero() -> None:
    classifier = networks.tiny(head="hidden")
    images, targets = networks.batch()
    images[:, :, :4] = classifier.mean

    found = lrp_epsilon(classifier, images, targets).attribution

    assert found[:, :, :4].abs().sum() > 0


def test_what_the_normalisation_takes_is_what_is_missing_of_the_logit() -> None:
    classifier = networks.tiny(biased=False)
    shifted = Classifier(networks.tiny().spec, classifier.network)
    images, targets = networks.batch()

    attribution, logits = lrp_epsilon(shifted, images, targets, epsilon=1e-10)

    slopes = attribution / images
    taken = (shifted.mean * slopes).sum((1, 2, 3))
    assert torch.allclose(logit(logits, targets), attribution.sum((1, 2, 3)) - taken, rtol=1e-6)


@pytest.mark.parametrize("head", ["linear", "hidden"])
def test_relevance_is_conserved_without_biases(head: str) -> None:
    classifier = networks.tiny(head=head, biased=False)
    images, targets = networks.batch()

    attribution, logits = lrp_epsilon(classifier, images, targets, epsilon=1e-10)

    assert torch.allclose(logit(logits, targets), attribution.sum((1, 2, 3)), rtol=1e-6)


def test_relu6_conserves_relevance_where_it_cuts() -> None:
    classifier = networks.tiny(biased=False)
    classifier.network.relu = nn.ReLU6()
    images, targets = networks.batch()
    images = images * 100
    assert classifier.network.conv1(classifier.normalise(images)).max() > 6

    attribution, logits = lrp_epsilon(classifier, images, targets, epsilon=1e-10)

    assert torch.allclose(logit(logits, targets), attribution.sum((1, 2, 3)), rtol=1e-6)


def test_epsilon_absorbs_relevance() -> None:
    classifier = networks.tiny(biased=False)
    images, targets = networks.batch()

    small = lrp_epsilon(classifier, images, targets, epsilon=1e-3).attribution
    large = lrp_epsilon(classifier, images, targets, epsilon=10.0).attribution

    assert large.abs().sum() < 0.5 * small.abs().sum()


def test_epsilon_may_differ_per_image() -> None:
    classifier = networks.tiny(head="hidden")
    images, targets = networks.batch()
    epsilon = torch.tensor([1e-3, 1e-2, 1e-1], dtype=torch.float64)

    found = lrp_epsilon(classifier, images, targets, epsilon=epsilon).attribution

    expected = torch.cat(
        [
            lrp_epsilon(
                classifier, images[n : n + 1], targets[n : n + 1], epsilon=float(each)
            ).attribution
            for n, each in enumerate(epsilon)
        ]
    )
    assert torch.allclose(expected, found)


@pytest.mark.parametrize("architecture", COVERED)
def test_small_epsilon_gives_gradient_x_input(architecture: str) -> None:
    """The limit that the ReLU networks share, on every family that is said to be covered."""
    torch.manual_seed(0)
    side = 80 if architecture == "inception_v3" else 64
    spec = architectures.default_spec(architecture, networks.CLASSES, height=side)
    classifier = architectures.build(spec).double().eval()
    images, targets = networks.batch(count=1, side=side)

    found = lrp_epsilon(classifier, images, targets, epsilon=1e-200).attribution

    pixels = images.detach().requires_grad_()
    logit(classifier(pixels), targets).sum().backward()
    expected = pixels * pixels.grad
    assert torch.allclose(
        expected, found, rtol=1e-6, atol=1e-9 * float(expected.detach().abs().max())
    )
    assert covers(classifier)


@pytest.mark.parametrize("architecture", UNCOVERED)
def test_a_network_without_rules_is_refused_by_module(architecture: str) -> None:
    spec = architectures.default_spec(architecture, networks.CLASSES, height=64)
    classifier = architectures.build(spec).eval()
    images, targets = networks.batch(count=1, side=64)

    with pytest.raises(ExplainerError, match="LRP has no rule for") as caught:
        lrp_epsilon(classifier, images.float(), targets)

    assert UNCOVERED[architecture] in str(caught.value)
    assert not covers(classifier)


def test_batch_normalisation_in_train_mode_is_refused_before_it_moves() -> None:
    classifier = networks.residual()
    classifier.network.bn1.train()
    images, targets = networks.batch(side=32)
    before = classifier.network.bn1.running_mean.clone()

    with pytest.raises(ExplainerError, match="'bn1' is in train mode"):
        lrp_epsilon(classifier, images, targets)

    assert torch.equal(before, classifier.network.bn1.running_mean)
    assert classifier.network.bn1.num_batches_tracked == 0


@pytest.mark.parametrize(
    "relu",
    [
        functional.relu,
        torch.relu,
        lambda x: x.relu(),
        lambda x: functional.relu(x + 0, inplace=True),
        lambda x: (x + 0).relu_(),
    ],
)
def test_functional_relus_are_covered(relu) -> None:
    torch.manual_seed(0)
    functional_form = classifier_of(Wrapped(relu), "body")
    module_form = classifier_of(Wrapped(nn.ReLU()), "body")
    module_form.network.fc.load_state_dict(functional_form.network.fc.state_dict())
    images, targets = networks.batch()

    expected = lrp_epsilon(module_form, images, targets).attribution

    assert torch.allclose(expected, lrp_epsilon(functional_form, images, targets).attribution)


@pytest.mark.parametrize(
    "forward", [torch.tanh, lambda x: x * x, lambda x: x.clamp(min=0), functional.leaky_relu]
)
def test_other_functions_are_refused(forward) -> None:
    classifier = classifier_of(Wrapped(forward), "body")

    with pytest.raises(ExplainerError, match="LRP has no rule for"):
        lrp_epsilon(classifier, *networks.batch())


def test_dropout_keeps_one_mask_for_both_passes() -> None:
    """In train mode, relevance still sums to the logit that the same mask gave."""
    layers = OrderedDict(networks.tiny(biased=False).network.named_children())
    fc = layers.pop("fc")
    network = nn.Sequential(OrderedDict(layers, drop=nn.Dropout(0.5), fc=fc))
    spec = replace(networks.tiny(biased=False).spec, target_layer="relu2")
    classifier = Classifier(spec, network).double().train()
    images, targets = networks.batch()

    attribution, logits = lrp_epsilon(classifier, images, targets, epsilon=1e-10)

    assert torch.allclose(logit(logits, targets), attribution.sum((1, 2, 3)), rtol=1e-6)


def test_epsilon_must_be_positive_and_fit() -> None:
    images, targets = networks.batch()

    with pytest.raises(ExplainerError, match="above 0"):
        lrp_epsilon(networks.tiny(), images, targets, epsilon=0.0)
    with pytest.raises(ExplainerError, match="one epsilon for each of 3"):
        lrp_epsilon(networks.tiny(), images, targets, epsilon=torch.ones(2))


def along_the_gradient(
    loss: Callable[[], Tensor], parameter: Tensor, step: float = 1e-5
) -> tuple[float, float]:
    """The slope of a loss along its own gradient: as autograd says, and by differences."""
    (gradient,) = torch.autograd.grad(loss(), parameter)
    direction = gradient / gradient.norm()
    with torch.no_grad():
        parameter.add_(direction, alpha=step)
        above = loss()
        parameter.sub_(direction, alpha=2 * step)
        below = loss()
        parameter.add_(direction, alpha=step)
    return float(gradient.norm()), float((above - below) / (2 * step))


def test_a_residual_networks_parameter_gradient_agrees_with_finite_differences() -> None:
    classifier = networks.residual()
    images, targets = networks.batch(count=1, side=32)
    parameter = classifier.network.get_parameter("layer2.0.conv1.weight")

    def loss() -> Tensor:
        explanation = lrp_epsilon(classifier, images, targets, epsilon=0.1, create_graph=True)
        return (explanation.attribution**2).sum()

    found, expected = along_the_gradient(loss, parameter)

    assert found == pytest.approx(expected, rel=1e-4)


def test_that_the_check_above_can_fail() -> None:
    """One pass with a changed backward gives the same relevance and a wrong parameter gradient."""
    epsilon = 0.5

    class ChangedRelu(torch.autograd.Function):
        @staticmethod
        def forward(context: FunctionCtx, values: Tensor) -> Tensor:
            outputs = values.relu()
            context.save_for_backward(outputs)
            return outputs

        @staticmethod
        def backward(context: FunctionCtx, gradient: Tensor) -> Tensor:
            (outputs,) = context.saved_tensors
            return gradient * outputs / (outputs + epsilon)

    classifier = networks.tiny(head="hidden")
    network = networks.tiny(head="hidden").network
    for name in ("relu", "relu2", "act"):
        changed = nn.Module()
        changed.forward = ChangedRelu.apply
        network.set_submodule(name, changed)
    images, targets = networks.batch()
    normalised = classifier.normalise(images)

    def relevance() -> Tensor:
        with torch.enable_grad():
            pixels = normalised.detach().requires_grad_()
            scores = logit(network(pixels), targets).sum()
            (gradient,) = torch.autograd.grad(scores, pixels, create_graph=True)
        return images / classifier.std * gradient

    def loss() -> Tensor:
        return (relevance() ** 2).sum()

    same = lrp_epsilon(classifier, images, targets, epsilon=epsilon).attribution
    wrong, expected = along_the_gradient(loss, network.conv1.weight)

    assert torch.allclose(same, relevance())
    assert wrong != pytest.approx(expected, rel=0.01)
