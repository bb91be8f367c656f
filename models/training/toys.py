"""Data sets D5 and D6: toy colours with two sufficient rules, and iris beside breast cancer.

References:
    Ross, Hughes, Doshi-Velez (2017), Right for the Right Reasons, sections 4.1 (toy colours) and
    4.2 (iris-cancer).
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.training.image_sets import ImageSet
from models.training.tasks import Task

_COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 128, 255], [128, 0, 255]], np.uint8)
_CORNERS = ((0, 0), (0, 4), (4, 0), (4, 4))
_TOP_MIDDLE = ((0, 1), (0, 2), (0, 3))


def toy_colours(*, train: int = 20_000, test: int = 20_000, seed: int = 0) -> Task:
    """Return D5: 5×5 images that two rules decide equally well; the masks forbid the corners.

    Class 0: the four corners agree and the three top-middle pixels differ from each other.
    Class 1: neither holds. `forbidding` makes the masks of the other rule.
    """
    draw = np.random.default_rng([seed, 7])
    sizes = {"training": train - train // 10, "validation": train // 10, "correlated": test}
    made = {name: _colour_images(name, count, draw) for name, count in sizes.items()}
    # Each rule broken on its own: the top-middle, or the corners, of a row of the other class.
    tests = {
        "correlated": made["correlated"],
        "corners": _exchange(made["correlated"], "corners", draw),
        "top-middle": _exchange(made["correlated"], "top-middle", draw),
    }
    ceiling = _mixed_corners(made["training"], draw)
    return Task("D5", made["training"], made["validation"], tests, ceiling)


def forbidding(rows: ImageSet, *rules: str) -> ImageSet:
    """Return D5 rows whose irrelevant masks cover "corners", "top-middle" or both."""
    mask = np.zeros((5, 5), bool)
    for rule in rules:
        for place in _CORNERS if rule == "corners" else _TOP_MIDDLE:
            mask[place] = True
    masks = np.broadcast_to(mask, (len(rows), 5, 5)).copy()
    return replace(rows, relevant=None, irrelevant=masks, annotated=np.ones(len(rows), bool))


def iris_cancer(*, seed: int = 0) -> Task:
    """Return D6: four iris features beside 30 of breast cancer, unscaled, [M, 1, 34, 1].

    The irrelevant mask is the four iris features; "clean" is the test set with them zeroed.
    """
    from sklearn import datasets as tables  # noqa: PLC0415  # heavy, and wanted here only

    iris, iris_class = tables.load_iris(return_X_y=True)
    cancer, cancer_class = tables.load_breast_cancer(return_X_y=True)
    versicolor, virginica = 1, 2
    malignant, benign = 0, 1
    features = np.concatenate(
        [
            np.hstack([iris[iris_class == versicolor], cancer[cancer_class == malignant][:50]]),
            np.hstack([iris[iris_class == virginica], cancer[cancer_class == benign][:50]]),
        ]
    ).astype(np.float32)
    labels = np.repeat([0, 1], 50).astype(np.int64)
    order = np.random.default_rng([seed, 8]).permutation(100)
    training = _table("training", features[order[:67]], labels[order[:67]])
    test = _table("correlated", features[order[67:]], labels[order[67:]])
    clean = test.images.copy()
    clean[:, 0, :4] = 0
    without = training.images.copy()
    without[:, 0, :4] = 0
    return Task(
        "D6",
        training,
        training,  # 67 rows leave nothing to select on: the last epoch is taken
        {"correlated": test, "clean": replace(test, images=clean)},
        replace(training, images=without),
    )


def _colour_images(split: str, count: int, draw: np.random.Generator) -> ImageSet:
    """Draw images of both classes by the published rules."""
    colours = draw.integers(0, 4, (count, 5, 5))
    labels = draw.integers(0, 2, count)
    for image, label in zip(colours, labels, strict=True):
        _agree(image, draw) if label == 0 else _differ(image, draw)
    rows = ImageSet(
        images=_COLOURS[colours],
        labels=labels.astype(np.int64),
        classes=("both rules", "neither rule"),
        ids=tuple(f"{split}-{row}" for row in range(count)),
    )
    return forbidding(rows, "corners")


def _agree(image: NDArray[np.int64], draw: np.random.Generator) -> None:
    """Make corners equal and the top-middle distinct, in place."""
    for place in _CORNERS:
        image[place] = image[4, 4]
    while len(set(image[0, 1:4])) < 3:  # noqa: PLR2004  # the three pixels
        image[0, 1:4] = draw.integers(0, 4, 3)


def _differ(image: NDArray[np.int64], draw: np.random.Generator) -> None:
    """Break both rules, in place."""
    if draw.random() < 0.5:  # noqa: PLR2004  # one of two corners
        while image[0, 4] == image[4, 0]:
            image[0, 4] = draw.integers(0, 4)
    else:
        while image[0, 0] == image[4, 4]:
            image[0, 0] = draw.integers(0, 4)
    while len(set(image[0, 1:4])) == 3:  # noqa: PLR2004  # the three pixels
        image[0, 1:4] = draw.integers(0, 4, 3)


def _exchange(rows: ImageSet, rule: str, draw: np.random.Generator) -> ImageSet:
    """Return rows whose pixels of `rule` come from a row of the other class."""
    images = rows.images.copy()
    places = _CORNERS if rule == "corners" else _TOP_MIDDLE
    for label in (0, 1):
        own = np.flatnonzero(rows.labels == label)
        donors = draw.choice(np.flatnonzero(rows.labels != label), len(own))
        for row, column in places:
            images[own, row, column] = rows.images[donors, row, column]
    return replace(rows, images=images)


def _mixed_corners(rows: ImageSet, draw: np.random.Generator) -> ImageSet:
    """Return rows with the corners of any row, so that the top-middle alone tells the label."""
    images = rows.images.copy()
    donors = draw.permutation(len(rows))
    for row, column in _CORNERS:
        images[:, row, column] = rows.images[donors, row, column]
    return replace(rows, images=images)


def _table(split: str, features: NDArray[np.float32], labels: NDArray[np.int64]) -> ImageSet:
    """Return a table as an image set of one row of features."""
    masks = np.zeros((len(labels), 1, 34), bool)
    masks[:, 0, :4] = True
    return ImageSet(
        images=features[:, None, :, None],
        labels=labels,
        classes=("versicolor, malignant", "virginica, benign"),
        ids=tuple(f"{split}-{row}" for row in range(len(labels))),
        irrelevant=masks,
        annotated=np.ones(len(labels), bool),
    )
