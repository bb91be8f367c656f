"""The composition root: settings in, connected objects out."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from audit import change_control
from audit.errors import JournalUnavailableError
from models.pictures.decoding import Limits
from models.registry import Registry
from models.rollout import Rollout
from models.runtime import Session
from services import clock, logs, secret, settings, telemetry, tracing
from services.access import opening
from services.access.throttle import Throttle
from services.answering.answerer import Answerer, Question
from services.answering.budget import Budget
from services.answering.champions import Champions
from services.answering.pool import Pool
from services.answering.templates import Templates
from services.answering.trials import Trials
from services.contract.predictions import Answer
from services.identifiers import identifier
from services.records import recording
from services.records.images import ImageFolder
from services.records.recording import Recorder
from services.records.stores import StoreReader
from services.records.trail import Trail
from services.retraining import rows
from services.retraining.rows import Rows
from services.rollouts import comparing
from services.rollouts.moves import Mover
from services.rollouts.shadow import Shadow
from services.settings import Settings
from services.versions import tried


@dataclass(frozen=True, slots=True)
class Serving:
    """Everything that answers a request, as one worker has it.

    Attributes:
        settings: What it was made from.
        registry: Models and versions.
        champions: What answers now.
        answerer: Images in, answers out.
        shadow: Where candidates answer silently.
        recorder: Where answers are written down.
        mover: Moves champion pointers and rollouts.
        trail: Where they are found again.
        store: The audit store, to read.
        pool: The threads that compute.
        trials: Versions on trial.
        retrainings: The record of retrainings, which the runner shares.
        webhooks: Counts wrong tokens of webhooks.
    """

    settings: Settings
    registry: Registry
    champions: Champions
    answerer: Answerer
    shadow: Shadow
    recorder: Recorder
    mover: Mover
    trail: Trail
    store: StoreReader
    pool: Pool
    trials: Trials
    retrainings: Rows
    webhooks: Throttle = field(default_factory=Throttle)


def connect(chosen: Settings) -> Serving:
    """Return a worker's objects with every champion loaded.

    Raises:
        RuntimeUnavailableError: If ONNX Runtime cannot run as the settings ask.
        OSError: If the folder of the settings cannot be written.
        SettingsError: If it would answer others without sign-in.
    """
    opening.check(chosen)
    if chosen.log == "json":
        logs.configure(chosen.log)
    tracing.start(chosen.traces, ids=chosen.log == "json")
    registry = Registry(chosen.registry)
    recorder = recording.open_recorder(
        chosen.journal,
        source=identifier(clock.now()),
        key=secret.secret_key(chosen.home / "image.key"),
        mode=chosen.recording,
        durability=chosen.durability,
    )
    limits = Limits(chosen.max_body_bytes, chosen.max_pixels)

    def unusable(model: str, rollout: Rollout, error: Exception) -> None:
        now = clock.now()
        with suppress(JournalUnavailableError):  # the worker's log has it
            recorder.note([comparing.failed(rollout, model, error, prediction_id="", now=now)])

    champions = Champions(registry, _opener(chosen), clock.now, unusable, tried.ensure)
    shadow = Shadow(recorder, clock.now, deadline_seconds=chosen.deadline_seconds)
    champions.refresh()
    trials = Trials(
        registry, champions, recorder, limits, open_session=_opener(chosen), clock=clock.now
    )
    store = StoreReader(chosen.store, chosen.anchors)
    return Serving(
        settings=chosen,
        registry=registry,
        champions=champions,
        answerer=Answerer(
            champions,
            recorder,
            limits,
            clock.now,
            Templates(chosen.registry, chosen.segment_share),
            shadow=shadow,
            budget=Budget(chosen.max_request_pixels, chosen.max_pixels_at_once),
        ),
        shadow=shadow,
        recorder=recorder,
        mover=Mover(registry, recorder, lambda: plan_digest(chosen)),
        trail=Trail(chosen.journal, ImageFolder(chosen.images), store),
        store=store,
        pool=Pool(chosen.concurrency, chosen.deadline_seconds),
        trials=trials,
        retrainings=rows.connect(chosen.retraining_store),
    )


async def answers(serving: Serving, model: str, asked: Callable[[], Question]) -> list[Answer]:
    """Return the answers to what `asked` returns, once they are written down.

    Raises:
        ServiceError: If `asked` or an image says so, or it takes too long.
        ModelsError: As `Answerer.compute` says.
        JournalUnavailableError: If nothing can be written down now.
    """
    answerer = serving.answerer
    if serving.settings.recording == "off":
        return await serving.pool.run(lambda: answerer.answer(model, asked()))
    return await serving.pool.run_and_write(
        lambda: answerer.compute(model, asked()), answerer.give
    )


@asynccontextmanager
async def running(serving: Serving) -> AsyncIterator[None]:
    """Follow the champion pointers meanwhile; finish writing afterwards."""
    following = asyncio.create_task(serving.champions.follow(serving.settings.poll_seconds))
    try:
        yield
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        serving.pool.close()
        serving.shadow.close()
        serving.recorder.close()
        serving.store.close()
        serving.retrainings.engine.dispose()
        tracing.stop()
        telemetry.forget_worker(settings.metrics_folder())


def plan_digest(chosen: Settings) -> str:
    """Return the digest of the change-control plan in force.

    Raises:
        PlanError: If it cannot be read.
    """
    return change_control.load(chosen.change_control or change_control.DEFAULT).digest


def threads_of(chosen: Settings) -> int:
    """Return the threads of one inference: as chosen, else this worker's share of the cores."""
    return chosen.threads or max(1, settings.cores() // chosen.workers)


def _opener(chosen: Settings) -> Callable[[Path], Session]:
    threads = threads_of(chosen)

    def open_session(folder: Path) -> Session:
        return Session.open(folder, device=chosen.device, threads=threads)

    return open_session
