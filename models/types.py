"""Frozen values that cross the border of `models`: numpy and JSON only, never a tensor."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A trained, versioned artefact.

    Attributes:
        name: The model's name in the registry.
        version: Counts from 1 within the name.
        digest: "sha256:" and the hexadecimal digest of the version's content.
    """

    name: str
    version: int
    digest: str


Fit = Literal["stretch", "crop", "letterbox"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Channels = Literal["rgb", "bgr", "grey", "grey_rgb"]
Outputs = Literal["logits", "probabilities"]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How pixels become a classifier's input; channels and normalisation are part of the graph.

    Attributes:
        height: Rows of the input.
        width: Columns of the input.
        mean: Subtracted per channel, in the network's own order, on pixels in [0, 1].
        std: Divides per channel afterwards.
        fit: "stretch" resizes both sides; "crop" resizes the shorter side and takes the centre;
            "letterbox" resizes the longer side and fills the rest.
        crop_fraction: Share of the resized shorter side that a crop keeps, in (0, 1]; where
            `resize` says nothing.
        resize: Pixels that the shorter side has after "crop" has resized it, or both sides after
            "stretch" (the height; the width in proportion), before the centre is cut. None cuts
            first and resizes in one step.
        interpolation: The filter.
        antialias: Whether the filter widens with the reduction, as Pillow's and torchvision's do
            and OpenCV's does not.
        channels: What the network takes: "rgb", "bgr", one channel of "grey", or "grey_rgb", grey
            in three channels.
        transform_input: Whether the network's origin normalises once more, as torchvision's
            GoogLeNet and Inception do.
        fill: Grey of what lies beside a letterboxed image, 0..255.
    """

    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fit: Fit = "stretch"
    crop_fraction: float = 1.0
    resize: int | None = None
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    channels: Channels = "rgb"
    transform_input: bool = False
    fill: int = 0


@dataclass(frozen=True, slots=True)
class Grid:
    """How the target layer's output lies over the image.

    Attributes:
        layout: "maps" [N,C,h,w], "maps_last" [N,h,w,C], or "tokens" [N,T,C].
        rows: h; of tokens, rows of patches.
        columns: w; of tokens, patches in a row.
        skipped: Tokens before the first patch, such as the class token.
    """

    layout: Literal["maps", "maps_last", "tokens"]
    rows: int
    columns: int
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class ClassifierSpec:
    """Everything needed to build the same classifier again and to read its answers.

    Attributes:
        architecture: A name of `models.architectures`, or the user's own "module:factory".
        classes: Class labels in the order of the logits.
        preprocessing: How images are prepared.
        target_layer: Dotted name of the module that Grad-CAM reads.
        head: "linear" for the architecture's own last layer, "hidden256" for the
            256-unit ReLU head with dropout of Hagos et al. (2023).
        outputs: What the network as its author wrote it ends in: "logits", or "probabilities",
            whose last softmax is then taken off.
        grid: How the target layer's output lies over the image; None where the architecture's
            name tells.
    """

    architecture: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    target_layer: str
    head: Literal["linear", "hidden256"] = "linear"
    outputs: Outputs = "logits"
    grid: Grid | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """One image's answer with its reason, as computed by one graph.

    Attributes:
        logits: One per class, float32 [classes].
        probabilities: Softmax of the logits, float32 [classes].
        target: Index of the explained class.
        heatmap: Grad-CAM after ReLU, divided by its maximum, float32 [rows, columns] in [0, 1];
            all zeros where no position speaks for the target.
        embedding: Input of the last linear layer, float32 [features].
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    target: int
    heatmap: NDArray[np.float32]
    embedding: NDArray[np.float32]

    @property
    def decided(self) -> int:
        """Index of the most probable class."""
        return int(self.probabilities.argmax())


@dataclass(frozen=True, slots=True)
class Attribution:
    """Signed evidence per pixel for one target class.

    Attributes:
        values: Evidence, float32 [height, width]; positive speaks for the target.
        target: Index of the explained class.
        explainer: Name and version of the method, for example "input_gradients/1".
    """

    values: NDArray[np.float32]
    target: int
    explainer: str
