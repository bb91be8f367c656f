"""The traced graph against torch: gradients of small networks, any batch, nothing changed."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.errors import UntraceableError
from models.graph import emitter, folding, gates, simplification, tracing
from models.graph.operators import table


def run(function, *inputs: torch.Tensor) -> list[np.ndarray]:
    """Trace `function`, write it as ONNX, and run that on the inputs."""
    names = [f"input_{index}" for index in range(len(inputs))]
    module = tracing.trace(function, [each[:2] for each in inputs])
    outputs = module.graph.output_node().args[0]
    results = [f"output_{index}" for index in range(len(outputs))]
    model = emitter.Emitter(module, names).model(table.ALL, results)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    feed = {name: each.numpy() for name, each in zip(names, inputs, strict=True)}
    return session.run(results, feed)


def answer_and_gradient(network) -> object:
    """Return a function that gives a network's answer and the gradient of its sum of squares."""

    def call(images) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = images.detach().requires_grad_()
        answer = network(pixels)
        (gradient,) = torch.autograd.grad((answer**2).sum(), pixels)
        return answer.detach(), gradient

    return call


def agrees(network, *, size=12, channels=16, tolerance=2e-5) -> None:
    torch.manual_seed(1)
    network = network.eval().requires_grad_(requires_grad=False)
    images = torch.randn(3, channels, size, size)
    function = answer_and_gradient(network)

    expected = [each.numpy() for each in function(images)]

    for want, got in zip(expected, run(function, images), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * np.abs(want).max())


CONVOLUTIONS = {
    "plain": nn.Conv2d(16, 8, 3, padding=1),
    "no padding": nn.Conv2d(16, 8, 3),
    "more padding than kernel": nn.Conv2d(16, 8, 1, padding=1),
    "stride": nn.Conv2d(16, 8, 3, stride=2, padding=1),
    "stride without padding": nn.Conv2d(16, 8, 3, stride=2),
    "stride of a 1x1 kernel": nn.Conv2d(16, 8, 1, stride=2),
    "large kernel": nn.Conv2d(16, 8, 7, stride=2, padding=3),
    "uneven": nn.Conv2d(16, 8, (3, 5), stride=(2, 3), padding=(0, 2)),
    "stride above the kernel": nn.Conv2d(16, 8, 2, stride=4),
    "groups": nn.Conv2d(16, 32, 3, padding=1, groups=4),
    "strided groups": nn.Conv2d(16, 32, 3, stride=2, padding=1, groups=4),
    "depthwise": nn.Conv2d(16, 16, 5, padding=2, groups=16),
    "strided depthwise": nn.Conv2d(16, 16, 5, stride=2, padding=2, groups=16),
    "dilated": nn.Conv2d(16, 8, 3, padding=2, dilation=2),
    "strided and dilated": nn.Conv2d(16, 8, 3, stride=2, padding=2, dilation=2),
    "transposed": nn.ConvTranspose2d(16, 8, 3, stride=2, padding=1),
}


@pytest.mark.parametrize("size", [11, 12])
@pytest.mark.parametrize("network", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_a_convolutions_gradient(network, size) -> None:
    agrees(network, size=size)


def test_the_gradient_of_a_strided_convolution_of_few_channels() -> None:
    agrees(nn.Conv2d(3, 8, 7, stride=2, padding=3), channels=3)


ACTIVATIONS = (
    nn.ReLU(),
    nn.ReLU6(),
    nn.Hardtanh(-0.5, 0.7),
    nn.SiLU(),
    nn.Sigmoid(),
    nn.Tanh(),
    nn.Hardswish(),
    nn.Hardsigmoid(),
    nn.GELU(),
    nn.LeakyReLU(0.1),
    nn.ELU(),
)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda each: type(each).__name__)
def test_an_activations_gradient_for_maps_and_for_vectors(activation) -> None:
    scale = nn.Conv2d(16, 16, 1)
    nn.init.normal_(scale.weight, std=2.0)
    agrees(nn.Sequential(scale, activation))
    agrees(nn.Sequential(nn.Flatten(), nn.Linear(64, 8), activation), size=2)


POOLINGS = {
    "max": nn.MaxPool2d(2),
    "max, overlapping": nn.MaxPool2d(3, stride=2, padding=1),
    "max, ceil": nn.MaxPool2d(3, stride=2, ceil_mode=True),
    "max, stride 1": nn.MaxPool2d(3, stride=1, padding=1),
    "max, uneven": nn.MaxPool2d((2, 3), stride=(2, 3)),
    "average": nn.AvgPool2d(2),
    "average, overlapping": nn.AvgPool2d(3, stride=2, padding=1),
    "adaptive, global": nn.AdaptiveAvgPool2d(1),
    "adaptive": nn.AdaptiveAvgPool2d((5, 3)),
    "adaptive, enlarging": nn.AdaptiveAvgPool2d(15),
}


@pytest.mark.parametrize("rectified", [True, False], ids=["rectified", "signed"])
@pytest.mark.parametrize("pooling", POOLINGS.values(), ids=POOLINGS)
def test_a_poolings_gradient(pooling, rectified) -> None:
    agrees(nn.Sequential(nn.Conv2d(16, 16, 1), nn.ReLU(), pooling) if rectified else pooling)


