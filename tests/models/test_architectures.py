"""Every architecture builds, traces and keeps its promises; weights survive a round trip."""

import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models import architectures, backbones
from models.architectures import Classifier
from models.errors import ArchitectureError
from models.types import ClassifierSpec

CLASSES = ("cat", "dog", "fish")

# The largest of each family say nothing new, and take seconds to fill with random numbers.
SMALLEST_SIZES = {"inception_v3": 75, "vit_b_16": 32, "maxvit_t": 224, "densenet121": 64}
ONE_PER_FAMILY = (
    "small_cnn",
    "efficientnet_lite0",
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "regnet_y_400mf",
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "shufflenet_v2_x0_5",
    "swin_t",
    "swin_v2_t",
    "vgg11",
    "vgg11_bn",
    "vit_b_16",
    "wide_resnet50_2",
)


def small(head: str = "linear") -> Classifier:
    spec = architectures.default_spec("small_cnn", CLASSES, head=head)
    return architectures.build(spec).eval()


def images(count: int, side: int) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


class OwnNetwork(nn.Module):
    """A user's network: two feature maps, shared ReLU in place."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 5, 3, stride=2)
        self.act = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.out = nn.Linear(5, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.second(self.act(self.first(x))))
        return self.out(self.pool(x).flatten(1))


@pytest.fixture
def own_module(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an importable module with the user's factories."""
    module = types.ModuleType("users_networks")
    module.own = OwnNetwork  # type: ignore[attr-defined]
    module.no_network = lambda num_classes: num_classes  # type: ignore[attr-defined]
    module.no_arguments = lambda: None  # type: ignore[attr-defined]
    module.headless = lambda num_classes: nn.Conv2d(3, num_classes, 1)  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "users_networks", module)
    return "users_networks"


@pytest.mark.parametrize("architecture", ONE_PER_FAMILY)
def test_each_family_builds_and_traces(architecture: str) -> None:
    side = SMALLEST_SIZES.get(architecture, 64)
    spec = architectures.default_spec(architecture, CLASSES, height=side)
    classifier = architectures.build(spec).eval()
    last = backbones.linear(classifier.network, classifier._last_linear)
    nn.init.normal_(last.weight)  # a vision transformer starts with zeros here
    batch = images(2, side)

    forward = classifier.trace(batch)
    maps = classifier.grid(forward.activation)
    (gradient,) = torch.autograd.grad(forward.logits.sum(), forward.activation)

    assert forward.logits.shape == (2, 3)
    assert torch.allclose(forward.logits, classifier(batch), atol=1e-4, rtol=1e-4)
    assert maps.dim() == 4
    assert maps.shape[0] == 2
    assert gradient.abs().sum() > 0
    assert torch.allclose(last(forward.embedding), forward.logits)
    assert not any(getattr(module, "inplace", False) for module in classifier.modules())


@pytest.mark.parametrize("architecture", architectures.NAMES)
def test_every_name_has_a_spec(architecture: str) -> None:
    spec = architectures.default_spec(architecture, CLASSES)

    assert spec.target_layer
    assert spec.preprocessing.height == spec.preprocessing.width
    assert spec.preprocessing.height >= 28


def test_the_family_of_every_name_is_covered() -> None:
    covered = {name.rstrip("0123456789_").split("_")[0] for name in ONE_PER_FAMILY}

    families = {name.rstrip("0123456789_").split("_")[0] for name in architectures.NAMES}

    assert {family.rstrip("0123456789") for family in families} <= {
        family.rstrip("0123456789") for family in covered
    }


def test_the_hidden_head_is_the_papers() -> None:
    classifier = small("hidden256")

    kinds = [type(layer).__name__ for layer in classifier.network.get_submodule("fc")]
    forward = classifier.trace(images(2, 28))

    assert kinds == ["Linear", "ReLU", "Dropout", "Linear"]
    assert forward.embedding.shape == (2, 256)


def test_normalisation_is_inside() -> None:
    classifier = small()
    batch = images(2, 28)

    expected = classifier.network((batch - 0.5) / 0.5)

    assert torch.allclose(expected, classifier(batch))


def test_tokens_become_a_grid_row_by_row() -> None:
    classifier = small()
    tokens = torch.arange(5.0).view(1, 5, 1).expand(2, 5, 7)  # a class token and 2 x 2 patches

    grid = classifier.grid(tokens)

    assert grid.shape == (2, 7, 2, 2)
    assert grid[1, 3].tolist() == [[1, 2], [3, 4]]


def test_tokens_without_class_token_become_a_grid() -> None:
    grid = small().grid(torch.arange(9.0).view(1, 9, 1))

    assert grid[0, 0].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_tokens_that_form_no_square_are_refused() -> None:
    with pytest.raises(ArchitectureError, match="square number of tokens"):
        small().grid(torch.zeros(1, 7, 4))


