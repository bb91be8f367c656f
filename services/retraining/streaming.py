"""What happens to a retraining, as it happens: its state, its epochs, what it prints."""

import asyncio
import json
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any, Final

from services.retraining import reading
from services.retraining.jobs import progress
from services.retraining.jobs.launchers import Key, Launcher
from services.retraining.rows import Rows

MEDIA_TYPE: Final = "text/event-stream"
NAMES: Final = ("state", "epoch", "log", "end")
_LOOK_SECONDS: Final = 0.5


async def stream(
    rows: Rows,
    root: Path,
    launcher: Launcher,
    retraining_id: str,
    *,
    follow: bool,
    names: Collection[str] = NAMES,
) -> AsyncIterator[str]:
    """Yield server-sent events until there is no more to tell, or until it has ended.

    Args:
        rows: The record.
        root: Folder of all retrainings.
        launcher: Where trainings run.
        retraining_id: Which.
        follow: Whether to go on until it has ended.
        names: Which events: "state" whenever status or step changed, "epoch" after each epoch,
            "log" per printed line; "end" comes last and always.
    """
    offsets: dict[Key, int] = {}
    tails: dict[Key, bytes] = {}  # lines that are not at their end yet
    standing: dict[str, str] = {}
    told = 0
    while True:
        found = await asyncio.to_thread(rows.get, retraining_id)
        state = {"status": found.status, "step": found.step}
        if "state" in names and state != standing:
            yield _event("state", state)
        standing = state
        if "epoch" in names:
            epochs = await asyncio.to_thread(reading.epochs, root, found)
            for each in epochs[told:]:
                yield _event("epoch", each)
            told = len(epochs)
        for key in progress.attempts(root, found) if "log" in names else ():
            async for line in _printed(launcher, key, offsets, tails):
                yield line
        if found.ended or not follow:
            for key in [each for each in tails if tails[each]]:
                yield _line(key, tails[key])
            yield _event("end", {"status": found.status, "outcome": found.reason})
            return
        await asyncio.sleep(_LOOK_SECONDS)


async def _printed(
    launcher: Launcher, key: Key, offsets: dict[Key, int], tails: dict[Key, bytes]
) -> AsyncIterator[str]:
    """Yield the whole lines that an attempt has printed since, page by page; move both marks."""
    while True:
        part, offsets[key] = await asyncio.to_thread(launcher.logs, key, offsets.get(key, 0))
        if not part:
            return
        *lines, tails[key] = (tails.get(key, b"") + part).split(b"\n")
        for line in lines:
            yield _line(key, line)


def _line(key: Key, line: bytes) -> str:
    return _event("log", {"attempt": str(key), "line": line.decode(errors="replace")})


def _event(name: str, value: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(value)}\n\n"
