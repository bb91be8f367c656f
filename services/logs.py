"""How processes log: lines for people, or one JSON object a line for programs.

As JSON, each line carries the ids of the trace that it belongs to, and each answered image has a
line with its prediction's id, so that a log leads to the audit trail and back.
"""

import json
import logging
from datetime import UTC, datetime
from typing import Final, Literal

from services import tracing

ANSWERS: Final = logging.getLogger("rightly.answers")
_PLAIN: Final = "%(asctime)s %(name)s %(message)s"
# What a caller adds by `extra=`; everything else of a record is the library's own.
_FIELDS: Final = ("prediction_id", "model", "version", "explainer", "milliseconds")
_OTHERS: Final = ("bentoml", "uvicorn", "uvicorn.error")  # with handlers of their own


class Lines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        at = datetime.fromtimestamp(record.created, tz=UTC)
        line: dict[str, object] = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if ids := tracing.identifiers():
            line["trace_id"], line["span_id"] = ids
        line |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(kind: Literal["text", "json"]) -> None:
    """Let this process log as `kind` says; call it once, before anything is logged."""
    if kind == "text":
        logging.basicConfig(level=logging.INFO, format=_PLAIN)
        return
    handler = logging.StreamHandler()
    handler.setFormatter(Lines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in _OTHERS:
        for each in logging.getLogger(name).handlers:
            each.setFormatter(handler.formatter)


def answered(
    prediction_id: str, *, model: str, version: int, explainer: str, milliseconds: float
) -> None:
    """Log one answered image, where lines are for programs."""
    if ANSWERS.isEnabledFor(logging.INFO):
        told = {
            "prediction_id": prediction_id,
            "model": model,
            "version": version,
            "explainer": explainer,
            "milliseconds": round(milliseconds, 3),
        }
        ANSWERS.info("answered", extra=told)
