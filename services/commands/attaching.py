"""`rightly attach-segmenter | template-region`: who says where the object is."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from models.attachments import Attachments, Kind
from services import clock, settings
from services.commands import terminal
from services.commands.auditing import recorder
from services.commands.versions import Name, actor, opened

_PAIR, _TRIPLE = 2, 3
_LISTED = 400  # characters of a card's value

Size = Annotated[
    str | None, typer.Option(help="ROWSxCOLUMNS, for a graph that leaves its size open.")
]
Triple = Annotated[str, typer.Option(help="Three numbers for red, green and blue.")]
Off = Annotated[bool, typer.Option("--off", help="Use none from now on.")]


def attach_segmenter(
    model: Name,
    file: Annotated[
        Path | None, typer.Argument(help="An ONNX file. If left out: show what is attached.")
    ] = None,
    *,
    size: Size = None,
    scale: Annotated[
        Literal["unit", "byte"], typer.Option(help="Pixels in [0, 1], or 0..255.")
    ] = "unit",
    mean: Triple = "0,0,0",
    std: Triple = "1,1,1",
    output: Annotated[
        Literal["probability", "logit", "scores"],
        typer.Option(help="What it answers; scores are of several classes, before a softmax."),
    ] = "probability",
    relevant: Annotated[str, typer.Option(help="Numbers of the relevant classes.")] = "",
    threshold: Annotated[
        float, typer.Option(help="A pixel is relevant from this probability on.")
    ] = 0.5,
    off: Off = False,
) -> None:
    """Let a segmenter say where the object is, on a share of the answers without a region.

    It is checked on probe images first. The auditor runs it, never the gateway.
    """
    from models import segmenters
    from models.segmenters import Wish

    registry = opened()
    registry.versions(model)
    if off:
        _detach(model, "segmenter")
        return
    if file is not None:
        wish = Wish(
            size=None if size is None else _size(size),
            scale=scale,
            mean=_triple(mean),
            std=_triple(std),
            output=output,
            relevant=tuple(_whole(each) for each in relevant.split(",") if each),
            threshold=threshold,
        )
        segmenters.attach(registry.root, model, file, wish, actor=actor(), now=clock.now())
        _note(model, "segmenter")
    _show(model, "segmenter")


def template_region(
    model: Name,
    file: Annotated[
        Path | None, typer.Argument(help="A PNG, non-zero where evidence is expected.")
    ] = None,
    *,
    polygon: Annotated[
        str | None,
        typer.Option(
            help="Corners instead of a file: x,y x,y x,y … in shares of width and height."
        ),
    ] = None,
    off: Off = False,
) -> None:
    """Let one region stand for every image, where none came along and no segmenter looks.

    Without a file or a polygon: show what is in use.
    """
    from models import templates
    from models.pictures import regions
    from models.pictures.decoding import Limits

    registry = opened()
    registry.versions(model)
    if off:
        _detach(model, "template")
        return
    if file is not None or polygon is not None:
        if file is not None and polygon is not None:
            terminal.fail("give a file or a polygon, not both")
        if file is not None:
            chosen = settings.load()
            limits = Limits(chosen.max_body_bytes, chosen.max_pixels)
            region = regions.decode_region(_content(file), None, limits)
        else:
            region = templates.from_polygon(_corners(str(polygon)))
        templates.attach(registry.root, model, region, actor=actor(), now=clock.now())
        _note(model, "template")
    _show(model, "template")


def _show(model: str, kind: Kind) -> None:
    found = Attachments(opened().root, kind).current(model)
    if found is None:
        terminal.say(f"{model} has no {kind}")
        return
    shown = terminal.table(f"{kind} {found.number} of {model}", "what", "value")
    shown.add_row("digest", found.digest)
    for key, value in found.card.items():
        shown.add_row(key, str(value)[:_LISTED])
    terminal.console.print(shown)


def _detach(model: str, kind: Kind) -> None:
    if not Attachments(opened().root, kind).detach(model, actor=actor(), now=clock.now()):
        terminal.fail(f"{model} has no {kind}")
    _note(model, kind)
    terminal.say(f"{model} uses no {kind} any more")


def _note(model: str, kind: Kind) -> None:
    from audit import records
    from services.identifiers import identifier

    now = clock.now()
    writer = recorder(settings.load())
    details = {"what": kind, "model": model}
    writer.note([records.ActionEvent(identifier(now), now, "config_change", actor(), details)])
    writer.close()


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        terminal.fail(f"{file} cannot be read: {error.strerror}")


def _size(text: str) -> tuple[int, int]:
    sides = text.lower().split("x")
    if len(sides) != _PAIR:
        terminal.fail(f"size {text!r}: write ROWSxCOLUMNS, for example 128x128")
    return _whole(sides[0]), _whole(sides[1])


def _corners(text: str) -> list[tuple[float, float]]:
    corners = []
    for word in text.split():
        numbers = word.split(",")
        if len(numbers) != _PAIR:
            terminal.fail(f"corner {word!r}: write x,y, for example 0.25,0.5")
        corners.append((_number(numbers[0]), _number(numbers[1])))
    return corners


def _triple(text: str) -> tuple[float, float, float]:
    numbers = [_number(each) for each in text.split(",")]
    if len(numbers) != _TRIPLE:
        terminal.fail(f"{text!r}: write three numbers, for example 0.485,0.456,0.406")
    return numbers[0], numbers[1], numbers[2]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        terminal.fail(f"{text!r} is no number")


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        terminal.fail(f"{text!r} is no whole number")
