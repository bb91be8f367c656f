"""`rightly plant`: a data set with a shortcut that is known pixel by pixel."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from models.training import datasets, imports
from models.training.left_out import FILE, LeftOut
from models.training.planting import Planting, Told
from models.training.planting import plant as planted
from models.training.writing import write
from models.types import Preprocessing
from services.commands import terminal
from services.commands.learning import Data, Strict

_PLAIN = (0.5, 0.5, 0.5)  # nothing is normalised here
# What the cue tells in training, and what is asked of the test → what it tells there.
_TESTS: dict[tuple[str, str], Told] = {
    ("label", "same"): "label",
    ("label", "random"): "random",
    ("label", "reversed"): "reversed",
    ("presence", "same"): "presence",
    ("presence", "random"): "presence at random",
    ("presence", "reversed"): "presence reversed",
}


def plant(
    *,
    data: Data,
    to: Annotated[Path, typer.Option(help="New folder for the images with the cue.")],
    kind: Annotated[
        Literal["marker", "tag", "border", "tint"],
        typer.Option(help="A disc, a letter on a plate, a frame, or a colour cast."),
    ] = "marker",
    told: Annotated[
        Literal["label", "presence"],
        typer.Option(help="In training it tells the label, or stands with the first class only."),
    ] = "label",
    test: Annotated[
        Literal["random", "reversed", "same", "none"],
        typer.Option(
            help="In the test split: independent of the label, against it, as in training, no cue."
        ),
    ] = "random",
    share: Annotated[
        float, typer.Option(help="Share of the training rows that have it as told.", min=0, max=1)
    ] = 1.0,
    side: Annotated[int, typer.Option(help="Height and width of the images.", min=8)] = 224,
    seed: Annotated[int, typer.Option(help="Of places and draws.")] = 0,
    strict: Strict = False,
) -> None:
    """Plant a documented cue in a data set, to see which way of learning resists it."""
    size = Preprocessing(side, side, _PLAIN, _PLAIN)
    with terminal.progress() as report:
        report("reading the images", 0.1)
        left = LeftOut(strict=strict)
        splits = datasets.load_splits(
            imports.read_data(data, left=left), size, seed=seed, left=left
        )
        left.say()
        cue = Planting(kind, told, rate=share, seed=seed)
        made = {
            name: planted(rows, replace(cue, seed=seed + place))
            for place, (name, rows) in enumerate(splits.items())
            if name != "test"
        }
        if "test" in splits:
            rows = splits["test"]
            if test == "none":
                made["test"] = rows
            else:
                other = replace(cue, told=_TESTS[told, test], seed=seed + 9)
                made["test"] = planted(rows, other)
        report("writing", 0.6)
        write(made, to, source=f"{data.name} with a planted {kind}, which tells the {told}")
        left.write(to / FILE)
    terminal.say(f"{to}: " + ", ".join(f"{len(rows)} {name}" for name, rows in made.items()))
