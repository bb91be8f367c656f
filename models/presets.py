"""How an architecture's author fed it: size, resizing, filter and normalisation of its weights.

Nothing of this is in a file of weights, and a network answers plausibly with the wrong one. The
published preset is the best guess for a network that somebody trained from published weights.
"""

from dataclasses import replace
from typing import Final

import torchvision

from models.types import Interpolation, Preprocessing

Three = tuple[float, float, float]

IMAGENET_MEAN: Final[Three] = (0.485, 0.456, 0.406)
IMAGENET_STD: Final[Three] = (0.229, 0.224, 0.225)
HALF: Final[Three] = (0.5, 0.5, 0.5)

_SMALL_CNN = Preprocessing(28, 28, HALF, HALF)
_LITE = Preprocessing(
    224, 224, (127 / 255,) * 3, (128 / 255,) * 3, fit="crop", crop_fraction=224 / 256
)
_OWN = Preprocessing(224, 224, IMAGENET_MEAN, IMAGENET_STD)
_FILTERS: Final[dict[str, Interpolation]] = {
    "nearest": "nearest",
    "bilinear": "bilinear",
    "bicubic": "bicubic",
    "lanczos": "lanczos",
}
# torchvision builds these with one more normalisation where it gives them its weights.
_NORMALISING_TWICE = ("googlenet", "inception_v3")


def published(architecture: str) -> Preprocessing:
    """Return how an architecture's published weights want images.

    Args:
        architecture: torchvision's name, `small_cnn`, `efficientnet_lite0`, or "module:factory",
            for which nothing is published: ImageNet's normalisation, both sides resized.
    """
    if architecture == "small_cnn":
        return _SMALL_CNN
    if architecture == "efficientnet_lite0":
        return _LITE
    if ":" in architecture:
        return _OWN
    preset = torchvision.models.get_model_weights(architecture).DEFAULT.transforms()
    (crop,), (resize,) = preset.crop_size, preset.resize_size
    return Preprocessing(
        crop,
        crop,
        _three(preset.mean),
        _three(preset.std),
        fit="crop",
        crop_fraction=crop / resize,
        resize=resize,
        interpolation=_FILTERS[preset.interpolation.value],
        antialias=True,
        transform_input=architecture in _NORMALISING_TWICE,
    )


def sized(preset: Preprocessing, height: int | None, width: int | None) -> Preprocessing:
    """Return a preset for another input size: the crop keeps its share of the resized image.

    Args:
        preset: As published.
        height: Rows; as `width`, else the preset's own, when None.
        width: Columns; as `height`, else the preset's own, when None.
    """
    rows = height or width or preset.height
    columns = width or height or preset.width
    if (rows, columns) == (preset.height, preset.width):
        return preset
    resize = preset.resize and max(rows, round(preset.resize * rows / preset.height))
    # Of an oblong input the shorter side of the image may be the longer one of the input.
    return replace(preset, height=rows, width=columns, resize=resize if rows == columns else None)


def stretched(preset: Preprocessing) -> Preprocessing:
    """Return a preset's size and normalisation with the whole image resized to it.

    For training anew: nothing that an image shows at its borders is cut away.
    """
    return Preprocessing(preset.height, preset.width, preset.mean, preset.std)


def _three(values: list[float]) -> Three:
    red, green, blue = (float(each) for each in values)
    return red, green, blue
