"""A network that pads, as EfficientNet-Lite0 does, keeps its batch open in the exported graph."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from models import architectures, export
from models.graph import padding, tracing
from models.runtime import Session


class Padding(nn.Module):
    """Pads unevenly before a stride of 2, and says its batch size where it flattens."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2)
        self.second = nn.Conv2d(8, 8, 3)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.last = nn.Linear(8, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.first(nn.functional.pad(images, (0, 1, 0, 1))))
        features = torch.relu(self.second(nn.functional.pad(features, (1, 1, 1, 1), value=0.5)))
        return self.last(self.pool(features).view(images.size(0), -1))


@pytest.mark.parametrize("pads", [(1, 2), (0, 1, 2, 0), (-1, 1, 3, -2)])
def test_the_shape_rule_is_that_of_the_operator(pads: tuple[int, ...]) -> None:
    values = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5)
    expected = nn.functional.pad(values, pads, value=7.0)

    assert torch.equal(expected, padding.constant_pad_nd(values, pads, 7.0))
    assert padding.shape_of_padded(values, pads, 7.0).shape == expected.shape


def test_tracing_a_network_that_pads_keeps_the_batch_symbolic() -> None:
    network = Padding(2).eval()

    traced = tracing.trace(network, [torch.zeros(2, 3, 16, 16)])

    shapes = [each.meta["val"].shape for each in traced.graph.nodes if each.name == "addmm"]
    assert all(isinstance(shape[0], torch.SymInt) for shape in shapes)
    assert shapes


def test_an_exported_network_that_pads_answers_any_batch(tmp_path) -> None:
    torch.manual_seed(0)
    small = architectures.default_spec("small_cnn", ["a", "b"], height=16, width=16)
    spec = replace(small, architecture="tests:Padding", target_layer="second")
    classifier = architectures.Classifier(spec, Padding(2)).eval()
    images = np.random.default_rng(1).integers(0, 256, (9, 16, 16, 3), np.uint8)

    export.export(classifier, tmp_path, samples=images)
    session = Session.open(tmp_path, device="cpu", threads=1)

    for image, answer in zip(images, session.predict(images), strict=True):
        alone = session.predict(image[None])[0]
        assert alone.logits == pytest.approx(answer.logits, abs=1e-5)
