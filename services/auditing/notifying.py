"""Tell people: alarms, refusals and moves of the champion go to the addresses of `notify`.

One place for all of it: whatever happened, in whichever process, ends in the chain of events, and
a thread of the auditor reads on from where it stood. Delivery is at least once and in order; an
address that does not answer holds back nothing but the messages.
"""

import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from audit import records
from audit.errors import AuditError
from audit.store import tables
from audit.watch.watching import DRILL
from services.records.stores import StoreReader
from services.settings import Settings

LOG = logging.getLogger("rightly.notifying")
_FILE: Final = "notified.json"
_LOOK_SECONDS: Final = 1.0
_PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0)  # between attempts at one message
_BATCH: Final = 500
_KINDS: Final = ("alarm", "action")
_REFUSED: Final = "refused"

Weight = Literal["info", "success", "warning", "failure"]


@dataclass(frozen=True, slots=True)
class Message:
    """What people are told.

    Attributes:
        weight: How it is coloured where colours are known.
        title: In a few words.
        text: In a sentence or more, with the address of the page where there is one.
    """

    weight: Weight
    title: str
    text: str


Send = Callable[[Message], bool]


def sender(addresses: str) -> Send:
    """Return what delivers a message to every address; each as Apprise writes it."""
    import apprise  # noqa: PLC0415  # an extra, and a third of a second

    told = apprise.Apprise()
    told.add(addresses.split())

    def send(message: Message) -> bool:
        return bool(told.notify(message.text, title=message.title, notify_type=message.weight))

    return send


class Notifier:
    """Reads the chain from where it stood and tells what people want to know.

    Args:
        home: Keeps how far everything was told.
        store: The audit store, to read.
        send: Delivers a message; False where an address did not take it.
        link: Address of the pages; "" where browsers reach none.
    """

    def __init__(self, home: Path, store: StoreReader, send: Send, link: str = "") -> None:
        self._file, self._store, self._send, self._link = home / _FILE, store, send, link

    def look(self, stop: threading.Event) -> int:
        """Tell what has happened since the last look; return how many messages were delivered."""
        reading, told = self._store(), 0
        if reading is None:
            return 0
        with reading.connected() as connection:
            newest = connection.execute(sa.select(sa.func.max(tables.events.c.seq))).scalar() or 0
            since = self._since()
            if since is None:  # what happened before anybody asked to be told is not news
                self._reached(newest)
                return 0
            wanted = (
                sa.select(tables.events.c.seq, tables.payloads.c.body)
                .join(tables.payloads, tables.payloads.c.seq == tables.events.c.seq)
                .where(tables.events.c.seq > since, tables.events.c.kind.in_(_KINDS))
                .order_by(tables.events.c.seq)
                .limit(_BATCH)
            )
            rows = connection.execute(wanted).all()
        for message in messages([records.from_bytes(row.body) for row in rows], self._link):
            if stop.is_set():
                return told  # told from the last place again by the next auditor
            told += self._delivered(message, stop)
        self._reached(rows[-1].seq if len(rows) == _BATCH else newest)
        return told

    def _delivered(self, message: Message, stop: threading.Event) -> bool:
        for pause in (*_PAUSES, 0.0):
            if self._send(message):
                return True
            LOG.warning("%r was not delivered everywhere", message.title)
            if stop.wait(pause):
                return False
        LOG.error("%r is given up: %s", message.title, message.text)
        return False

    def _since(self) -> int | None:
        try:
            return int(json.loads(self._file.read_text("utf-8"))["seq"])
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def _reached(self, seq: int) -> None:
        partial = self._file.with_suffix(".partial")
        partial.write_text(json.dumps({"seq": seq}), "utf-8")
        partial.replace(self._file)


def messages(events: Sequence[records.Entry], link: str) -> list[Message]:
    """Return what to tell of some events; alarms of one version at one look are one message."""
    alarms: dict[tuple[str, int], list[records.AlarmEvent]] = {}
    told: list[Message] = []
    for event in events:
        match event:
            case records.AlarmEvent(state="alarm") if not event.model.endswith(DRILL):
                alarms.setdefault((event.model, event.version), []).append(event)
            case records.ActionEvent():
                told += _of_action(event, link)
            case _:
                pass
    return [*(_of_alarms(each, link) for each in alarms.values()), *told]


def _of_alarms(alarms: Sequence[records.AlarmEvent], link: str) -> Message:
    first = alarms[0]
    lines = [
        f"{each.measure} of class {each.class_label or '(all)'} went {each.side}: "
        f"{each.evidence.get('value', float('nan')):.3g} on "
        f"{each.evidence.get('observations', 0):.0f} answers"
        for each in alarms
    ]
    return Message(
        "failure",
        f"{first.model} version {first.version}: {len(alarms)} alarm{'s' * (len(alarms) > 1)}",
        _linked("\n".join(lines), link, "/alarms"),
    )


def _of_action(event: records.ActionEvent, link: str) -> Iterator[Message]:
    """Return the message of an action, if people are to be told of it."""
    details = event.details
    model = details.get("model", "")
    number, why = details.get("version", "?"), details.get("reason", "")
    place = f"/models/{model}"
    match event.action:
        case "gate_result" if details.get("verdict") == _REFUSED:
            run = f"/runs/{details.get('retraining_id', '')}"
            text = f"The gate refused the candidate: {details.get('reasons', '')}."
            yield Message("warning", f"{model}: a candidate is refused", _linked(text, link, run))
        case "promotion":
            text = f"{event.actor}: {why}"
            title = f"{model}: version {number} answers"
            yield Message("success", title, _linked(text, link, place))
        case "rollback":
            text = f"{event.actor}: {why}"
            title = f"{model}: back to version {number}"
            yield Message("warning", title, _linked(text, link, place))
        case "withdrawal":
            text = f"{event.actor}: {why}"
            title = f"{model}: version {number} is withdrawn from its trial"
            yield Message("warning", title, _linked(text, link, place))


def _linked(text: str, link: str, path: str) -> str:
    return f"{text}\n{link}{path}" if link else text


@contextmanager
def running(chosen: Settings) -> Iterator[None]:
    """Tell what happens while the block runs, in a thread of its own, if anybody is to be told."""
    if not chosen.notify:
        yield
        return
    store, stop = StoreReader(chosen.store), threading.Event()
    notifier = Notifier(chosen.home, store, sender(chosen.notify), chosen.public_url)

    def follow() -> None:
        while not stop.wait(_LOOK_SECONDS):
            try:
                notifier.look(stop)
            except (SQLAlchemyError, AuditError, OSError):
                LOG.exception("a look at the events failed and will be tried again")

    thread = threading.Thread(target=follow, name="notifying", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(5.0)
        store.close()
