"""`rightly models adopt`: an ONNX classifier from elsewhere, served with its reason."""

import tempfile
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from numpy.typing import NDArray

from models.cards import CardFields, Lineage
from models.errors import ArchitectureError
from models.types import ClassifierSpec, Preprocessing
from services import clock
from services.commands import making, terminal, versions

_IMAGES, _SEED = 8, 0


def adopt(
    file: Annotated[Path, typer.Argument(help="An ONNX image classifier, whoever wrote it.")],
    *,
    name: Annotated[str, typer.Option(help="The model's name in the registry.")],
    classes: Annotated[
        str,
        typer.Option(help="The labels in the order of the outputs, or a file with one on a line."),
    ],
    height: Annotated[int, typer.Option(help="Rows of the input.")],
    width: Annotated[int, typer.Option(help="Columns of the input.")],
    mean: Annotated[
        str, typer.Option(help="Subtracted after scaling: one number, or red,green,blue.")
    ] = "0",
    std: Annotated[str, typer.Option(help="Divided by after that, likewise.")] = "1",
    values: Annotated[
        Literal["0-1", "0-255"], typer.Option(help="Range of pixels before mean and std.")
    ] = "0-1",
    order: Annotated[Literal["rgb", "bgr"], typer.Option(help="Order of the channels.")] = "rgb",
    layout: Annotated[
        Literal["auto", "nchw", "nhwc"], typer.Option(help="Where the channels are.")
    ] = "auto",
    fit: Annotated[
        Literal["stretch", "crop"], typer.Option(help="How another shape becomes the input's.")
    ] = "stretch",
    outputs: Annotated[
        Literal["auto", "logits", "probabilities"], typer.Option(help="What the output is.")
    ] = "auto",
    output: Annotated[str | None, typer.Option(help="Name of the output.")] = None,
    cells: Annotated[
        int,
        typer.Option(
            min=2,
            max=14,
            help="Rows and columns of the grid that is hidden cell by cell, where the graph has "
            "no class activation map: an answer then takes 1 + cells × cells passes.",
        ),
    ] = 4,
    samples: making.Samples = None,
    note: Annotated[str, typer.Option(help="A sentence for the card.")] = "",
    promote: versions.Promote = None,
) -> None:
    """Serve somebody else's ONNX classifier, with its reason, and audit it.

    Its answers are the file's own, compared at adoption. Where the graph ends in a pooled linear
    layer its class activation map is exact and free; else every answer hides one part of the
    image after the other, and says so. What is adopted cannot be retrained: that needs weights.
    """
    from models.adoption import adopting
    from models.adoption.foreign import Wish

    spec = ClassifierSpec(
        architecture=f"onnx:{file.stem[:80]}",
        classes=tuple(making.labels(classes)),
        preprocessing=Preprocessing(
            height=height,
            width=width,
            mean=_three(mean, "mean"),
            std=_three(std, "std"),
            fit=fit,
            crop_fraction=1.0,
        ),
        target_layer="the last features before pooling",
        head="linear",
    )
    wish = Wish(
        spec,
        layout=layout,
        scale=1 / 255 if values == "0-1" else 1.0,
        reverse=order == "bgr",
        outputs=outputs,
        output=output,
        cells=cells,
    )
    with tempfile.TemporaryDirectory() as draft:
        folder = Path(draft)
        found = adopting.adopt(file, folder, wish, _images(spec.preprocessing, samples))
        card = CardFields(lineage=Lineage(recipe=found.to_mapping()), note=note)
        version = versions.opened().add(name, folder, card, now=clock.now())
    terminal.say(
        f"{file.name} by {found.producer}: output taken as {found.outputs}, answers differ by "
        f"{found.difference:.1e} at most"
    )
    if found.explanation == "cam":
        terminal.say("its heatmap is the class activation map, exact, in the same pass")
    else:
        terminal.say(
            f"it has no class activation map: the heatmap hides {cells} × {cells} cells in turn, "
            f"so an answer takes {found.passes} passes"
        )
    versions.filed(versions.opened(), version, promote=promote, reason=f"adopted {file.name}")


def _three(text: str, what: str) -> tuple[float, float, float]:
    try:
        numbers = [float(each) for each in text.split(",")]
    except ValueError as error:
        raise ArchitectureError(f"--{what} {text!r}: one number, or three with commas") from error
    if len(numbers) not in {1, 3} or (what == "std" and 0.0 in numbers):
        raise ArchitectureError(f"--{what} {text!r}: one number, or three with commas, none 0")
    red, green, blue = numbers if len(numbers) > 1 else numbers * 3
    return red, green, blue


def _images(shape: Preprocessing, samples: Path | None) -> NDArray[np.uint8]:
    """Return images to compare on: photographs, or noise, which reaches every range of values."""
    if samples is not None:
        return making.photographs(samples, shape)
    size = (_IMAGES, shape.height, shape.width, 3)
    return np.random.default_rng(_SEED).integers(0, 256, size, np.uint8)
