"""`rightly audit status | verify | export | erase` and `rightly drill`."""

import threading
import time
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from audit.errors import StoreError
from services import clock, secret, settings
from services.commands import terminal, versions
from services.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Since = Annotated[datetime | None, typer.Option(help="First moment of ingestion, in UTC.")]
Until = Annotated[datetime | None, typer.Option(help="First moment that is left out, in UTC.")]
Actor = Annotated[str, typer.Option(help="Who asks; it is recorded.")]
_WAIT_SECONDS = 60.0


def status(*, json: Json = False) -> None:
    """Show where the audit stands: events, what waits in the journal, standing alarms."""
    from audit import report
    from audit.journal import reader
    from audit.store import ledger, tables

    chosen = settings.load()
    with store(chosen).connected() as connection:
        head = connection.execute(tables.head.select()).one()
        alarms = report.alarms(
            connection, states=("alarm", "acknowledged", "requested"), limit=100
        ).rows
        waiting = reader.pending(chosen.journal, ledger.places(connection))
        judged = _verdicts(chosen, connection)
    if json:
        shown = [{**row, "evidence": dict(row["evidence"])} for row in alarms]
        told = {model: asdict(each) for model, each in judged.items()}
        terminal.print_json(
            {"events": head.seq, "pending_bytes": waiting, "alarms": shown, "verdicts": told}
        )
        return
    for model, each in judged.items():
        terminal.say(f"{model}: {each.sentence} Next: {each.label.lower()}.")
    terminal.say(f"{head.seq} events, {waiting} bytes of the journal wait to be ingested")
    if not alarms:
        terminal.say("no alarm stands")
    for row in alarms:
        where = f"{row['model']}/{row['version']} {row['measure']} {row['side']}"
        scope = f"class {row['class_label']}" if row["class_label"] else "all classes"
        terminal.say(f"{row['state']}: {where}, {scope}, since {row['raised_at']}")


def requests(
    model: Annotated[str | None, typer.Argument(help="Default: the default model.")] = None,
    *,
    json: Json = False,
) -> None:
    """Show which retrainings were asked for, and why none is asked for now."""
    from audit.store import decisions

    chosen = settings.load()
    name = model or versions.default(chosen)
    with store(chosen).connected() as connection:
        asked = decisions.requests(connection, name)
        latest = decisions.decided(connection, name, limit=1)
    if json:
        decided = [
            {"at": event.event_time.isoformat(), "retrain": event.retrain}
            | {"reasons": [str(each) for each in event.reasons]}
            for _, event in latest
        ]
        rows = [dict(row._mapping) for row, _ in asked]  # noqa: SLF001 - its public name
        terminal.print_json({"requests": rows, "latest": decided})
        return
    for row, decision in asked:
        terminal.say(f"{row.opened_at} {row.status}: by {row.origin}, {row.reason}")
        if decision is not None and not decision.retrain:
            for each in decision.reasons:
                terminal.say(f"  refused: {each}")
    if not asked:
        terminal.say(f"no retraining of {name} was asked for by policy or alert")
    for _, event in latest:
        if not event.retrain:
            terminal.say(f"at {event.event_time.isoformat()} the policy waited")
            for each in event.reasons:
                terminal.say(f"  {each}")


def lineage(
    prediction: Annotated[str, typer.Argument(help="Identifier of an answer.")],
    *,
    json: Json = False,
) -> None:
    """Follow an answer back to its version, data, recipe, code, libraries and approvers."""
    from models.registry import Registry
    from services.errors import UnknownPredictionError
    from services.records.images import ImageFolder
    from services.records.stores import StoreReader
    from services.records.trail import Trail
    from services.retraining.rows import open_rows
    from services.routes.lineage import trace

    chosen = settings.load()
    trail = Trail(chosen.journal, ImageFolder(chosen.images), StoreReader(chosen.store))
    record = trail.find(prediction)
    if record is None:
        raise UnknownPredictionError(f"no prediction {prediction} was recorded, or it was erased")
    with open_rows(chosen.retraining_store) as rows:
        found = trace(record, Registry(chosen.registry), rows)
    if json:
        terminal.print_json(found.model_dump(mode="json"))
        return
    shown = terminal.table(f"answer {prediction}", "what", "value")
    for what, value in _lineage_rows(found):
        shown.add_row(what, str(value).replace("[", r"\["))
    terminal.console.print(shown)


