"""The layer that Grad-CAM reads is found in every layout, and refused where it is none."""

import sys
import types

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models import architectures, soundness, targets
from models.errors import ArchitectureError, ExportError
from models.types import Grid

SIDE, PATCH, WIDTH = 48, 8, 24


class Pyramid(nn.Module):
    """Convolutions, a pooling that gates, and a linear layer: maps [N,C,h,w]."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, WIDTH, 3, 2, 1), nn.GELU(), nn.Conv2d(WIDTH, 32, 4, 4)
        )
        self.weigh = nn.Conv2d(32, 1, 1)
        self.answer = nn.Linear(32, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.body(images)
        weights = self.weigh(maps).flatten(1).softmax(1).view(-1, 1, *maps.shape[2:])
        return self.answer((maps * weights).sum((2, 3)))


class Last(nn.Module):
    """Channels stand last, [N,h,w,C]."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.patches, self.mix = nn.Conv2d(3, WIDTH, PATCH, PATCH), nn.Linear(WIDTH, WIDTH)
        self.norm, self.answer = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.patches(images).permute(0, 2, 3, 1)
        return self.answer(self.norm(maps + self.mix(maps).tanh()).mean((1, 2)))


class Tokens(nn.Module):
    """Patches and some further tokens that attend to each other, [N,T,C]."""

    def __init__(self, num_classes: int, further: int = 1, *, pooled: bool = False) -> None:
        super().__init__()
        self.pooled, self.further = pooled, further
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.tokens = nn.Parameter(torch.randn(1, further, WIDTH))
        block = nn.TransformerEncoderLayer(WIDTH, 2, 32, batch_first=True, dropout=0.0)
        self.blocks = nn.ModuleList(
            [block, nn.TransformerEncoderLayer(WIDTH, 2, 32, batch_first=True)]
        )
        self.answer = nn.Linear(WIDTH, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        found = self.patches(images).flatten(2).transpose(1, 2)
        found = torch.cat((self.tokens.expand(len(images), -1, -1), found), 1)
        for each in self.blocks:
            found = each(found)
        return self.answer(found[:, self.further :].mean(1) if self.pooled else found[:, 0])


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    made = types.ModuleType("somebodys")
    monkeypatch.setitem(sys.modules, "somebodys", made)
    return made


def oblong(network: nn.Module, height: int, width: int) -> targets.Target:
    torch.manual_seed(1)
    return targets.find(network.eval(), torch.randn(2, 3, height, width))


@pytest.mark.parametrize(
    ("make", "layer", "grid"),
    [
        (Pyramid, "body", Grid("maps", 6, 6)),
        (Last, "norm", Grid("maps_last", 6, 6)),
        (Tokens, "blocks.0", Grid("tokens", 6, 6, 1)),
        (lambda num_classes: Tokens(num_classes, 5), "blocks.0", Grid("tokens", 6, 6, 5)),
        (
            lambda num_classes: Tokens(num_classes, 1, pooled=True),
            "blocks.1",
            Grid("tokens", 6, 6, 1),
        ),
    ],
    ids=["gated maps", "channels last", "class token", "registers", "pooled tokens"],
)
def test_the_last_feature_map_is_found(module, make, layer: str, grid: Grid) -> None:
    torch.manual_seed(0)
    module.own = make

    spec = architectures.default_spec("somebodys:own", ("a", "b"), height=SIDE)
    classifier = architectures.build(spec).eval()

    assert (layer, grid) == (spec.target_layer, spec.grid)
    forward = classifier.trace(torch.rand(2, 3, SIDE, SIDE))
    assert classifier.grid(forward.activation).shape[2:] == (6, 6)


def test_an_oblong_image_has_an_oblong_grid() -> None:
    torch.manual_seed(0)

    assert Grid("maps_last", 4, 6) == oblong(Last(2), 32, 48).grid
    assert Grid("tokens", 4, 6, 1) == oblong(Tokens(2), 32, 48).grid


@pytest.mark.parametrize(("patch", "cell"), [((0, 0), (0, 0)), ((2, 4), (2, 4)), ((5, 1), (5, 1))])
def test_changing_a_patch_moves_its_cell(patch: tuple[int, int], cell: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network, image = Tokens(2).eval(), torch.randn(1, 3, SIDE, SIDE)
    found = targets.find(network, torch.randn(2, 3, SIDE, SIDE))
    changed = image.clone()
    rows, columns = (slice(each * PATCH, (each + 1) * PATCH) for each in patch)
    changed[:, :, rows, columns] += 1
    kept: list[Tensor] = []
    network.get_submodule(found.layer).register_forward_hook(lambda *it: kept.append(it[2]))
    with torch.no_grad():
        network(torch.cat((image, changed)))

    maps = targets.arranged(kept[0], found.grid)
    moved = (maps[1] - maps[0]).square().sum(0)
    assert cell == divmod(int(moved.argmax()), 6)


def test_a_layer_that_is_no_feature_map_is_refused_by_name(module) -> None:
    module.own = Tokens
    module.pyramid = Pyramid
    module.flat = lambda num_classes: nn.Sequential(
        nn.Flatten(), nn.Linear(3 * SIDE**2, num_classes)
    )

    for name, layer, message in (
        ("own", "answer", "gives no tensor with an image's axes.*blocks"),
        ("own", "absent", "gives no tensor"),
        ("flat", None, "no layer that is a feature map"),
    ):
        with pytest.raises(ArchitectureError, match=message):
            architectures.default_spec(
                f"somebodys:{name}", ("a", "b"), height=SIDE, target_layer=layer
            )


def test_a_named_layer_is_read_as_it_lies(module) -> None:
    module.own = Tokens

    spec = architectures.default_spec(
        "somebodys:own", ("a", "b"), height=SIDE, target_layer="blocks.0.norm1"
    )
    swin = architectures.default_spec("swin_t", ("a", "b"), height=64, target_layer="features.3")

    assert Grid("tokens", 6, 6, 1) == spec.grid
    assert Grid("maps_last", 8, 8) == swin.grid


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), dtype=np.uint8)


