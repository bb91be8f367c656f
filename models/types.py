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


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How pixels become a classifier's input; the normalisation itself is part of the graph.

    Attributes:
        height: Rows of the input.
        width: Columns of the input.
        mean: Subtracted per RGB channel, on pixels in [0, 1].
        std: Divides per RGB channel afterwards.
        fit: "stretch" resizes both sides; "crop" resizes the shorter side to
            `size / crop_fraction` and takes the centre.
        crop_fraction: Share of the resized shorter side that a crop keeps, in (0, 1].
    """

    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fit: Literal["stretch", "crop"] = "stretch"
    crop_fraction: float = 1.0


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
    """

    architecture: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    target_layer: str
    head: Literal["linear", "hidden256"] = "linear"


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
