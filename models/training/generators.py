"""Data sets D1-D4: grey images with a cue whose place and strength are known exactly.

References:
    D1: Ross, Hughes, Doshi-Velez (2017), Right for the Right Reasons, section 4.2 (decoy MNIST).
    D2: Rieger, Singh, Murdoch, Yu (2020), Interpretations are Useful, section 5.2.
    D3: Heo, Piratla, Wicker, Weller (2023), Use Perturbations when Learning from Explanations.
    D4: Bassi et al. (2024), Training with Explanations Alone; coloured MNIST, 100 % biased. Their
        files come ready-made; the ten hues and the shift are ours.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.training.digits import GreySource
from models.training.image_sets import ImageSet
from models.training.tasks import Task

_GREY = 25  # a cue's step per class: 255 - 25·label, or 25·label
_VALIDATION = 0.1  # share of the training rows
_STROKE = 1  # pixels brighter than this are the digit

Draw = np.random.Generator
Paint = Callable[[NDArray[np.uint8], NDArray[np.int64], Draw], tuple[NDArray[np.uint8], ...]]


def corner_decoy(source: GreySource, *, seed: int = 0) -> Task:
    """Return D1: a 4×4 square in a random corner of every image, 255 - 25·label in training.

    In the test set "random" its value is 255 - 25·r with r uniform and independent of the label,
    so it is right by accident for 10 %. The irrelevant mask is the square.
    """

    def value(labels: NDArray[np.int64]) -> NDArray[np.int64]:
        return 255 - _GREY * labels

    def places(draw: Draw, count: int) -> NDArray[np.int64]:
        return draw.integers(0, 2, (count, 2)) * 24

    return _square_task("D1", source, seed, size=4, places=places, value=value, test_value=value)


def coloured_corner_decoy(source: GreySource, *, seed: int = 0) -> Task:
    """Return D1 with a colour for a cue: a 4×4 square in a random corner, of the label's hue.

    Ours: a convolutional network with average pooling hardly reads D1's grey value, which the
    paper's fully connected one does; a hue it reads at once. The hues are those of D4.
    """

    def colour(labels: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.rint(255 * palette()[labels]).astype(np.int64)

    def places(draw: Draw, count: int) -> NDArray[np.int64]:
        return draw.integers(0, 2, (count, 2)) * 24

    return _square_task(
        "D1-colour", source, seed, size=4, places=places, value=colour, test_value=colour
    )


def reversed_corner_decoy(source: GreySource, *, seed: int = 0) -> Task:
    """Return D2: a 5×5 square, 255 - 25·label in training, 25·label in the test set "reversed".

    The irrelevant mask is all four corners, for every image. Class 5 nearly keeps its cue.
    """

    def places(draw: Draw, count: int) -> NDArray[np.int64]:
        return draw.integers(0, 2, (count, 2)) * 23

    task = _square_task(
        "D2",
        source,
        seed,
        size=5,
        places=places,
        value=lambda labels: 255 - _GREY * labels,
        test_value=lambda labels: _GREY * labels,
    )
    corners = np.zeros((28, 28), bool)
    for row in (0, 23):
        for column in (0, 23):
            corners[row : row + 5, column : column + 5] = True
    return _masked(task, corners)


def half_decoy(source: GreySource, *, seed: int = 0) -> Task:
    """Return D3: the digit squeezed into one half, the other half flat 25·label in training.

    Validation and test carry 25·r, r uniform, in the original. Here the validation split keeps
    the training's cue (selection that saw unbiased data would not be a fair claim); the test set
    "random" is the original's. The ceiling carries random halves too, because a flat half is new
    to a network that saw black ones only. The original redraws side and r at every access; ours
    draws once.
    """
    draw = np.random.default_rng([seed, 3])
    train, validation = _divide(len(source.train_labels), seed)
    sets = {
        "training": (source.train_images[train], source.train_labels[train], "label"),
        "validation": (source.train_images[validation], source.train_labels[validation], "label"),
        "correlated": (source.test_images, source.test_labels, "label"),
        "random": (source.test_images, source.test_labels, "random"),
        "clean": (source.test_images, source.test_labels, "none"),
        "ceiling": (source.train_images[train], source.train_labels[train], "random"),
    }
    made = {
        name: _halves(images, labels, classes=source.classes, cue=cue, split=name, draw=draw)
        for name, (images, labels, cue) in sets.items()
    }
    tests = {name: made[name] for name in ("correlated", "random", "clean")}
    return Task("D3", made["training"], made["validation"], tests, made["ceiling"])


def coloured_strokes(source: GreySource, *, seed: int = 0) -> Task:
    """Return D4: strokes in ten fixed hues on black; the hue tells the label in all of training.

    "correlated" is the paper's IID set; in "random" (its OOD) the hue is uniform; in "reversed"
    (its Shift) it is always another label's. Colour has no place, so there are no masks.
    """
    draw = np.random.default_rng([seed, 4])
    train, validation = _divide(len(source.train_labels), seed)
    count = len(source.test_labels)
    labels = source.train_labels
    test = source.test_labels

    def made(name: str, images: NDArray[np.uint8], truth: NDArray[np.int64],
             hues: NDArray[np.int64] | None) -> ImageSet:  # fmt: skip
        return _plain(name, _coloured(images, hues), truth, source.classes)

    images = source.train_images
    tests = {
        "correlated": made("correlated", source.test_images, test, test),
        "random": made("random", source.test_images, test, draw.integers(0, 10, count)),
        "reversed": made(
            "reversed", source.test_images, test, (test + draw.integers(1, 10, count)) % 10
        ),
        "clean": made("clean", source.test_images, test, None),
    }
    free = draw.integers(0, 10, len(train))
    return Task(
        "D4",
        made("training", images[train], labels[train], labels[train]),
        made("validation", images[validation], labels[validation], labels[validation]),
        tests,
        made("ceiling", images[train], labels[train], free),
    )


def palette() -> NDArray[np.float64]:
    """Return the ten hues of D4, 36° apart, saturated, float64 [10, 3] in [0, 1]."""
    hue = np.arange(10)[:, None] / 10 * 6
    offsets = np.array([5, 3, 1])
    shifted = (hue + offsets) % 6
    palette: NDArray[np.float64] = 1 - np.clip(np.minimum(shifted, 4 - shifted), 0, 1)
    return palette


def displaced(rows: ImageSet, *, seed: int = 0) -> ImageSet:
    """Return the control whose irrelevant masks keep their shape but lie off the cue.

    A mark of h×w pixels moves to a place at least one pixel further in than any corner mark
    reaches (D1: top-left in 5..19, which meets no corner). One too large to move so far becomes
    its complement, which is off the cue as well. What is relevant becomes the complement of the
    moved mask, so that methods that reward evidence are displaced as well.
    """
    if rows.relevant is None and rows.irrelevant is None:
        return rows
    draw = np.random.default_rng([seed, 5])
    irrelevant = rows.masks(np.arange(len(rows)))[1]
    moved = np.zeros_like(irrelevant)
    height, width = rows.images.shape[1:3]
    for row, mask in enumerate(irrelevant):
        marked = np.argwhere(mask)
        if not len(marked):
            continue
        (top, left), (bottom, right) = marked.min(axis=0), marked.max(axis=0) + 1
        high, wide = bottom - top, right - left
        if 3 * high + 2 > height or 3 * wide + 2 > width:
            moved[row] = ~mask
            continue
        row_at = int(draw.integers(high + 1, height - 2 * high))
        column_at = int(draw.integers(wide + 1, width - 2 * wide))
        patch = mask[top:bottom, left:right]
        moved[row, row_at : row_at + high, column_at : column_at + wide] = patch
    return replace(rows, relevant=None, irrelevant=moved & ~irrelevant, annotated=rows.known)


def shifted(rows: ImageSet, *, most: int = 3, seed: int = 0) -> ImageSet:
    """Return the control whose irrelevant masks are off by 1 to `most` pixels down and across.

    What is relevant becomes their complement. What leaves the image is lost.
    """
    if rows.relevant is None and rows.irrelevant is None:
        return rows
    draw = np.random.default_rng([seed, 8])
    irrelevant = rows.masks(np.arange(len(rows)))[1]
    steps = draw.integers(1, most + 1, (len(rows), 2)) * draw.choice((-1, 1), (len(rows), 2))
    moved = np.zeros_like(irrelevant)
    height, width = irrelevant.shape[1:]
    for row, (down, across) in enumerate(steps):
        moved[
            row, max(down, 0) : height + min(down, 0), max(across, 0) : width + min(across, 0)
        ] = irrelevant[
            row,
            max(-down, 0) : height + min(-down, 0),
            max(-across, 0) : width + min(-across, 0),
        ]
    return replace(rows, relevant=None, irrelevant=moved, annotated=rows.known)


def without_masks(rows: ImageSet) -> ImageSet:
    """Return the control with no mask on any row."""
    return replace(rows, relevant=None, irrelevant=None, annotated=np.zeros(len(rows), bool))


def keeping(rows: ImageSet, share: float, *, seed: int = 0) -> ImageSet:
    """Return the set with masks on a random share of its rows, share in [0, 1]."""
    kept = np.random.default_rng([seed, 6]).random(len(rows)) < share
    return replace(rows, annotated=rows.known & kept)


def _divide(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows for training and validation."""
    order = np.random.default_rng([seed, 1]).permutation(count)
    held = round(count * _VALIDATION)
    return np.sort(order[held:]), np.sort(order[:held])


