"""The last look that was taken at a candidate, in a file beside the pointer, for everybody to see.

It is no state: losing it loses nothing. That it is old says that nobody looks any more.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

from audit.rollout import Evidence, Judgement, Limits

FILE: Final = "rollout-look.json"
# A runner looks several times a second.
STALE_AFTER: Final = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Look:
    """One look.

    Attributes:
        rollout_id: At which rollout.
        at: When.
        step: What was to be done.
        reason: Why.
        needed: Images that are enough.
        seconds: Longest time of the phase.
        evidence: What was known, by name.
    """

    rollout_id: str
    at: datetime
    step: Literal["wait", "go_on", "withdraw"]
    reason: str
    needed: int
    seconds: float
    evidence: dict[str, Any]


def write(
    folder: Path,
    rollout_id: str,
    judgement: Judgement,
    limits: Limits,
    evidence: Evidence,
    *,
    now: datetime,
) -> None:
    """Put the look into a model's folder, in one step."""
    falls = evidence.falls
    shown = {
        **{key: value for key, value in asdict(evidence).items() if key != "falls"},
        "recall_fall": sum(falls) / len(falls) if falls else None,
        "known_until": evidence.known_until and evidence.known_until.isoformat(),
    }
    content = {
        "rollout_id": rollout_id,
        "at": now.isoformat(),
        "step": judgement.step,
        "reason": judgement.reason,
        "needed": limits.requests,
        "seconds": limits.seconds,
        "evidence": shown,
    }
    # Renamed, so that nobody reads half of it; not synced: losing it loses nothing.
    beside = folder / f".{FILE}.partial"
    beside.write_text(json.dumps(content), "utf-8")
    beside.replace(folder / FILE)


def read(folder: Path, rollout_id: str) -> Look | None:
    """Return the last look at this rollout; None where there was none, or it cannot be read."""
    try:
        value = json.loads((folder / FILE).read_bytes())
        found = Look(**{**value, "at": datetime.fromisoformat(value["at"])})
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return found if found.rollout_id == rollout_id else None


def is_stale(look: Look | None, since: datetime, *, now: datetime) -> bool:
    """Whether nobody looks any more.

    Args:
        look: The last look.
        since: When the rollout's phase began.
        now: The present.
    """
    return now - max(since, look.at if look else since) > STALE_AFTER