def verify(*, json: Json = False) -> None:
    """Check the whole audit trail for changes behind its back; exit status 1 if there are any."""
    from audit.store import verification
    from audit.store.anchors import AnchorFolder

    chosen = settings.load()
    anchors = AnchorFolder(chosen.anchors).read()
    found = verification.verify(store(chosen).engine, key=_chain_key(chosen), anchors=anchors)
    if json:
        terminal.print_json({**asdict(found), "intact": found.intact})
    else:
        counted = f"{found.events} events, {found.erased} erased, {found.anchors} anchors"
        terminal.say(f"[bold]{'intact' if found.intact else 'NOT intact'}[/]: {counted}")
        for each in found.findings:
            terminal.say(f"event {each.seq}: {each.tampering}: {each.detail}")
    if not found.intact:
        raise typer.Exit(terminal.FAILED)


def export(
    path: Annotated[Path, typer.Argument(help="The ZIP file to write; must not exist.")],
    *,
    since: Since = None,
    until: Until = None,
) -> None:
    """Write a bundle that somebody else can check without Rightly."""
    from audit.store import export as exporting
    from audit.store.anchors import AnchorFolder

    chosen = settings.load()
    made = exporting.export(
        store(chosen).engine,
        path,
        anchors=AnchorFolder(chosen.anchors).read(),
        since=since and since.replace(tzinfo=UTC),
        until=until and until.replace(tzinfo=UTC),
        now=clock.now(),
    )
    terminal.say(f"events {made.first} to {made.last}, {made.erased} of them erased: {made.path}")
    terminal.say(f"sha256 {made.digest}; unpack it and run: python check.py")


def erase(
    subject: Annotated[str, typer.Argument(help="The pseudonym given with the images.")],
    *,
    actor: Actor = "operator",
) -> None:
    """Erase everything recorded about a subject: images, heatmaps, regions, labels, verdicts."""
    from audit import records
    from services.identifiers import identifier

    chosen = settings.load()
    now = clock.now()
    asked = records.ErasureRequest(identifier(now), now, actor, subject)
    writer = recorder(chosen)
    writer.note([asked])
    writer.close()
    done = _await_erasure(chosen, asked.event_id)
    if done is None:
        terminal.fail("the request is written down, but no auditor has carried it out yet")
    terminal.say(f"erased at {done}")


def drill(
    model: Annotated[str | None, typer.Argument(help="Default: the default model.")] = None,
    *,
    patience: Annotated[float, typer.Option(help="Seconds to wait for the alarm.")] = 60.0,
) -> None:
    """Send known wrong reasons the whole way; exit status 1 if no alarm comes out."""
    from models.registry import Registry
    from models.runtime import Session
    from services.auditing import drill as drilling
    from services.records.stores import StoreReader

    chosen = settings.load()
    version = Registry(chosen.registry).champion(model or versions.default(chosen))
    session = Session.open(version.folder, device=chosen.device, threads=1)
    writer, reading = recorder(chosen), StoreReader(chosen.store)
    outcome = drilling.drill(version, session, writer, reading, clock=clock.now, patience=patience)
    writer.close()
    recall = f"activation recall {outcome.activation_recall:.2f}"
    if not outcome.alarmed:
        terminal.fail(f"no alarm within {outcome.seconds:.0f} s at {recall}; does an auditor run?")
    terminal.say(f"the alarm came after {outcome.seconds:.1f} s at {recall}")


def _verdicts(chosen: Settings, connection: Any) -> dict[str, Any]:  # noqa: ANN401 - loaded late
    """Return the verdict on every model of the registry."""
    from audit import standing, verdict
    from models.registry import Registry
    from services.retraining import pointing, rows

    registry, now = Registry(chosen.registry), clock.now()
    watched = is_watched(chosen)

    def known(model: str) -> Any:  # noqa: ANN401 - loaded late, as above
        pointer = pointing.pointer(registry, retrainings, model)
        found = standing.glanced(connection, model, pointer, now=now)
        return found if watched else standing.unwatched(found)

    retrainings = rows.connect(chosen.retraining_store)
    try:
        return {model: verdict.judge(known(model), now=now) for model in registry.models()}
    finally:
        retrainings.engine.dispose()


