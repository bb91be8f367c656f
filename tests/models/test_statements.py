"""What the weights do not say: presets, statements, and the pixels that follow from them."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

from models import architectures, presets, specs
from models.errors import ArchitectureError
from models.preprocessing import prepare, prepare_region
from models.statements import Stated, described
from models.types import ClassifierSpec, Grid, Preprocessing

SHAPES = [(300, 401), (231, 77), (100, 100), (513, 512)]


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def spec(name: str = "resnet18", **size: int) -> ClassifierSpec:
    return architectures.default_spec(name, ("a", "b"), published=True, **size)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "efficientnet_b0", "efficientnet_v2_l"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_published_preset_is_torchvisions_to_the_bit(name: str, shape: tuple[int, int]) -> None:
    theirs = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    ours = presets.published(name)
    picture = noise(*shape)

    pixels = torch.from_numpy(prepare(picture, ours)).permute(2, 0, 1).float() / 255
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (ours.mean, ours.std))
    assert torch.equal(theirs(Image.fromarray(picture)), (pixels - mean) / std)


@pytest.mark.parametrize("name", torchvision.models.list_models(module=torchvision.models))
def test_every_architecture_has_a_preset(name: str) -> None:
    theirs = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    ours = presets.published(name)

    assert theirs.crop_size == [ours.height]
    assert tuple(theirs.mean) == ours.mean
    assert theirs.interpolation.value == ours.interpolation


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_a_filter_without_antialiasing_is_torchs(mode: str) -> None:
    picture = noise(97, 64)
    size = Preprocessing(30, 41, (0,) * 3, (1,) * 3, interpolation=mode, antialias=False)

    values = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    theirs = nn.functional.interpolate(values, (30, 41), mode=mode).clamp(0, 255)
    ours = prepare(picture, size).astype(float)
    assert np.abs(theirs[0].permute(1, 2, 0).numpy() - ours).max() <= 0.501


@pytest.mark.parametrize("shape", [(40, 20), (20, 40), (7, 9), (64, 64)])
def test_a_letterbox_keeps_everything_and_its_proportions(shape: tuple[int, int]) -> None:
    size = Preprocessing(32, 32, (0,) * 3, (1,) * 3, fit="letterbox", fill=114)
    white = np.full((*shape, 3), 255, np.uint8)

    image = prepare(white, size)
    region = prepare_region(np.ones(shape, bool), size)

    assert {114, 255} >= set(np.unique(image))
    assert np.array_equal(image[..., 0] == 255, region)
    rows, columns = region.any(1).sum(), region.any(0).sum()
    assert max(rows, columns) == 32
    assert abs(rows / columns - shape[0] / shape[1]) < 0.1


@pytest.mark.parametrize(
    "size",
    [
        Preprocessing(32, 32, (0,) * 3, (1,) * 3, fit="crop", resize=40),
        Preprocessing(32, 32, (0,) * 3, (1,) * 3, fit="stretch", resize=36),
        Preprocessing(24, 32, (0,) * 3, (1,) * 3, fit="letterbox"),
    ],
)
def test_a_region_lies_where_its_image_lies(size: Preprocessing) -> None:
    marked = np.zeros((120, 90), bool)
    marked[30:80, 20:60] = True
    picture = np.repeat(marked[..., None], 3, 2).astype(np.uint8) * 255

    inside = prepare(picture, size)[..., 0] > 127
    assert (inside != prepare_region(marked, size)).mean() < 0.02


def test_channels_and_transform_input_are_part_of_the_network() -> None:
    images = torch.rand(2, 3, 64, 64)
    size = spec("googlenet", height=64)
    twice = torchvision.models.googlenet(aux_logits=False, init_weights=False, num_classes=2)
    twice.transform_input = True
    classifier = architectures.build(size, pretrained_state=twice.state_dict()).eval()
    mean, std = (torch.tensor(e).view(3, 1, 1) for e in (size.preprocessing.mean, (1.0,) * 3))
    std = torch.tensor(size.preprocessing.std).view(3, 1, 1)

    assert size.preprocessing.transform_input
    expected = twice.eval()((images - mean) / std)
    assert torch.allclose(expected, classifier(images), atol=1e-5)
    bgr = architectures.build(Stated(channels="bgr").applied(size)).eval()
    assert torch.equal(bgr.normalise(images.flip(1)), classifier.normalise(images))


@pytest.mark.parametrize(("channels", "count"), [("grey", 1), ("grey_rgb", 3)])
def test_a_grey_network_sees_pillows_grey(channels: str, count: int) -> None:
    stated = Stated(channels=channels, mean=(0.0,) * 3, std=(1.0,) * 3)
    small = architectures.default_spec("small_cnn", ("a", "b"), height=16)
    classifier = architectures.build(stated.applied(small))
    picture = noise(16, 16)

    prepared = torch.from_numpy(prepare(picture, classifier.spec.preprocessing))
    seen = classifier.normalise(prepared.permute(2, 0, 1)[None].float() / 255)
    grey = np.asarray(Image.fromarray(picture).convert("L"), np.float32) / 255
    assert seen.shape == (1, count, 16, 16)
    assert np.abs(seen[0, 0].numpy() - grey).max() < 1e-6
    assert classifier.eval()(torch.rand(1, 3, 16, 16)).shape == (1, 2)


def test_mean_and_deviation_may_be_given_in_the_range_of_the_pixels() -> None:
    stated = Stated(mean=(103.53, 116.28, 123.675), std=(1.0,) * 3, value_range=(0, 255))

    size = stated.applied(spec()).preprocessing

    assert np.allclose((0.406, 0.456, 0.485), size.mean)
    assert np.allclose(1 / 255, size.std)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (Stated(value_range=(0, 255)), "needs both"),
        (Stated(std=(0.0, 1.0, 1.0)), "above 0"),
        (Stated(resize=100), "must be larger"),
        (Stated(outputs="findings"), "exclude each other"),
    ],
)
def test_statements_that_cannot_be_are_refused(stated: Stated, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        stated.applied(spec())


def test_everything_presumed_is_said() -> None:
    said = described(Stated(channels="bgr", antialias=False).applied(spec("inception_v3")))

    assert said["input"] == "299 x 299 pixels"
    assert "342" in said["fit"]
    assert said["filter"] == "bilinear, without antialiasing"
    assert said["channels"] == "blue, green, red"
    assert "yes" in said["transform_input"]
    assert said["target layer"] == "Mixed_7c"


def test_a_spec_says_no_more_than_older_ones_where_it_need_not() -> None:
    plain = architectures.default_spec("resnet18", ("a", "b"))
    more = Stated(channels="bgr", fit="letterbox").applied(plain)

    assert set(specs.to_mapping(plain)["preprocessing"]) == {
        *("height", "width", "mean", "std", "fit", "crop_fraction")
    }
    assert "grid" not in specs.to_mapping(plain)
    assert specs.from_json(specs.to_json(plain)) == plain
    assert specs.from_json(specs.to_json(more)) == more
    assert specs.from_mapping(asdict(more)) == more
    gridded = ClassifierSpec(
        "x:y", ("a", "b"), plain.preprocessing, "t", grid=Grid("tokens", 2, 3)
    )
    assert specs.from_json(specs.to_json(gridded)) == gridded
