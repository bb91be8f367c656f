"""An installation to look at: two weeks of real answers, and two retrainings of the digits model.

Every number is computed: the classifiers are trained, the answers and heatmaps are theirs, the
auditor measures and watches as always. Only the moments of the answers are made up.
"""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import retraining  # beside this file
import torch

from audit import records
from audit.policy import Plan
from audit.store import connections
from audit.store.ledger import Ledger
from models import architectures, export, preprocessing, samples
from models.cards import CardFields, Lineage
from models.registry import Registry
from models.runtime import Session
from models.samples import Sample
from models.training import digits, generators, scores, trainer
from models.training.methods import objective
from models.training.optimizers import TrainingConfig
from models.training.tasks import Task
from models.types import ModelRef
from services import clock, secret
from services.answering.answerer import measured
from services.auditing import auditor
from services.identifiers import identifier
from services.records import recording
from services.records.recording import AnsweredRegion, AnswerEntry, Recorder
from services.retraining.rows import Approval, Request
from services.settings import Settings
from services.versions import baselines, embedded
from services.versions.references import FIELD

DAYS = 14
PER_DAY = 320
# The day on which a new camera begins to leave its coloured mark, and that of the repair.
MARKED_FROM, REPAIRED_FROM = 5, 11
WITH_REGION = 0.75  # share of the answers
REPAIR = Request(
    embedded.NAME,
    "auto",
    "the answers follow the mark of the new camera, not the digit",
    "ben",
    hyperparameters={"epochs": 10},
)
AGAIN = Request(
    embedded.NAME,
    "auto",
    "regions of two more weeks",
    "ada",
    hyperparameters={"epochs": 10, "seed": 1},
)


def stage(home: Path) -> Settings:
    """Fill `home`, unless it is filled, and return its settings."""
    chosen = Settings(home=home, device="cpu", threads=1, change_control=retraining.plan(home))
    if (home / "staged").exists():
        return chosen
    end = clock.now()
    start = (end - timedelta(days=DAYS - 1)).replace(hour=0, minute=5)
    task = generators.coloured_corner_decoy(digits.five_thousand_digits(seed=0), seed=0)
    registry = Registry(chosen.registry)
    first = _file(registry, task, start)
    reason = "the first version"
    registry.promote(embedded.NAME, first.version, reason=reason, actor="ada", now=start)
    recorder = recording.open_recorder(
        chosen.journal,
        source=identifier(end),
        key=secret.secret_key(chosen.home / "image.key"),
        durability="os",
    )
    _answer(chosen, task, recorder, (start, end))
    recorder.close()
    _audit(chosen, end)
    retraining.run(chosen, AGAIN, end - timedelta(minutes=25), approval=None)
    (home / "staged").touch()
    return chosen


def _file(registry: Registry, task: Task, now: datetime) -> ModelRef:
    """Train the first version, measure it, and file it with its samples."""
    config = TrainingConfig(
        epochs=8, batch_size=64, learning_rate=2e-3, schedule="cosine", criterion="last", seed=0
    )
    spec = architectures.default_spec("small_cnn", task.training.classes, height=28, width=28)
    torch.manual_seed(0)
    classifier = architectures.build(spec)
    trainer.train(classifier, objective("erm"), task.training, task.validation, config)
    measures = {
        f"accuracy_{cue}_cue": round(scores.accuracies(classifier, rows)["accuracy"], 4)
        for cue, rows in task.tests.items()
    }
    shown = task.tests["random"]
    with TemporaryDirectory() as draft:
        folder = Path(draft)
        parity = export.export(classifier.cpu().eval(), folder, samples=shown.images[:64])
        rows = [int(np.flatnonzero(shown.labels == label)[1]) for label in range(10)]
        regions = shown.masks(np.array(rows))[0]
        samples.write(
            folder,
            [
                Sample(shown.images[row], shown.classes[shown.labels[row]], region)
                for row, region in zip(rows, regions, strict=True)
            ],
        )
        clean = task.tests["clean"]
        known = clean.masks(np.arange(len(clean)))[0]
        fields = CardFields(
            measures=measures | {FIELD: baselines.measure(folder, clean.images, known)},
            lineage=Lineage(
                dataset=task.training.digest,
                recipe={"objective": "erm", "task": task.name, **asdict(config)},
                seeds=(0,),
            ),
            parity=parity.to_mapping(),
            note="Learnt from the labels alone.",
        )
        return registry.add(embedded.NAME, folder, fields, now=now).ref


