"""`rightly train`, `rightly evaluate`, `rightly compare`."""

import json as json_module
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audit.evaluation.scorecards import LabelledSet, Scorecard
from models.cards import CardFields, Lineage
from models.errors import ExportError, TrainingError
from models.registry import Registry, Version
from services import clock, settings
from services.commands import terminal, versions
from services.versions import scorecard_pages, scoring

if TYPE_CHECKING:  # torch loads only where something is really trained
    from models.training.image_sets import ImageSet
    from models.training.recipes import Recipe
    from models.training.running import Trained

_PARITY_IMAGES = 32
_CHECKPOINT, _SEARCH = "checkpoint", "search.json"

Data = Annotated[
    Path, typer.Option(help="A folder (manifest.csv, or one per class) or a COCO file.")
]
Split = Annotated[
    str,
    typer.Option(
        help="train, val, test, or all rows. A set without splits is divided as training does."
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Refuse a data set of which anything cannot be used, instead of leaving that out.",
    ),
]


def train(
    *,
    recipe: Annotated[
        Path | None, typer.Option(help="A TOML recipe; the options below change it.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="A folder (manifest.csv, or one per class) or a COCO file."),
    ] = None,
    objective: Annotated[
        str | None, typer.Option(help="How to learn: erm, rrr, counterexamples, tea, jtt, dfr …")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of the objective; repeatable.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE of the training, for example epochs=20."),
    ] = None,
    architecture: Annotated[
        str | None, typer.Option(help="small_cnn, resnet18, …, or your own module:factory.")
    ] = None,
    height: Annotated[
        int | None,
        typer.Option(help="Rows of the input; the architecture's own by default.", min=1),
    ] = None,
    width: Annotated[
        int | None, typer.Option(help="Columns of the input; likewise.", min=1)
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Begin with these: imagenet, or a safetensors file.")
    ] = None,
    balance: Annotated[
        bool, typer.Option("--balance", help="Find the weight by the ratio rule.")
    ] = False,
    search: Annotated[
        int,
        typer.Option(
            help="Search weight (erm: weight decay) and learning rate in so many trainings.", min=0
        ),
    ] = 0,
    to: Annotated[
        Path, typer.Option(help="Folder for weights, recipe, history and checkpoint.")
    ] = Path("training"),
    name: Annotated[
        str | None, typer.Option(help="File the result as a version of this model.")
    ] = None,
    promote: versions.Promote = None,
    strict: Strict = False,
) -> None:
    """Train a classifier, from labels alone or from labels and regions."""
    changes = {
        "data": None if data is None else str(data.resolve()),
        "objective": objective,
        "architecture": architecture,
        "weights": weights,
        "height": height,
        "width": width,
        "balance": {"ratio": 1.0} if balance else None,
    }
    chosen = _recipe(recipe, changes, _pairs(option), _pairs(setting))
    with (
        terminal.stoppable() as should_stop,
        terminal.progress(lines=True) as report,
        terminal.warnings_in_words(),
    ):
        trained = _train(chosen, search, to, report, should_stop, strict=strict)
    if trained is None:
        terminal.say(_stopped(to))
        raise typer.Exit(terminal.INTERRUPTED)
    best = trained.result.history[trained.result.best_epoch - 1]
    values = ", ".join(f"{key} {value:.4f}" for key, value in (best.validation or {}).items())
    terminal.say(f"epoch {best.epoch} of {best.epochs}, on the validation split: {values}")
    others = [f"{each}.safetensors" for each in trained.others]
    terminal.say(", ".join([f"{to}: weights.safetensors", *others, "recipe.toml", "history.json"]))
    if trained.result.collapsed and name is None:
        terminal.warn(trained.result.collapsed)
    elif trained.result.collapsed:
        terminal.fail(f"it is not filed: {trained.result.collapsed}")
    if name is not None:
        with terminal.progress(lines=True) as report:
            report("exporting, comparing with torch", 0.1)
            registry = versions.opened()
            try:
                found = _file(registry, name, trained)
            except ExportError as error:
                from models.export import kept

                raise kept(error, to / "weights.safetensors", name) from error
        versions.filed(registry, found, promote=promote, reason=f"trained by {chosen.objective}")


def evaluate(
    model: Annotated[str, typer.Argument(help="The model: NAME, or NAME@VERSION.")],
    *,
    data: Data,
    split: Split = "test",
    html: Annotated[Path | None, typer.Option(help="Write a page with example images.")] = None,
    json: versions.Json = False,
    strict: Strict = False,
) -> None:
    """Say what a version is worth on a labelled set, with intervals."""
    registry = versions.opened()
    card, rows, served = _scored(registry, [_named(registry, model)], data, split, strict=strict)[
        0
    ]
    if html is not None:
        html.write_text(scorecard_pages.page(card, rows, served), "utf-8")
    if json:
        terminal.print_json(card.to_json())
        return
    table = terminal.table(f"{card.model} on {card.dataset}", "measure", "value", "", "images")
    for line in scorecard_pages.lines(card):
        value = scorecard_pages.shown(line.value).replace("[", r"\[")
        table.add_row(line.name, value, line.note, str(line.value.observations))
    terminal.console.print(table)


def compare(
    first: Annotated[str, typer.Argument(help="A model: NAME, or NAME@VERSION.")],
    second: Annotated[str, typer.Argument(help="Another.")],
    *,
    data: Data,
    split: Split = "test",
    json: versions.Json = False,
    strict: Strict = False,
) -> None:
    """Put two versions side by side on the same labelled set."""
    registry = versions.opened()
    both = [_named(registry, each) for each in (first, second)]
    cards = [card for card, _, _ in _scored(registry, both, data, split, strict=strict)]
    if json:
        terminal.print_json([each.to_json() for each in cards])
        return
    title = f"{cards[0].dataset}, {cards[0].observations} images"
    table = terminal.table(title, "measure", cards[0].model, cards[1].model, "difference", "")
    others = {line.name: line for line in scorecard_pages.lines(cards[1])}
    for line in scorecard_pages.lines(cards[0]):
        other = others.get(line.name)
        if other is None:
            continue
        apart = line.value.low > other.value.high or other.value.low > line.value.high
        table.add_row(
            line.name,
            scorecard_pages.shown(line.value).replace("[", r"\["),
            scorecard_pages.shown(other.value).replace("[", r"\["),
            f"{other.value.value - line.value.value:+.3f}",
            "intervals apart" if apart else line.note,
        )
    terminal.console.print(table)


def _recipe(
    path: Path | None,
    changes: dict[str, Any],
    options: dict[str, Any],
    training: dict[str, Any],
) -> "Recipe":
    """Return the recipe of a file with what the command line changes."""
    from models.training import recipes

    content = {} if path is None else recipes.read(path).to_mapping()
    if changes["objective"] not in {None, content.get("objective")}:
        content.pop("options", None)  # another objective has other options
    content |= {key: value for key, value in changes.items() if value is not None}
    content["options"] = {**content.get("options", {}), **options}
    content = recipes.anchored(content, Path.cwd())
    content["training"] = {**content.get("training", {}), **training}
    return recipes.parse(content)


def _train(
    recipe: "Recipe",
    trials: int,
    to: Path,
    report: terminal.Report,
    should_stop: Callable[[], bool],
    *,
    strict: bool,
) -> "Trained | None":
    """Search if asked, train, and write everything down; None if it was stopped before the end."""
    from models.architectures import save_weights
    from models.training import building, left_out, running
    from models.training.trainer import Event

    report("reading the images", 0.0)
    left = left_out.LeftOut(strict=strict)
    splits = building.read_splits(recipe, left=left)
    left.say()
    left.write(to / left_out.FILE)
    if trials:
        found = _searched(recipe, trials, to / _SEARCH, splits, (report, should_stop))
        if found is None:
            return None
        recipe = found
    steps = replace(recipe, training=replace(recipe.training, report_every=10))

    def told(event: Event) -> None:
        stage = f"{event.stage}: " if event.stage else ""
        words = f"{stage}epoch {event.epoch} of {event.epochs}, loss {event.terms['total']:.4f}"
        report(words, event.step / event.steps)

    trained = running.run(
        steps,
        progress=told,
        should_stop=should_stop,
        checkpoint=to / _CHECKPOINT,
        splits=splits,
    )
    if trained.result.cancelled:
        return None
    to.mkdir(parents=True, exist_ok=True)
    save_weights(trained.classifier, to / "weights.safetensors")
    for name, other in trained.others.items():
        save_weights(other, to / f"{name}.safetensors")
    (to / "recipe.toml").write_text(trained.recipe.to_toml(), "utf-8")
    history = {
        "provenance": dict(trained.result.provenance),
        "best_epoch": trained.result.best_epoch,
        "findings": dict(trained.findings),
        "history": [asdict(each) for each in trained.result.history],
    }
    (to / "history.json").write_text(json_module.dumps(history, indent=1), "utf-8")
    return trained


def _searched(
    recipe: "Recipe",
    trials: int,
    note: Path,
    splits: "Mapping[str, ImageSet]",
    watched: tuple[terminal.Report, Callable[[], bool]],
) -> "Recipe | None":
    """Return the recipe that the search chooses, or chose for this folder; None if stopped."""
    from models.training import recipes
    from models.training.search import search

    report, should_stop = watched
    data = splits["train"].digest
    former = recipes.remembered(note, recipe, data=data)
    if former is not None:
        return former
    found, tried = search(
        recipe,
        trials,
        progress=lambda done, trial: report(
            f"trial {done} of {trials}: "
            + (trial.failed if trial.value is None else f"{trial.value:.4f}"),
            done / (trials + 1),
        ),
        should_stop=should_stop,
        splits=splits,
    )
    if should_stop():
        return None
    shown = [{**each.to_mapping(), "chosen": each.recipe == found} for each in tried]
    recipes.remember(note, recipe, found, data=data, trials=shown)
    return found


def _stopped(to: Path) -> str:
    """Say what a training that was stopped has left, and how it goes on."""
    left = sorted((to / _CHECKPOINT).rglob("training.json"))
    if not left:
        return "stopped before the first epoch was done; the same command begins anew"
    epochs = [f"epoch {json_module.loads(each.read_text('utf-8'))['epoch']}" for each in left]
    return f"stopped; {to / _CHECKPOINT} holds {epochs[-1]}: the same command goes on from there"


def _file(registry: Registry, name: str, trained: "Trained") -> Version:
    """Export what was trained and file it as a version."""
    import numpy as np

    from models import cards, sanity
    from models.export import export
    from services.versions import baselines
    from services.versions.references import FIELD

    images = trained.splits["val"].images[:_PARITY_IMAGES]
    best = trained.result.history[trained.result.best_epoch - 1]
    with tempfile.TemporaryDirectory() as draft:
        parity = export(trained.classifier, Path(draft), samples=images.astype("uint8"))
        held_out = trained.splits["val"]
        relevant, _ = held_out.masks(np.arange(len(held_out)))
        reactions = sanity.randomisation(trained.classifier, images.astype("uint8"))
        reference = baselines.measure(Path(draft), held_out.images.astype("uint8"), relevant)
        validation = {
            f"validation_{key}": round(value, 4) for key, value in (best.validation or {}).items()
        }
        fields = CardFields(
            measures={**validation, FIELD: reference, cards.REACTIONS: reactions},
            lineage=Lineage(
                dataset=trained.splits["train"].digest,
                recipe=trained.recipe.to_mapping(),
                seeds=(trained.recipe.training.seed,),
            ),
            parity=parity.to_mapping(),
        )
        return registry.add(name, Path(draft), fields, now=clock.now())


def _named(registry: Registry, model: str) -> Version:
    """Return the version that NAME or NAME@VERSION means."""
    name, _, number = model.partition("@")
    if number and not number.isdigit():
        raise TrainingError(f"{model!r} is neither NAME nor NAME@VERSION")
    return versions.find(registry, name, int(number) if number else None)


def _scored(
    registry: Registry, asked: Sequence[Version], data: Path, split: str, *, strict: bool
) -> list[tuple[Scorecard, LabelledSet, scoring.ServedClassifier]]:
    """Return each version's scorecard, the set, and the classifier."""
    from models.runtime import Session
    from models.training.datasets import division_seed
    from models.training.left_out import LeftOut

    chosen = settings.load()
    seeds = [division_seed(each.card.fields.lineage.recipe) for each in asked]
    made = []
    for found in asked:
        registry.verify(found)
        with terminal.progress() as report:
            report(f"loading {found.ref.name} version {found.ref.version}", 0.1)
            session = Session.open(found.folder, device=chosen.device, threads=chosen.threads)
            report("reading the images", 0.2)
            left = LeftOut(strict=strict)
            rows = scoring.read_set(session, data, split, seeds=seeds, left=left)
            left.say()
            report(f"asking about {len(rows.labels)} images", 0.4)
            card = scoring.score(session, rows, model=f"{found.ref.name}@{found.ref.version}")
        made.append((card, rows, scoring.ServedClassifier(session)))
    return made


def _pairs(given: list[str] | None) -> dict[str, Any]:
    """Read NAME=VALUE; numbers, booleans and lists as in JSON, anything else is text."""
    pairs = {}
    for each in given or []:
        name, equals, value = each.partition("=")
        if not equals:
            raise TrainingError(f"{each!r} is not NAME=VALUE")
        try:
            pairs[name] = json_module.loads(value)
        except ValueError:
            pairs[name] = value
    return pairs
