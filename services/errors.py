"""Domain error → HTTP status, one table; and what `services` itself refuses.

ServiceError
├── MalformedError           the body is not what its media type says
├── RequestError             a field of the request cannot be used
│   └── InvalidFieldsError   as pydantic says, field by field
├── UnsupportedMediaError    the bytes are not of a format that Rightly reads
├── TooLargeError            more bytes, pixels or images than the settings allow
├── UnknownPredictionError   no prediction with that identifier was recorded
├── UnknownRetrainingError   no retraining has that identifier
├── RecordUnavailableError   the record of retrainings is locked or unreachable
├── UnknownSampleError       the version has no such sample
├── ForbiddenError           the caller may not do this
├── ConflictError            what is there does not allow it now
├── OverloadedError          the queue is full
├── DeadlineError            the answer took longer than the settings allow
└── NotReadyError            the model is not loaded
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

from audit import errors as audit_errors
from models import errors as models_errors

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 1


class ServiceError(Exception):
    """Anything that `services` refuses, with a message that says what would be right."""


class MalformedError(ServiceError):
    """The body is not what its media type says."""


class RequestError(ServiceError):
    """A field of the request cannot be used."""


class InvalidFieldsError(RequestError):
    """Fields of the request are unknown, missing or out of their range.

    Attributes:
        fields: As `pydantic.ValidationError.errors()` gives them.
    """

    def __init__(self, fields: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(f"{len(fields)} fields cannot be used")
        self.fields = fields


class UnsupportedMediaError(ServiceError):
    """The bytes are not of a format that Rightly reads."""


class TooLargeError(ServiceError):
    """More bytes, pixels or images than the settings allow."""


class UnknownPredictionError(ServiceError):
    """No prediction with that identifier was recorded."""


class UnknownSampleError(ServiceError):
    """The version has no such sample."""


class UnknownAttachmentError(ServiceError):
    """Nothing of that kind is attached to the model."""


class ForbiddenError(ServiceError):
    """The caller may not do this, or nobody may with these settings."""


class ConflictError(ServiceError):
    """What is there does not allow it now."""


class UnknownRetrainingError(ServiceError):
    """No retraining has that identifier."""


class RecordUnavailableError(ServiceError):
    """The record of retrainings cannot be read or written now: locked too long, or unreachable."""


class OverloadedError(ServiceError):
    """The queue is full; the same request may succeed in a moment."""


class DeadlineError(ServiceError):
    """The answer took longer than the settings allow."""


class NotReadyError(ServiceError):
    """The model is not loaded, or not yet."""


# The first row whose class the error is an instance of counts: special before general.
STATUSES: tuple[tuple[type[Exception], HTTPStatus], ...] = (
    (UnsupportedMediaError, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (TooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (MalformedError, HTTPStatus.BAD_REQUEST),
    (RequestError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (UnknownPredictionError, HTTPStatus.NOT_FOUND),
    (UnknownRetrainingError, HTTPStatus.NOT_FOUND),
    (UnknownSampleError, HTTPStatus.NOT_FOUND),
    (UnknownAttachmentError, HTTPStatus.NOT_FOUND),
    (ForbiddenError, HTTPStatus.FORBIDDEN),
    (ConflictError, HTTPStatus.CONFLICT),
    (OverloadedError, HTTPStatus.TOO_MANY_REQUESTS),
    (RecordUnavailableError, HTTPStatus.SERVICE_UNAVAILABLE),
    (DeadlineError, HTTPStatus.SERVICE_UNAVAILABLE),
    (NotReadyError, HTTPStatus.SERVICE_UNAVAILABLE),
    (models_errors.UnsupportedImageError, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (models_errors.TooLargeImageError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (models_errors.ImageError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (models_errors.ExplainerError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (models_errors.UnknownModelError, HTTPStatus.NOT_FOUND),
    (models_errors.RegistryError, HTTPStatus.CONFLICT),
    (models_errors.GraphRejectedError, HTTPStatus.CONFLICT),
    (models_errors.StoppedError, HTTPStatus.SERVICE_UNAVAILABLE),
    (models_errors.RuntimeUnavailableError, HTTPStatus.SERVICE_UNAVAILABLE),
    (audit_errors.RegionError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (audit_errors.OutsidePlanError, HTTPStatus.CONFLICT),
    (audit_errors.PlanError, HTTPStatus.SERVICE_UNAVAILABLE),
    (audit_errors.UnknownRecordError, HTTPStatus.NOT_FOUND),
    (audit_errors.JournalUnavailableError, HTTPStatus.SERVICE_UNAVAILABLE),
    (audit_errors.StoreError, HTTPStatus.SERVICE_UNAVAILABLE),
)
EXPECTED: tuple[type[Exception], ...] = tuple(error for error, _ in STATUSES)


def status_of(error: Exception) -> HTTPStatus:
    """Return the status that answers `error`; 500 for one that the table does not know."""
    known = (status for kind, status in STATUSES if isinstance(error, kind))
    return next(known, HTTPStatus.INTERNAL_SERVER_ERROR)


def problem(
    status: int,
    detail: str,
    *,
    errors: Sequence[object] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return the one shape of every error answer (RFC 9457).

    Args:
        status: The HTTP status.
        detail: A sentence for the caller: what was given and what would be right.
        errors: One entry per field that was wrong; left out when there are none.
        headers: Further headers of the answer.
    """
    body: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
    }
    if errors:
        body["errors"] = list(errors)
    return JSONResponse(body, int(status), dict(headers or {}), media_type=MEDIA_TYPE)


def invalid(errors: Sequence[Mapping[str, Any]]) -> JSONResponse:
    """Return the answer to a request whose fields pydantic refused.

    Args:
        errors: As `ValidationError.errors()` gives them.
    """
    syntax = any(each.get("type") == "json_invalid" for each in errors)
    fields = [
        {"field": ".".join(map(str, each.get("loc", ()))), "message": str(each.get("msg"))}
        for each in errors
    ]
    detail = "; ".join(f"{each['field']}: {each['message']}".strip(": ") for each in fields)
    status = HTTPStatus.BAD_REQUEST if syntax else HTTPStatus.UNPROCESSABLE_ENTITY
    return problem(status, detail, errors=fields)


def answer(error: Exception) -> JSONResponse:
    """Return the answer to an error, without its words where the table does not know it."""
    if isinstance(error, InvalidFieldsError):
        return invalid(error.fields)
    status = status_of(error)
    retry = status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
    known = status is not HTTPStatus.INTERNAL_SERVER_ERROR
    detail = str(error) if known else "an unexpected error; the server's log has more"
    return problem(status, detail, headers={"Retry-After": str(RETRY_SECONDS)} if retry else None)
