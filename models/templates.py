"""One fixed region for all images of a model: where the object is when images are aligned."""

import io
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from models.attachments import Attached, Attachments
from models.errors import CorruptVersionError, ImageError

FILE: Final = "region.png"
LARGEST: Final = 20_000_000  # bytes of the file
# Pixels to a side of the canvas on which a polygon is drawn.
CANVAS: Final = 512
MOST_CORNERS: Final = 1000
_FEWEST = 3


def from_polygon(corners: Sequence[tuple[float, float]]) -> NDArray[np.bool_]:
    """Return the region inside a polygon.

    Args:
        corners: x and y of each corner as shares of the image's width and height, in [0, 1].

    Returns:
        bool [512, 512].

    Raises:
        ImageError: If it has too few or too many corners, or one lies outside of the image.
    """
    if not _FEWEST <= len(corners) <= MOST_CORNERS:
        raise ImageError(
            f"a polygon has {_FEWEST} to {MOST_CORNERS} corners, this one has {len(corners)}"
        )
    for x, y in corners:
        if not (0.0 <= x <= 1.0 and 0.0 <= y <= 1.0):
            raise ImageError(f"corner ({x}, {y}) lies outside of the image: shares are in [0, 1]")
    canvas = Image.new("L", (CANVAS, CANVAS))
    points = [(x * CANVAS - 0.5, y * CANVAS - 0.5) for x, y in corners]
    ImageDraw.Draw(canvas).polygon(points, fill=255)
    region: NDArray[np.bool_] = np.asarray(canvas) > 0
    return region


def attach(
    root: Path, model: str, region: NDArray[np.bool_], *, actor: str, now: datetime
) -> Attached:
    """Let a region stand for all images of a model from now on.

    Args:
        root: The registry's folder.
        model: An existing model; the caller has checked.
        region: True where evidence is expected, bool [rows, columns], drawn on an image as sent.
        actor: Who attaches it.
        now: When, with a time zone.

    Raises:
        ImageError: If it marks nothing or everything.
    """
    if not region.any() or region.all():
        raise ImageError("a template region marks something, and not everything")
    buffer = io.BytesIO()
    Image.fromarray(region.astype(np.uint8) * 255).save(buffer, "PNG")
    rows, columns = region.shape
    card = {
        "kind": "template",
        "rows": rows,
        "columns": columns,
        "area": float(region.mean()),
    }
    files = {FILE: buffer.getvalue()}
    return Attachments(root, "template").attach(model, files, card, actor=actor, now=now)


def load(attached: Attached) -> NDArray[np.bool_]:
    """Return an attached region, bool [rows, columns].

    Raises:
        CorruptVersionError: If its file is not what the card says.
    """
    content = attached.content(FILE, largest=LARGEST)
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            region: NDArray[np.bool_] = np.asarray(image.convert("L")) > 0
    except (OSError, ValueError, SyntaxError) as error:
        raise CorruptVersionError(f"{FILE} of {attached.model} is no PNG: {error}") from error
    return region
