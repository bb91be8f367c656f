import inspect
import json

import pytest

from audit import errors as audit_errors
from models import errors as models_errors
from services import errors


def test_every_service_error_has_a_status() -> None:
    own = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if kind.__module__ == errors.__name__
    ]
    unknown = [
        kind
        for kind in own
        if kind is not errors.ServiceError and errors.status_of(kind("x")) == 500
    ]

    assert [] == unknown


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (models_errors.UnreadableImageError("x"), 422),
        (errors.UnsupportedMediaError("x"), 415),
        (models_errors.UnsupportedImageError("x"), 415),
        (models_errors.TooLargeImageError("x"), 413),
        (models_errors.RegionRefusedError("x"), 422),
        (errors.OverloadedError("x"), 429),
        (errors.DeadlineError("x"), 503),
        (models_errors.UnknownModelError("x"), 404),
        (models_errors.VersionConflictError("x"), 409),
        (audit_errors.JournalUnavailableError("x"), 503),
        (audit_errors.EmptyRegionError("x"), 422),
        (KeyError("x"), 500),
    ],
)
def test_the_table_decides(error, status) -> None:
    assert status == errors.status_of(error)


def test_the_special_row_stands_before_the_general_one() -> None:
    """Otherwise it would never be reached."""
    rows = [kind for kind, _ in errors.STATUSES]
    hidden = [b for i, a in enumerate(rows) for b in rows[i + 1 :] if issubclass(b, a)]

    assert [] == hidden


def test_an_answer_is_a_problem_document() -> None:
    answer = errors.answer(errors.OverloadedError("the queue is full"))

    assert answer.media_type == "application/problem+json"
    assert answer.headers["retry-after"] == "1"
    assert json.loads(answer.body) == {
        "type": "about:blank",
        "title": "Too Many Requests",
        "status": 429,
        "detail": "the queue is full",
    }


def test_an_unexpected_error_keeps_its_words() -> None:
    assert b"secret" not in errors.answer(KeyError("secret")).body