class Odd(nn.Module):
    """Answers in whatever way it is told to."""

    def __init__(self, num_classes: int, way: str) -> None:
        super().__init__()
        self.inner, self.way, self.unused = Last(num_classes), way, nn.Identity()

    def forward(self, images: Tensor) -> object:
        logits = self.inner(images)
        ways = {
            "softmax": lambda: (9 * logits).softmax(1),
            "sigmoid": logits.sigmoid,
            "tuple": lambda: (logits, images),
            "nan": lambda: logits / 0,
            "flat": lambda: logits[:, 0],
            "attribute": lambda: logits.absent,
        }
        return ways[self.way]() if self.way in ways else logits


@pytest.mark.parametrize(
    ("way", "kind", "message"),
    [
        ("softmax", ExportError, "probabilities already.*--outputs probabilities"),
        ("sigmoid", ExportError, "sigmoid for each output"),
        ("tuple", ArchitectureError, r"returns a tuple, expected one tensor of logits \[4, 2\]"),
        ("nan", ArchitectureError, "not finite"),
        ("flat", ArchitectureError, r"returns \[4\]"),
        ("attribute", ArchitectureError, "AttributeError"),
    ],
)
def test_answers_that_are_no_logits_are_refused(module, way: str, kind, message: str) -> None:
    torch.manual_seed(0)
    module.plain = lambda num_classes: Odd(num_classes, "logits")
    classifier = architectures.build(
        architectures.default_spec("somebodys:plain", ("a", "b"), height=SIDE)
    )
    soundness.check(classifier, noise())
    assert classifier.training

    classifier.network.way = way
    with pytest.raises(kind, match=message):
        soundness.check(classifier, noise())


def test_a_map_that_is_zero_everywhere_is_refused(module) -> None:
    module.own = Pyramid
    spec = architectures.default_spec(
        "somebodys:own", ("a", "b"), height=SIDE, target_layer="weigh"
    )

    with pytest.raises(ExportError, match=r"'weigh' is zero on all samples.*--target-layer"):
        soundness.check(architectures.build(spec), noise())


@pytest.mark.parametrize("classes", [("no", "yes"), ("a", "b", "c")])
def test_a_softmax_that_a_network_ends_in_is_taken_off(module, classes: tuple[str, ...]) -> None:
    module.ending = lambda num_classes: nn.Sequential(Last(num_classes), nn.Softmax(1))
    spec = architectures.default_spec("somebodys:ending", classes, height=SIDE)
    torch.manual_seed(0)
    origin = module.ending(len(classes)).eval()

    classifier = architectures.build(
        architectures.replace(spec, outputs="probabilities"), pretrained_state=origin.state_dict()
    ).eval()

    images = torch.rand(2, 3, SIDE, SIDE)
    ours = classifier(images).softmax(1)
    assert torch.allclose(origin(classifier.normalise(images)), ours, atol=1e-6)
    soundness.check(classifier, noise())
