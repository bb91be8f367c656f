"""`rightly export`: somebody's trained weights become a version that answers as they did."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from models import cards
from models.errors import ArchitectureError
from models.statements import Ending, Stated, described
from models.types import Channels, ClassifierSpec, Fit, Interpolation
from services.commands import making, terminal, versions

if TYPE_CHECKING:
    from models.architectures import Classifier
    from models.fitting import Fitted

_THREE, _TWO = 3, 2


def export(
    weights: Annotated[
        Path,
        typer.Argument(help="What your training saved: .pt, .pth, .ckpt or .safetensors."),
    ],
    *,
    name: Annotated[str, typer.Option(help="The model's name in the registry.")],
    architecture: Annotated[
        str | None,
        typer.Option(
            help="Its architecture, or your own `module:factory`. "
            "Not needed for weights that Rightly trained."
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="The labels in the order of the outputs: separated by commas, "
            "or a text file with one on each line."
        ),
    ] = None,
    head: Annotated[
        Literal["linear", "hidden256"],
        typer.Option(help="The architecture's own last layer, or two."),
    ] = "linear",
    height: Annotated[int | None, typer.Option(help="Rows of the input.", min=1)] = None,
    width: Annotated[int | None, typer.Option(help="Columns of the input.", min=1)] = None,
    mean: Annotated[
        str | None, typer.Option(help="R,G,B that is subtracted; of pixels in 0..1.")
    ] = None,
    std: Annotated[str | None, typer.Option(help="R,G,B that divides afterwards.")] = None,
    value_range: Annotated[
        str | None,
        typer.Option(help="LOW,HIGH: the numbers in which mean and std are given, as 0,255."),
    ] = None,
    channels: Annotated[
        Channels | None,
        typer.Option(help="What the network takes; bgr for OpenCV's order."),
    ] = None,
    fit: Annotated[
        Fit | None,
        typer.Option(
            help="stretch: both sides resized; crop: the shorter side, then the centre; "
            "letterbox: the longer side, the rest filled."
        ),
    ] = None,
    resize: Annotated[
        int | None, typer.Option(help="Pixels of the shorter side before the centre is cut.")
    ] = None,
    interpolation: Annotated[
        Interpolation | None, typer.Option(help="The filter that resizes.")
    ] = None,
    antialias: Annotated[
        bool | None,
        typer.Option(help="Whether the filter widens with the reduction; OpenCV's does not."),
    ] = None,
    fill: Annotated[
        int | None, typer.Option(help="Grey beside a letterboxed image.", min=0, max=255)
    ] = None,
    transform_input: Annotated[
        bool | None,
        typer.Option(help="Whether it normalises once more (GoogLeNet, Inception)."),
    ] = None,
    target_layer: Annotated[
        str | None, typer.Option(help="Dotted name of the layer that Grad-CAM reads.")
    ] = None,
    outputs: Annotated[
        Ending | None,
        typer.Option(
            help="What the network ends in: logits, probabilities (a softmax), one-logit "
            "(two classes), or findings that do not exclude each other."
        ),
    ] = None,
    averages: Annotated[
        bool, typer.Option(help="Take averaged weights (EMA, SWA) where the file has both.")
    ] = True,
    expect: Annotated[
        Path | None,
        typer.Option(
            help="Your own predictions on your own images: a CSV with path and a column for each "
            "class (or label), or an .npz with paths and logits. Others are refused, with the "
            "likeliest cause."
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="How far a probability may be from an expected one.", min=0)
    ] = 0.01,
    samples: making.Samples = None,
    half: making.Half = False,
    note: Annotated[str, typer.Option(help="A sentence for the card.")] = "",
    promote: versions.Promote = None,
) -> None:
    """Turn trained weights into a version: graphs, parity check, card.

    What the weights do not say (size, resizing, normalisation, …) comes from the architecture's
    published preset, and is printed.
    """
    stated = Stated(
        mean=_three(mean, "--mean"),
        std=_three(std, "--std"),
        value_range=_two(value_range, "--value-range"),
        channels=channels,
        fit=fit,
        resize=resize,
        interpolation=interpolation,
        antialias=antialias,
        transform_input=transform_input,
        fill=fill,
        outputs=outputs,
    )
    registry = versions.opened()
    with terminal.progress(lines=True) as report:
        report(f"reading {weights}", 0.0)
        from models import architectures

        spec = stated.applied(
            _spec(
                weights,
                architecture,
                classes,
                head=head,
                height=height,
                width=width,
                channels=channels or "rgb",
                target_layer=target_layer,
            )
        )
        classifier, found = architectures.build_from(spec, weights, averages=averages)
        tell(spec, found)
        agreed = _expected(classifier, expect, samples, tolerance, report)
        filed = making.file_version(
            name,
            classifier.eval(),
            samples=samples,
            half=half,
            recipe={"weights": weights.name, "taken": found.place, **agreed},
            note=note,
            report=report,
        )
    versions.filed(registry, filed, promote=promote, reason=f"exported from {weights.name}")


def tell(spec: ClassifierSpec, found: "Fitted") -> None:
    """Print what is presumed about a network, and what was left of its file."""
    shown = terminal.table("", "presumed, or as you said", "")
    for what, value in described(spec).items():
        shown.add_row(what, terminal.plain(value))
    terminal.console.print(shown)
    for each in found.notes():
        terminal.say(terminal.plain(each))


def _expected(
    classifier: "Classifier",
    expect: Path | None,
    samples: Path | None,
    tolerance: float,
    report: terminal.Report,
) -> dict[str, cards.Json]:
    """Compare with the owner's predictions, where there are some; return what the card notes."""
    if expect is None:
        return {}
    from models import expectations
    from services.commands import expecting

    report(f"comparing with {expect}", 0.05)
    wanted = expecting.read(expect, classifier.spec.classes, samples)
    found = expectations.check(classifier, wanted, tolerance=tolerance, source=expect.name)
    terminal.say(
        terminal.plain(f"as in {expect}: {found.images} images, to {found.difference:.2g}")
    )
    return {"expected_images": found.images, "expected_difference": found.difference}