def _answer(
    chosen: Settings,
    task: Task,
    recorder: Recorder,
    between: tuple[datetime, datetime],
) -> None:
    """Answer two weeks of images, and retrain when the day comes."""
    rng = np.random.default_rng(7)
    registry = Registry(chosen.registry)
    sessions: dict[int, Session] = {}
    for number, now in _moments(*between, rng):
        champion = registry.champion(embedded.NAME)
        if number // PER_DAY == REPAIRED_FROM and champion.ref.version == 1:
            _audit(chosen, now)
            said = Approval(
                "ada", approved=True, reason="looks at the digit, not at the mark", at=now
            )
            retraining.run(chosen, REPAIR, now - timedelta(minutes=40), approval=said)
            champion = registry.champion(embedded.NAME)
        session = sessions.get(champion.ref.version) or Session.open(champion.folder, device="cpu")
        sessions[champion.ref.version] = session
        marked = number // PER_DAY >= MARKED_FROM
        rows = task.tests["random" if marked else "clean"]
        row = int(rng.integers(len(rows)))
        entry = _entry(champion, session, rows, row, now, located=rng.random() < WITH_REGION)
        recorder.record([entry])
        if rng.random() < 0.3:  # noqa: PLR2004 - share with a label
            label = rows.classes[rows.labels[row]]
            told = now + timedelta(seconds=1)
            recorder.note(
                [records.LabelEvent(identifier(told), told, entry.prediction_id, label, "lab")]
            )


def _moments(
    start: datetime, end: datetime, rng: np.random.Generator
) -> Iterator[tuple[int, datetime]]:
    for number in range(DAYS * PER_DAY):
        day, of_day = divmod(number, PER_DAY)
        # Few on Sundays, none after now; most at noon.
        if rng.random() < (0.5 if (start + timedelta(days=day)).isoweekday() == 7 else 0.9):  # noqa: PLR2004
            now = start + timedelta(days=day, hours=6 + 14 * of_day / PER_DAY)
            if now < end:
                yield number, now


def _entry(version, session, rows, row, now, *, located: bool) -> AnswerEntry:  # noqa: ANN001
    pixels = preprocessing.prepare(rows.images[row], session.spec.preprocessing)
    prediction = session.predict(pixels[None])[0]
    region, measures = None, {}
    if located:
        marked = rows.masks(np.array([row]))[0][0]
        seen = preprocessing.prepare_region(marked, session.spec.preprocessing)
        shares = preprocessing.region_on_grid(seen, prediction.heatmap.shape)
        region = AnsweredRegion("client", "", shares, float(marked.mean()))
        measures = measured(prediction.heatmap, shares)
    return AnswerEntry(
        prediction_id=identifier(now),
        now=now,
        model=version.ref,
        classes=session.spec.classes,
        prediction=prediction,
        image=pixels,
        region=region,
        measures=measures,
    )


def _audit(chosen: Settings, now: datetime) -> None:
    """Ingest everything, as the auditor does."""
    key = secret.secret_key(chosen.chain_key)
    ledger = Ledger(connections.open_writer(chosen.store), key)
    ingestion = auditor.connect(chosen, ledger)
    # Alarms wait for a person here, so that there is something to acknowledge.
    ingestion.plan = Plan(needs_acknowledgement=True)
    ingestion.prepare(now=now)
    while ingestion.step(now=now):
        pass
    ledger.engine.dispose()


if __name__ == "__main__":
    import sys

    stage(Path(sys.argv[1]))