def test_a_trace_leaves_no_hook_even_after_an_exception() -> None:
    classifier = small()

    classifier.trace(images(1, 28))
    with pytest.raises(RuntimeError):
        classifier.trace(torch.rand(1, 5, 28, 28))

    for module in classifier.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_a_frozen_classifier_can_be_traced() -> None:
    classifier = small().requires_grad_(requires_grad=False)

    forward = classifier.trace(images(1, 28))

    (gradient,) = torch.autograd.grad(forward.logits[0, 0], forward.activation)
    assert gradient.abs().sum() > 0


def test_weights_round_trip(tmp_path: Path) -> None:
    first, second = small("hidden256"), small("hidden256")
    path = tmp_path / "weights.safetensors"

    architectures.save_weights(first, path)
    architectures.load_weights(second, path)

    assert torch.equal(first(images(2, 28)), second(images(2, 28)))
    assert [each.name for each in tmp_path.iterdir()] == ["weights.safetensors"]


def test_weights_of_another_architecture_are_refused_and_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    architectures.save_weights(small("hidden256"), path)
    classifier = small()
    before = classifier(images(2, 28))

    with pytest.raises(ArchitectureError, match=r"network\.fc\.weight is missing"):
        architectures.load_weights(classifier, path)

    assert torch.equal(before, classifier(images(2, 28)))


def test_a_file_that_is_not_safetensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"not a header")

    with pytest.raises(ArchitectureError, match="cannot read"):
        architectures.load_weights(small(), path)
    with pytest.raises(ArchitectureError, match="cannot read"):
        architectures.load_weights(small(), tmp_path / "absent.safetensors")


def test_pretrained_weights_are_adopted_below_a_new_head() -> None:
    origin = small()
    spec = architectures.default_spec("small_cnn", ("a", "b"), head="hidden256")

    adopted = architectures.build(spec, pretrained_state=origin.network.state_dict()).eval()

    batch = images(2, 28)
    assert torch.equal(origin.trace(batch).activation, adopted.trace(batch).activation)
    assert adopted(batch).shape == (2, 2)


def test_pretrained_weights_of_a_classifier_are_adopted_whole() -> None:
    origin = small("hidden256")

    adopted = architectures.build(origin.spec, pretrained_state=origin.state_dict()).eval()

    assert torch.equal(origin(images(2, 28)), adopted(images(2, 28)))


def test_pretrained_weights_that_do_not_fit_name_the_tensor() -> None:
    state = small().network.state_dict()
    state["conv2.weight"] = torch.zeros(2)

    with pytest.raises(ArchitectureError, match=r"conv2\.weight has shape \[2\]"):
        architectures.build(small().spec, pretrained_state=state)


def test_the_users_own_factory(own_module: str) -> None:
    spec = architectures.default_spec(f"{own_module}:own", CLASSES, height=32)
    classifier = architectures.build(spec).eval()

    forward = classifier.trace(images(2, 32))

    assert spec.target_layer == "act"
    assert forward.activation.shape == (2, 5, 15, 15)
    assert forward.activation.min() >= 0
    assert forward.logits.shape == (2, 3)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("resnet19", "unknown architecture 'resnet19'"),
        ("no_such_package:factory", "cannot import"),
        ("users_networks:absent", "cannot import"),
        ("users_networks:no_network", "expected a torch.nn.Module"),
        ("users_networks:no_arguments", r"cannot be called as factory\(num_classes="),
    ],
)
@pytest.mark.usefixtures("own_module")
def test_an_architecture_that_is_none_is_refused(architecture: str, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        architectures.default_spec(architecture, CLASSES)


def test_a_network_without_a_linear_layer_is_refused(own_module: str) -> None:
    spec = replace(small().spec, architecture=f"{own_module}:headless")

    with pytest.raises(ArchitectureError, match=r"no nn\.Linear"):
        architectures.build(spec)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target_layer": "layer9"}, "no layer 'layer9'"),
        ({"target_layer": ""}, "no layer ''"),
        ({"architecture": "nothing"}, "unknown architecture"),
    ],
)
def test_a_spec_that_cannot_be_built_is_refused(change: dict[str, str], message: str) -> None:
    spec: ClassifierSpec = replace(small().spec, **change)  # type: ignore[arg-type]

    with pytest.raises(ArchitectureError, match=message):
        architectures.build(spec)


@pytest.mark.parametrize("classes", [(), ("one",), ("same", "same")])
def test_classes_must_be_several_and_different(classes: tuple[str, ...]) -> None:
    with pytest.raises(ArchitectureError, match="at least two different classes"):
        architectures.default_spec("small_cnn", classes)


def test_a_vision_transformer_refuses_oblong_and_odd_sizes() -> None:
    with pytest.raises(ArchitectureError, match="square"):
        architectures.default_spec("vit_b_16", CLASSES, height=32, width=48)
    with pytest.raises(ArchitectureError, match="cannot take 30 x 30"):
        architectures.default_spec("vit_b_16", CLASSES, height=30)


def test_a_target_layer_that_never_runs_is_named() -> None:
    classifier = small()
    classifier.network.add_module("unused", nn.Identity())
    classifier.network.forward = nn.Sequential(*list(classifier.network)[:-1]).forward
    classifier.spec = replace(classifier.spec, target_layer="unused")

    with pytest.raises(ArchitectureError, match="'unused'"):
        classifier.trace(images(1, 28))
