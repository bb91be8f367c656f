"""The explainers against captum and pytorch-grad-cam, two implementations of other people."""

import captum.attr
import pytest
import torch
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, HiResCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from models.architectures import Classifier
from models.explainers.base import Explainer, logit
from models.explainers.gradcam import gradcam
from models.explainers.gradcam_plus_plus import gradcam_plus_plus
from models.explainers.gradient_x_input import gradient_x_input
from models.explainers.hirescam import hirescam
from models.explainers.input_gradients import input_gradients
from models.explainers.integrated_gradients import integrated_gradients
from models.explainers.lrp import lrp_epsilon
from tests import networks


def unscaled(method: type, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
    """pytorch-grad-cam's map before it resizes, cuts and scales it."""
    layer = classifier.network.get_submodule(classifier.spec.target_layer)
    with method(model=classifier, target_layers=[layer]) as cam:
        chosen = [ClassifierOutputTarget(int(target)) for target in targets]
        logits = cam.activations_and_grads(images)
        sum(choose(each) for choose, each in zip(chosen, logits, strict=True)).backward()
        activations = cam.activations_and_grads.activations[0].numpy()
        gradients = cam.activations_and_grads.gradients[0].numpy()
        found = cam.get_cam_image(images, layer, chosen, activations, gradients, False)
    return torch.from_numpy(found)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(gradcam, GradCAM), (hirescam, HiResCAM), (gradcam_plus_plus, GradCAMPlusPlus)],
)
@pytest.mark.parametrize("head", ["linear", "hidden"])
def test_maps_agree_with_pytorch_grad_cam(ours: Explainer, theirs: type, head: str) -> None:
    classifier = networks.tiny(head=head)
    with torch.no_grad():
        # pytorch-grad-cam adds 1e-6 to a squared gradient in Grad-CAM++; this makes it small.
        classifier.network.fc.weight.mul_(1000)
    images, targets = networks.batch()

    expected = unscaled(theirs, classifier, images, targets)

    found = ours(classifier, images, targets).attribution
    assert torch.allclose(expected, found, rtol=1e-5)


def test_gradcam_agrees_with_captum() -> None:
    classifier = networks.residual()
    images, targets = networks.batch(side=64)
    oracle = captum.attr.LayerGradCam(classifier, classifier.network.layer4)

    expected = oracle.attribute(images, target=targets)[:, 0]

    assert torch.allclose(expected, gradcam(classifier, images, targets).attribution)


def test_input_gradients_agree_with_captum() -> None:
    classifier = networks.residual()
    images, targets = networks.batch(side=32)
    saliency = captum.attr.Saliency(classifier)
    product = captum.attr.InputXGradient(classifier)

    expected = saliency.attribute(images.clone().requires_grad_(), target=targets, abs=False)
    expected_product = product.attribute(images.clone().requires_grad_(), target=targets)

    found = input_gradients(classifier, images, targets, scalar=logit).attribution
    found_product = gradient_x_input(classifier, images, targets, scalar=logit).attribution
    assert torch.allclose(expected, found)
    assert torch.allclose(expected_product, found_product)


def test_integrated_gradients_agree_with_captum() -> None:
    classifier = networks.tiny(head="hidden")
    images, targets = networks.batch()
    oracle = captum.attr.IntegratedGradients(classifier)

    expected = oracle.attribute(images, target=targets, n_steps=7, method="riemann_middle")

    found = integrated_gradients(classifier, images, targets, steps=7, scalar=logit).attribution
    assert torch.allclose(expected, found)


class WithoutFlatten(nn.Module):
    """The tiny network with what captum's LRP knows: pooling without overlap, no nn.Flatten."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.conv1, self.relu, self.pool = network.conv1, nn.ReLU(), nn.MaxPool2d(2)
        self.conv2, self.relu2, self.gap = network.conv2, nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        self.fc = network.fc

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu2(self.conv2(self.pool(self.relu(self.conv1(x)))))
        return self.fc(self.gap(x).flatten(1))


def test_lrp_agrees_with_captum() -> None:
    """Without biases: captum's rule for a linear layer divides by its output with the bias.

    It explains the normalised image, which is the pixels over σ where there is no shift.
    """
    tiny = networks.tiny(biased=False)
    classifier = Classifier(tiny.spec, WithoutFlatten(tiny.network)).double().eval()
    images, targets = networks.batch()
    oracle = captum.attr.LRP(classifier.network)

    found = lrp_epsilon(classifier, images, targets, epsilon=1e-9).attribution

    normalised = classifier.normalise(images).requires_grad_()
    expected = oracle.attribute(normalised, target=targets)
    assert torch.allclose(expected, found, atol=1e-6)
