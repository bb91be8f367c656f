"""What is broken in an installation, as one worker sees it, and what to do about it.

A pure function of what is known. Silence is a trouble too: an auditor or runner that says nothing
is told like one that says it fails.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

from audit.store.anchors import RESTORED
from services.records.presence import Presence

Kind: TypeAlias = Literal[
    "recording", "following", "version", "store", "auditor", "journal", "runner"
]
# Opening a large version takes a while, and nothing is followed meanwhile.
FOLLOWED_WITHIN: Final = timedelta(seconds=120)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a worker knows about itself and the processes beside it.

    Attributes:
        is_recording: Whether answers are written down at all.
        unwritable: Why nothing can be written down now; "" where it can.
        followed: When every champion pointer was last looked at; None for never.
        unserved: What cannot be followed or served as it should be → why.
        store: Why the audit store cannot be read; "" where it can.
        auditor: What the auditor said last; None for nothing.
        runner: What the runner said last; None for nothing.
        wants_runner: Whether a runner is to work beside the gateway.
    """

    is_recording: bool = True
    unwritable: str = ""
    followed: datetime | None = None
    unserved: Mapping[str, str] = field(default_factory=dict)
    store: str = ""
    auditor: Presence | None = None
    runner: Presence | None = None
    wants_runner: bool = True


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is broken.

    Attributes:
        kind: What is.
        said: The same in a sentence, without names of files or people.
        remedy: What to do.
        stops: Whether this worker can answer nothing because of it.
        detail: What the program said about it.
    """

    kind: Kind
    said: str
    remedy: str
    stops: bool = False
    detail: str = ""


def troubles(facts: Facts, *, now: datetime) -> list[Trouble]:
    """Return what is broken, the worst first; empty where all is well."""
    found = [
        *_recording(facts),
        *_following(facts, now),
        *_auditing(facts, now),
        *_running(facts, now),
    ]
    return sorted(found, key=lambda each: not each.stops)


def is_watched(found: list[Trouble]) -> bool:
    """Whether these troubles leave the audit working."""
    return not {each.kind for each in found} & {"recording", "store", "auditor"}


def _recording(facts: Facts) -> Iterator[Trouble]:
    if not facts.is_recording:
        said = "Nothing is written down, so nothing is audited and no trial can be judged."
        yield Trouble("recording", said, "Set recording to strict.")
    elif facts.unwritable:
        said = "Answers cannot be written down, so none are given."
        remedy = "Make room on the disk of the journal, or make its folder writable."
        yield Trouble("recording", said, remedy, stops=True, detail=facts.unwritable)


def _following(facts: Facts, now: datetime) -> Iterator[Trouble]:
    remedy = "Restart this worker, and look at its log."
    if facts.followed is None or not abs(now - facts.followed) <= FOLLOWED_WITHIN:
        since = "ever" if facts.followed is None else f"since {_at(facts.followed)}"
        said = (
            f"No champion pointer was looked at {since}: promotions and rollbacks do not arrive."
        )
        yield Trouble("following", said, remedy, stops=True)
    for job, why in facts.unserved.items():
        said = f"It fails: {job}."
        remedy = "Promote or roll back to a version that can be served; the log has the reason."
        yield Trouble("version", said, remedy, detail=why)


def _auditing(facts: Facts, now: datetime) -> Iterator[Trouble]:
    if not facts.is_recording:
        return
    if facts.store:
        said = "The audit store does not answer: nothing is known of what it holds."
        yield Trouble("store", said, "Bring its database back.", detail=facts.store)
    start = "Start it: rightly serve runs it beside the gateway."
    if facts.auditor is None:
        yield Trouble("auditor", "No auditor has worked here: nobody watches.", start)
    elif facts.auditor.is_silent(now):
        said = f"The auditor is silent since {_at(facts.auditor.at)}: nobody watches."
        yield Trouble("auditor", said, start)
    else:
        for job, why in facts.auditor.failing.items():
            if job == RESTORED:
                said = "The audit store is not the one that its anchors know."
                remedy = "Bring the newer one back, or accept it: rightly audit accept."
                yield Trouble("store", said, remedy, detail=why)
                continue
            kind: Kind = "journal" if job.startswith("source ") else "auditor"
            said = f"The auditor cannot go on: {job}."
            remedy = "Its log says where; what is behind the fault is not audited until then."
            yield Trouble(kind, said, remedy, detail=why)


def _running(facts: Facts, now: datetime) -> Iterator[Trouble]:
    start = "Start it: rightly serve runs it, and rightly work alone."
    if facts.runner is None:
        if facts.wants_runner:
            said = "No runner has worked here: trials and retrainings stand still."
            yield Trouble("runner", said, start)
    elif facts.runner.is_silent(now):
        said = (
            f"The runner is silent since {_at(facts.runner.at)}: trials and retrainings stand "
            "still, and no champion is taken back."
        )
        yield Trouble("runner", said, start)
    else:
        for job, why in facts.runner.failing.items():
            yield Trouble("runner", f"The runner fails at {job}.", "See its log.", detail=why)


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
