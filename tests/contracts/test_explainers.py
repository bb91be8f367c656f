"""What every explainer in `models.explainers.ALL` promises; listed there is passing here."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models import explainers
from models.architectures import Classifier
from models.errors import ExplainerError
from models.explainers.base import Explainer
from tests import networks

pytestmark = pytest.mark.parametrize(
    "explainer", explainers.ALL, ids=[each.__name__ for each in explainers.ALL]
)


def loss_of(explainer: Explainer, classifier: Classifier) -> Callable[[], Tensor]:
    images, targets = networks.batch()

    def loss() -> Tensor:
        explanation = explainer(classifier, images, targets, create_graph=True)
        return (explanation.attribution**2).sum() + explanation.logits.sum()

    return loss


def state_of(classifier: Classifier) -> list[object]:
    """All that an explainer could leave behind."""
    left: list[object] = [
        torch.is_grad_enabled(),
        torch.backends.cuda.math_sdp_enabled(),
        torch.backends.cuda.flash_sdp_enabled(),
        torch._C._len_torch_function_stack(),
    ]
    for module in classifier.modules():
        left += [module.training, len(module._forward_hooks), len(module._forward_pre_hooks)]
        left += [len(module._backward_hooks), module.__dict__.get("forward")]
    for tensor in [*classifier.parameters(), *classifier.buffers()]:
        left += [tensor.requires_grad, tensor.grad, tensor._version, tensor.sum().item()]
    return left


def test_gives_one_attribution_per_image(explainer: Explainer) -> None:
    classifier = networks.tiny()
    images, targets = networks.batch()

    attribution, logits = explainer(classifier, images, targets)

    assert attribution.shape in {(3, 4, 4), (3, 3, 8, 8)}
    assert attribution.isfinite().all()
    assert attribution.abs().sum() > 0
    assert torch.allclose(logits, classifier(images))


def test_explains_each_image_alone(explainer: Explainer) -> None:
    classifier = networks.tiny(head="hidden")
    images, targets = networks.batch()

    together = explainer(classifier, images, targets).attribution

    alone = [
        explainer(classifier, image[None], target[None]).attribution[0]
        for image, target in zip(images, targets, strict=True)
    ]
    assert torch.allclose(torch.stack(alone), together)


def test_answers_the_same_twice(explainer: Explainer) -> None:
    classifier = networks.tiny()
    images, targets = networks.batch()

    first, second = (explainer(classifier, images, targets).attribution for _ in range(2))

    assert torch.equal(first, second)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("create_graph", [True, False])
def test_leaves_the_classifier_as_found(
    explainer: Explainer, *, training: bool, create_graph: bool
) -> None:
    classifier = networks.tiny(head="hidden").train(training)
    classifier.network.get_submodule("conv1").requires_grad_(requires_grad=False)
    images, targets = networks.batch()
    before = state_of(classifier)

    explainer(classifier, images, targets, create_graph=create_graph)

    assert state_of(classifier) == before
    assert not images.requires_grad


def test_leaves_the_classifier_as_found_after_an_exception(explainer: Explainer) -> None:
    classifier = networks.tiny()
    images, _ = networks.batch()
    before = state_of(classifier)

    with pytest.raises((RuntimeError, IndexError)):
        explainer(classifier, images, torch.tensor([0, 1, 99]))

    assert state_of(classifier) == before
    assert torch.is_grad_enabled()


def test_without_a_graph_nothing_hangs_on_it(explainer: Explainer) -> None:
    attribution, logits = explainer(networks.tiny(), *networks.batch())

    assert not attribution.requires_grad
    assert not logits.requires_grad


def test_works_under_no_grad_and_on_a_frozen_classifier(explainer: Explainer) -> None:
    classifier = networks.tiny()
    images, targets = networks.batch()
    expected = explainer(classifier, images, targets).attribution

    with torch.no_grad():
        under_no_grad = explainer(classifier, images, targets).attribution
    classifier.requires_grad_(requires_grad=False)
    frozen = explainer(classifier, images, targets).attribution

    assert torch.equal(expected, under_no_grad)
    assert torch.equal(expected, frozen)


@pytest.mark.parametrize("head", ["linear", "hidden"])
def test_parameter_gradients_agree_with_finite_differences(
    explainer: Explainer, head: str
) -> None:
    """Along a random direction of each parameter tensor, in float64."""
    classifier = networks.tiny(head=head)
    loss = loss_of(explainer, classifier)
    parameters = dict(classifier.named_parameters())
    gradients = dict(
        zip(parameters, torch.autograd.grad(loss(), list(parameters.values())), strict=True)
    )
    generator = torch.Generator().manual_seed(2)
    step = 1e-6

    for name, parameter in parameters.items():
        direction = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        direction = direction / direction.norm()
        with torch.no_grad():
            parameter.add_(direction, alpha=step)
            above = loss().detach()
            parameter.sub_(direction, alpha=2 * step)
            below = loss().detach()
            parameter.add_(direction, alpha=step)
        expected = float((above - below) / (2 * step))
        found = float((gradients[name] * direction).sum())
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-6), name


def test_refuses_what_it_cannot_explain(explainer: Explainer) -> None:
    classifier = networks.tiny()
    images, targets = networks.batch()

    with pytest.raises(ExplainerError, match="float images"):
        explainer(classifier, images[0], targets)
    with pytest.raises(ExplainerError, match="float images"):
        explainer(classifier, (images * 255).to(torch.uint8), targets)
    with pytest.raises(ExplainerError, match="one for each of 3 images"):
        explainer(classifier, images, targets[:1])
    with pytest.raises(ExplainerError, match="int64 targets"):
        explainer(classifier, images, targets.double())
    with torch.inference_mode(), pytest.raises(ExplainerError, match="inference_mode"):
        explainer(classifier, images, targets)


def test_follows_a_traced_network(explainer: Explainer) -> None:
    """Batch normalisation in eval mode, residual additions, a ReLU module that is used twice."""
    classifier = networks.residual()
    images, targets = networks.batch(count=2, side=32)

    attribution, logits = explainer(classifier, images, targets)

    assert attribution.isfinite().all()
    assert torch.allclose(logits, classifier(images))