def _square_task(
    name: str,
    source: GreySource,
    seed: int,
    *,
    size: int,
    places: Callable[[Draw, int], NDArray[np.int64]],
    value: Callable[[NDArray[np.int64]], NDArray[np.int64]],
    test_value: Callable[[NDArray[np.int64]], NDArray[np.int64]],
) -> Task:
    """Return a task whose cue is a square of one grey value [M] or one colour [M, 3] per row."""
    draw = np.random.default_rng([seed, 2])
    train, validation = _divide(len(source.train_labels), seed)

    def made(
        split: str,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        values: NDArray[np.int64] | None,
    ) -> ImageSet:
        return _squares(
            split,
            images,
            labels,
            classes=source.classes,
            values=values,
            places=places(draw, len(labels)),
            size=size,
        )

    images, labels = source.train_images, source.train_labels
    test_images, test = source.test_images, source.test_labels
    other = draw.integers(0, 10, len(test))
    tests = {
        "correlated": made("correlated", test_images, test, value(test)),
        "random": made("random", test_images, test, value(other)),
        "clean": made("clean", test_images, test, None),
    }
    if test_value is not value:
        tests["reversed"] = made("reversed", test_images, test, test_value(test))
    return Task(
        name,
        made("training", images[train], labels[train], value(labels[train])),
        made("validation", images[validation], labels[validation], value(labels[validation])),
        tests,
        made("ceiling", images[train], labels[train], None),
    )