@pytest.mark.parametrize("kernel", [(2, 2, 0), (3, 2, 1)], ids=["2x2", "3x3"])
def test_the_first_of_equal_maxima_takes_the_gradient(kernel) -> None:
    """Flat parts of an image make ties everywhere; ATen routes to the first."""
    size, stride, padding = kernel
    network = nn.Sequential(nn.ReLU(), nn.MaxPool2d(size, stride, padding), nn.Conv2d(16, 4, 3))
    torch.manual_seed(2)
    images = torch.randint(0, 3, (3, 16, 12, 12)).float()
    function = answer_and_gradient(network.requires_grad_(requires_grad=False))

    expected = function(images)[1].numpy()

    np.testing.assert_allclose(run(function, images)[1], expected, atol=1e-5)


class Attention(nn.Module):
    """Every position looks at every other."""

    def forward(self, maps) -> torch.Tensor:
        tokens = maps.flatten(2).transpose(1, 2)
        return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)


def test_batch_normalisation_layer_norm_and_attention() -> None:
    norm = nn.BatchNorm2d(16)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    nn.init.normal_(norm.running_mean)
    agrees(nn.Sequential(norm, nn.ReLU()))
    agrees(nn.Sequential(nn.Flatten(2), nn.LayerNorm(16), nn.Linear(16, 4)), size=4)
    with sdpa_kernel(SDPBackend.MATH):
        agrees(Attention(), size=4)


def test_a_graph_takes_any_batch() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    function = answer_and_gradient(network.requires_grad_(requires_grad=False))

    for batch in (1, 2, 7):
        images = torch.rand(batch, 3, 8, 8)
        expected = function(images)[1].numpy()

        np.testing.assert_allclose(run(function, images)[1], expected, atol=1e-6)


def test_a_function_that_fixes_the_batch_is_refused() -> None:
    with pytest.raises(UntraceableError, match="batch"):
        tracing.trace(lambda images: (images.reshape(2, -1),), [torch.zeros(2, 3, 4, 4)])


def test_a_function_that_looks_at_values_is_refused() -> None:
    def branching(images) -> tuple[torch.Tensor]:
        return (images if images.sum() > 0 else -images,)

    with pytest.raises(UntraceableError, match="traced"):
        tracing.trace(branching, [torch.zeros(2, 3, 4, 4)])


def test_two_equal_passes_become_one() -> None:
    network = nn.Conv2d(3, 4, 3).requires_grad_(requires_grad=False)

    module = tracing.trace(
        lambda images: (network(images), network(images) * 2), [torch.zeros(2, 3, 8, 8)]
    )

    targets = [str(node.target) for node in module.graph.nodes]
    assert targets.count("aten.convolution.default") == 1


def test_writing_in_place_is_undone_before_equal_operators_are_merged() -> None:
    def twice(images) -> tuple[torch.Tensor, torch.Tensor]:
        def once() -> torch.Tensor:
            doubled = images * 2
            doubled += 1
            return doubled.relu()

        return once(), once()

    images = torch.rand(2, 3)

    for got in run(twice, images):
        np.testing.assert_allclose(got, (images * 2 + 1).relu().numpy())


def test_one_row_of_the_last_layer_replaces_its_whole_product() -> None:
    last = nn.Linear(6, 5).requires_grad_(requires_grad=False)

    def gradient(features, target) -> tuple[torch.Tensor]:
        features = features.detach().requires_grad_()
        logit = last(features).gather(1, target[:, None])
        return torch.autograd.grad((3 * logit).sum(), features)

    features, target = torch.rand(3, 6), torch.tensor([4, 0, 2])
    module = tracing.trace(gradient, [features, target])

    targets = {str(node.target) for node in module.graph.nodes}
    assert "aten.mm.default" not in targets
    np.testing.assert_allclose(run(gradient, features, target)[0], 3 * last.weight[target])
    simplification.simplify(module.graph)  # again: nothing is left to do


def test_gates_are_exact_at_their_ends() -> None:
    values = torch.tensor([[-0.0, 0.0, 1e-30, 1.0, 5.9999995, 6.0]])

    assert gates.positive(values.abs()).tolist() == [[0, 0, 1, 1, 1, 1]]
    assert gates.between(values.abs(), 0.0, 6.0).tolist() == [[0, 0, 1, 1, 1, 0]]
    halves = values.abs().half()
    assert gates.between(halves, 0.0, 6.0).tolist() == [[0, 0, 0, 1, 0, 0]]


class Branching(nn.Module):
    """A convolution that two layers read: folding the normalisation would change one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(3, 4, 3)
        self.other = nn.BatchNorm2d(4)
        self.shared = True

    def forward(self, images) -> torch.Tensor:
        maps = self.first(images)
        straight = maps.sum((1, 2, 3)) if self.shared else 0.0
        return (
            self.norm(maps).mean((2, 3)).sum(1) + self.other(self.second(images)).sum() + straight
        )


def lively(network) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.running_mean)
    return network.eval()


def test_folding_keeps_the_answer_and_the_original() -> None:
    network = lively(Branching())
    network.shared = False
    images = torch.rand(2, 3, 8, 8)

    folded = folding.fold_batch_norms(network, images)

    assert isinstance(folded.norm, nn.Identity)
    assert isinstance(network.norm, nn.BatchNorm2d)
    torch.testing.assert_close(folded(images), network(images))


def test_a_convolution_that_somebody_else_reads_is_not_folded() -> None:
    network = lively(Branching())

    folded = folding.fold_batch_norms(network, torch.rand(2, 3, 8, 8))

    assert isinstance(folded.norm, nn.BatchNorm2d)


def test_the_kept_module_is_not_folded() -> None:
    network = lively(Branching())
    network.shared = False

    folded = folding.fold_batch_norms(network, torch.rand(2, 3, 8, 8), keep="first")

    assert isinstance(folded.norm, nn.BatchNorm2d)
    assert isinstance(folded.other, nn.Identity)