def _spec(
    weights: Path,
    architecture: str | None,
    classes: str | None,
    *,
    head: Literal["linear", "hidden256"],
    height: int | None,
    width: int | None,
    channels: Channels,
    target_layer: str | None,
) -> ClassifierSpec:
    from models import architectures, checkpoints

    if architecture is not None and classes is not None:
        return architectures.default_spec(
            architecture,
            making.labels(classes),
            head=head,
            height=height,
            width=width,
            published=True,
            channels=channels,
            target_layer=target_layer,
        )
    known = checkpoints.read_spec(weights)
    if known is None or architecture is not None or classes is not None:
        missing = [
            option
            for option, given in (("--architecture", architecture), ("--classes", classes))
            if given is None
        ]
        raise ArchitectureError(f"{weights} does not say what it is: give {' and '.join(missing)}")
    if target_layer is None:
        return known
    size = known.preprocessing
    found = architectures.default_spec(
        known.architecture,
        known.classes,
        height=size.height,
        width=size.width,
        channels=size.channels,
        target_layer=target_layer,
    )
    return replace(known, target_layer=found.target_layer, grid=found.grid)


def _three(text: str | None, option: str) -> tuple[float, float, float] | None:
    found = _numbers(text, option)
    if found is None:
        return None
    if len(found) == 1:
        found *= _THREE
    if len(found) != _THREE:
        raise ArchitectureError(f"{option} {text}: give three numbers, or one for all channels")
    return found[0], found[1], found[2]


def _two(text: str | None, option: str) -> tuple[float, float] | None:
    found = _numbers(text, option)
    if found is None:
        return None
    if len(found) != _TWO:
        raise ArchitectureError(f"{option} {text}: give two numbers, low and high")
    return found[0], found[1]


def _numbers(text: str | None, option: str) -> list[float] | None:
    try:
        return None if text is None else [float(each) for each in text.split(",")]
    except ValueError as error:
        raise ArchitectureError(f"{option} {text}: give numbers separated by commas") from error
