"""Every family of torchvision's classifiers, and ours, exported once at a small size."""

import numpy as np
import pytest
import torch

from models import architectures, export
from models.architectures import Classifier
from models.graph import assembly

# One member per family, the smallest; VGG and AlexNet are mostly one huge linear layer.
FAMILIES = {
    "small_cnn": 28,
    "mobilenet_v2": 64,
    "resnet18": 64,
    "efficientnet_b0": 64,
    "mobilenet_v3_small": 64,
    "regnet_y_400mf": 64,
    "mnasnet0_5": 64,
    "shufflenet_v2_x0_5": 64,
    "alexnet": 64,
    "resnet50": 64,
    "convnext_tiny": 64,
    "densenet121": 64,
    "googlenet": 96,
    "vit_b_16": 32,
}
QUICK = 3


def lively(architecture: str, size: int) -> Classifier:
    """Build a classifier whose running statistics fit its weights."""
    torch.manual_seed(11)
    spec = architectures.default_spec(architecture, ["a", "b", "c"], height=size)
    classifier = architectures.build(spec)
    with torch.no_grad():
        for _ in range(3):
            classifier(torch.rand(4, 3, size, size))
    return classifier.eval()


@pytest.mark.parametrize(
    ("architecture", "size"),
    [
        pytest.param(name, size, id=name, marks=() if index < QUICK else pytest.mark.slow)
        for index, (name, size) in enumerate(FAMILIES.items())
    ],
)
def test_a_family_answers_in_onnx_as_in_torch(architecture, size) -> None:
    classifier = lively(architecture, size)
    graphs = {
        "predict": assembly.predict(classifier).SerializeToString(),
        "explain": assembly.explain(classifier).SerializeToString(),
    }
    # Odd, and unlike the batch that was traced.
    samples = np.random.default_rng(4).integers(0, 256, (3, size, size, 3), dtype=np.uint8)

    found = export.measure(classifier, graphs, samples=samples)

    assert found.failures() == ()