def accept(
    *,
    reason: Annotated[str, typer.Option(help="Why, in a sentence; kept in the audit trail.")],
    actor: Actor,
) -> None:
    """Accept an audit store that is older than its anchors: a backup that was put back.

    The anchors so far are set aside, and the store is anchored anew by the auditor.
    """
    from audit import records
    from audit.store.anchors import RESTORED, AnchorFolder, regression
    from audit.store.ledger import end_of
    from services.identifiers import identifier

    chosen, now = settings.load(), clock.now()
    with store(chosen).connected() as connection:
        why = regression(AnchorFolder(chosen.anchors).read(), end_of(connection, now=now))
    if not why:
        terminal.fail(
            "the audit store is the one that its anchors know; there is nothing to accept"
        )
    details = {"accepted": RESTORED, "found": why, "reason": reason}
    writing = recorder(chosen)
    try:
        writing.note([records.ActionEvent(identifier(now), now, "config_change", actor, details)])
    finally:
        writing.close()
    terminal.say(f"accepted, and written down for the auditor: {why}")


def is_watched(chosen: Settings) -> bool:
    """Whether an auditor works on this home now."""
    from services.answering import health
    from services.answering.health import Facts
    from services.records import presence

    facts = Facts(
        is_recording=chosen.recording != "off", auditor=presence.read(chosen.home, "auditor")
    )
    return health.is_watched(health.troubles(facts, now=clock.now()))


def store(chosen: Settings) -> Any:  # noqa: ANN401 - loaded late, like everything heavy here
    """Return the audit store, to read; says so and ends where there is none."""
    from services.records.stores import StoreReader

    return StoreReader(chosen.store).require()


def recorder(chosen: Settings) -> Any:  # noqa: ANN401 - as above
    """Return a recorder for one command; every entry is synced."""
    from services.identifiers import identifier
    from services.records import recording

    return recording.open_recorder(
        chosen.journal,
        source=identifier(clock.now()),
        key=secret.secret_key(chosen.home / "image.key"),
        durability="fsync",
    )


def _chain_key(chosen: Settings) -> bytes:

    return secret.secret_key(chosen.chain_key)


def _await_erasure(chosen: Settings, event_id: str) -> str | None:
    """Wait until an auditor has done it; be the auditor meanwhile where there is none."""
    from audit.store import queries
    from services.auditing import auditor
    from services.records.stores import StoreReader

    stop = threading.Event()
    quiet = chosen.model_copy(update={"audit_port": 0})
    helping = threading.Thread(target=auditor.run, args=(quiet, stop))
    helping.start()
    reader, deadline = StoreReader(chosen.store), time.monotonic() + _WAIT_SECONDS
    done = None
    try:
        while done is None and time.monotonic() < deadline:
            time.sleep(0.1)
            # The store may be in the middle of its making.
            with suppress(StoreError):
                if (reading := reader()) is not None:
                    with reading.connected() as connection:
                        done = queries.erased_at(connection, event_id)
    finally:
        stop.set()
        helping.join()
        reader.close()
    return done


def _lineage_rows(found: Any) -> list[tuple[str, object]]:  # noqa: ANN401 - loaded late, as above
    rows: list[tuple[str, object]] = [
        ("answered", f"{found.answered_at.isoformat()[:19]} by {found.role}"),
        ("version", f"{found.model.name} {found.model.version}, {found.model.digest}"),
    ]
    if (move := found.promotion) is not None:
        rows.append((move.action, f"{move.at.isoformat()[:19]} by {move.actor}: {move.reason}"))
        rows.append(("approved by", move.approved_by or "nobody"))
        rows.append(("plan", move.plan or "not known"))
    if (rollout := found.rollout) is not None:
        rows.append(("canary", f"{rollout.rollout_id} by {rollout.actor}: {rollout.reason}"))
        rows.append(("approved by", rollout.approved_by or "nobody"))
        rows.append(("plan", rollout.plan or "not known"))
    if (made := found.retraining) is not None:
        rows.append(("retraining", f"{made.retraining_id} by {made.requested_by}: {made.reason}"))
        rows += [
            ("approval" if each.approved else "refusal", f"{each.actor}: {each.reason}")
            for each in made.approvals
        ]
    for number, origin in enumerate([found.version, *found.ancestors]):
        if origin is not None:
            before = f"ancestor {number}: " if number else ""
            rows.append((f"{before}data", origin.dataset or "not known"))
            rows.append((f"{before}seeds", ", ".join(map(str, origin.seeds)) or "none"))
            rows += [(f"{before}recipe: {key}", each) for key, each in origin.recipe.items()]
            rows += [(f"{before}library: {key}", each) for key, each in origin.libraries.items()]
    return rows