def _squares(
    split: str,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    classes: tuple[str, ...],
    values: NDArray[np.int64] | None,
    places: NDArray[np.int64],
    size: int,
) -> ImageSet:
    """Draw one square per image; without `values` only the masks are made."""
    pixels = _rgb(images)
    cue = np.zeros(images.shape, bool)
    for row, (top, left) in enumerate(places):
        cue[row, top : top + size, left : left + size] = True
        if values is not None:
            pixels[row, top : top + size, left : left + size] = values[row]
    return ImageSet(
        images=pixels,
        labels=labels,
        classes=classes,
        ids=_names(split, len(labels)),
        relevant=(images > _STROKE) & ~cue,
        irrelevant=cue,
        annotated=np.ones(len(labels), bool),
    )


def _halves(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    classes: tuple[str, ...],
    cue: str,
    split: str,
    draw: Draw,
) -> ImageSet:
    """Squeeze each image into one half and fill the other."""
    count = len(labels)
    grey = np.zeros((count, 28, 28), np.uint8)
    flat = np.zeros((count, 28, 28), bool)
    tops = draw.integers(0, 2, count)
    told = {"label": labels, "random": draw.integers(0, 10, count)}.get(cue)
    for row in range(count):
        small = Image.fromarray(images[row]).resize((28, 14), Image.Resampling.BILINEAR)
        start = 14 * int(tops[row])
        grey[row, start : start + 14] = np.asarray(small)
        flat[row, 14 - start : 28 - start] = True
        if told is not None:
            grey[row, 14 - start : 28 - start] = _GREY * told[row]
    return ImageSet(
        images=_rgb(grey),
        labels=labels,
        classes=classes,
        ids=_names(split, count),
        relevant=~flat,
        irrelevant=flat,
        annotated=np.ones(count, bool),
    )


def _coloured(images: NDArray[np.uint8], hues: NDArray[np.int64] | None) -> NDArray[np.uint8]:
    """Return stroke × hue on black, uint8 [M, 28, 28, 3]; grey without hues."""
    if hues is None:
        return _rgb(images)
    colours = palette()[hues][:, None, None, :]
    return np.rint(images[..., None] * colours).astype(np.uint8)


def _plain(
    split: str, images: NDArray[np.uint8], labels: NDArray[np.int64], classes: tuple[str, ...]
) -> ImageSet:
    """Return a set without masks."""
    return ImageSet(images=images, labels=labels, classes=classes, ids=_names(split, len(labels)))


def _masked(task: Task, irrelevant: NDArray[np.bool_]) -> Task:
    """Give every row of a task the same irrelevant mask."""

    def changed(rows: ImageSet) -> ImageSet:
        masks = np.broadcast_to(irrelevant, rows.images.shape[:3]).copy()
        relevant = None if rows.relevant is None else rows.relevant & ~masks
        return replace(rows, irrelevant=masks, relevant=relevant)

    return Task(
        task.name,
        changed(task.training),
        changed(task.validation),
        {name: changed(rows) for name, rows in task.tests.items()},
        changed(task.ceiling),
    )


def _rgb(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return grey images as RGB."""
    return np.repeat(grey[..., None], 3, axis=3)


def _names(split: str, count: int) -> tuple[str, ...]:
    """Return row names."""
    return tuple(f"{split}-{row}" for row in range(count))
