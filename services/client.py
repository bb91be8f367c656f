"""A typed client of the REST surface: `from services.client import Client`.

What comes back are the types of `services.contract`, checked. A refusal is a `RefusedError` with
the server's own sentence; nothing is tried again behind the caller's back but what a server that
is busy asks for by `Retry-After`, and only reads and idempotent writes.
"""

import base64
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx
from pydantic import BaseModel

from services.contract.audits import Accepted, AlarmList, AuditSummary, VerdictReply
from services.contract.predictions import (
    Answer,
    Answers,
    ModelList,
    ModelReply,
    VersionList,
    VersionReply,
)
from services.contract.retrainings import RetrainingAccepted, RetrainingReply

ENDED: Final = frozenset({"promoted", "rolled_back", "rejected", "failed", "cancelled"})
_TRIES: Final = 4
_BUSY: Final = frozenset({429, 503})
_FIRST_ERROR: Final = 400
_Reply = TypeVar("_Reply", bound=BaseModel)


class RefusedError(Exception):
    """The server refused; its sentence says what would be right.

    Attributes:
        status: The HTTP status.
        detail: The sentence.
        errors: Per field what was wrong; empty where that is not what was wrong.
    """

    def __init__(self, status: int, detail: str, errors: Sequence[Mapping[str, str]] = ()) -> None:
        super().__init__(f"{status}: {detail}")
        self.status, self.detail, self.errors = status, detail, tuple(errors)


class Client:
    """Talks to one server.

    Examples:
        with Client("http://localhost:3000") as client:
            answer = client.predict("photo.png", region="where.png")
            client.label(answer.prediction_id, "7")
    """

    def __init__(
        self,
        url: str = "http://localhost:3000",
        *,
        key: str | None = None,
        timeout: float = 60.0,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Connect lazily.

        Args:
            url: Of the server.
            key: An API key, where the server has sign-in.
            timeout: Seconds that one request may take.
            transport: How requests travel; None for sockets.
            sleep: Waits so many seconds.
        """
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(
            base_url=url, headers=headers, timeout=timeout, transport=transport
        )
        self._sleep = sleep

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close its connections."""
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def predict(
        self,
        image: bytes | str | Path,
        *,
        model: str | None = None,
        region: bytes | str | Path | None = None,
        **options: str | int,
    ) -> Answer:
        """Return the answer to one image, with its reason.

        Args:
            image: An encoded file, or where one is.
            model: Which model; None for the default one.
            region: A PNG of the image's size, non-zero where evidence is expected.
            options: `explainer`, `target`, `top_k`, `overlay`, `subject`.

        Raises:
            RefusedError: If the server refuses.
        """
        if model is not None:
            regions = None if region is None else [region]
            return self.predict_many([image], model=model, regions=regions, **options)[0]
        files = [("image", ("image", _content(image)))]
        if region is not None:
            files.append(("region", ("region", _content(region))))
        fields = {name: str(value) for name, value in options.items()}
        return self._asked(Answer, "POST", "/predict", files=files, data=fields)

    def predict_many(
        self,
        images: Sequence[bytes | str | Path],
        *,
        model: str,
        regions: Sequence[bytes | str | Path] | None = None,
        **options: str | int,
    ) -> list[Answer]:
        """Return the answers to several images, all of one version; arguments as above."""
        files = [("image", ("image", _content(each))) for each in images]
        files += [("region", ("region", _content(each))) for each in regions or ()]
        fields = {name: str(value) for name, value in options.items()}
        path = f"/v1/models/{model}/predictions"
        return self._asked(Answers, "POST", path, files=files, data=fields).predictions

    def answer(self, prediction_id: str) -> Answer:
        """Return an answer that was given before."""
        return self._asked(Answer, "GET", f"/v1/predictions/{prediction_id}")

    def label(self, prediction_id: str, label: str, *, actor: str = "client") -> Accepted:
        """Tell the true class of an answered image."""
        body = {"label": label, "actor": actor}
        return self._asked(Accepted, "PUT", f"/v1/predictions/{prediction_id}/label", json=body)

    def region(
        self, prediction_id: str, region: bytes | str | Path, *, actor: str = "client"
    ) -> Accepted:
        """Tell where evidence is expected in an answered image."""
        body = {"region": base64.b64encode(_content(region)).decode(), "actor": actor}
        return self._asked(Accepted, "PUT", f"/v1/predictions/{prediction_id}/region", json=body)

    def review(
        self, prediction_id: str, verdict: str, *, actor: str = "client", **said: object
    ) -> Accepted:
        """Say whether an answer has the right reason; `said` as in the API's `ReviewRequest`."""
        body = {"verdict": verdict, "actor": actor, **said}
        path = f"/v1/predictions/{prediction_id}/reviews"
        return self._asked(Accepted, "POST", path, json=body)

    def models(self) -> ModelList:
        """Return the models of the registry."""
        return self._asked(ModelList, "GET", "/v1/models")

    def model(self, model: str) -> ModelReply:
        """Return one model: which version answers, and how the pointer moved."""
        return self._asked(ModelReply, "GET", f"/v1/models/{model}")

    def versions(self, model: str) -> VersionList:
        """Return the versions of a model, newest first."""
        return self._asked(VersionList, "GET", f"/v1/models/{model}/versions")

    def verdict(self, model: str) -> VerdictReply:
        """Return in one sentence whether a model is right for the right reasons."""
        return self._asked(VerdictReply, "GET", f"/v1/models/{model}/verdict")

    def audit(self, model: str) -> AuditSummary:
        """Return what the audit knows about a model."""
        return self._asked(AuditSummary, "GET", f"/v1/models/{model}/audit")

    def alarms(self, *, model: str | None = None, state: str | None = None) -> AlarmList:
        """Return alarms, newest first."""
        wanted = {"model": model, "state": state}
        named = {name: value for name, value in wanted.items() if value is not None}
        return self._asked(AlarmList, "GET", "/v1/alarms", params=named)

    def acknowledge(self, alarm_id: str, reason: str, *, actor: str = "client") -> Accepted:
        """Write down that somebody has seen an alarm."""
        body = {"actor": actor, "reason": reason}
        return self._asked(Accepted, "POST", f"/v1/alarms/{alarm_id}/acknowledgement", json=body)

    def promote(
        self, model: str, version: int, reason: str, *, actor: str = "client"
    ) -> VersionReply:
        """Make a version the champion."""
        body = {"version": version, "reason": reason, "actor": actor}
        return self._asked(VersionReply, "POST", f"/v1/models/{model}/promotions", json=body)

    def rollback(self, model: str, reason: str, *, actor: str = "client") -> VersionReply:
        """Make the champion before this one the champion again."""
        body = {"reason": reason, "actor": actor}
        return self._asked(VersionReply, "POST", f"/v1/models/{model}/rollbacks", json=body)

    def retrain(
        self, model: str, reason: str, *, idempotency_key: str | None = None, **wish: object
    ) -> RetrainingAccepted:
        """Ask for a retraining; `wish` as in the API's `RetrainingRequest`."""
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        body = {"model": model, "reason": reason, **wish}
        return self._asked(
            RetrainingAccepted, "POST", "/v1/retrainings", json=body, headers=headers
        )

    def retraining(self, retraining_id: str) -> RetrainingReply:
        """Return where a retraining stands."""
        return self._asked(RetrainingReply, "GET", f"/v1/retrainings/{retraining_id}")

    def follow(self, retraining_id: str, *, seconds: float = 2.0) -> Iterator[RetrainingReply]:
        """Yield a retraining whenever it has changed, until it has ended or waits for approval.

        Args:
            retraining_id: Which.
            seconds: Between two looks.
        """
        last: RetrainingReply | None = None
        while True:
            now = self.retraining(retraining_id)
            if now != last:
                yield now
            if now.status in ENDED or now.status == "awaiting_approval":
                return
            last = now
            self._sleep(seconds)

    def approve(
        self, retraining_id: str, reason: str, *, approved: bool = True, actor: str = "client"
    ) -> RetrainingReply:
        """Say yes or no to a candidate that waits for people."""
        body = {"approved": approved, "reason": reason, "actor": actor}
        path = f"/v1/retrainings/{retraining_id}/approvals"
        return self._asked(RetrainingReply, "POST", path, json=body)

    def cancel(self, retraining_id: str) -> RetrainingReply:
        """Cancel a retraining."""
        return self._asked(RetrainingReply, "DELETE", f"/v1/retrainings/{retraining_id}")

    def _asked(
        self,
        kind: type[_Reply],
        method: str,
        path: str,
        **sent: Any,  # noqa: ANN401 - httpx's own
    ) -> _Reply:
        patient = method in {"GET", "PUT", "DELETE"}
        for tried in range(_TRIES):
            answer = self._http.request(method, path, **sent)
            wait = answer.headers.get("retry-after", "")
            if answer.status_code not in _BUSY or not patient or not wait.isdecimal():
                break
            if tried < _TRIES - 1:
                self._sleep(float(wait))
        if answer.status_code >= _FIRST_ERROR:
            raise _refusal(answer)
        return kind.model_validate_json(answer.content)


def _content(file: bytes | str | Path) -> bytes:
    return file if isinstance(file, bytes) else Path(file).read_bytes()


def _refusal(answer: httpx.Response) -> RefusedError:
    try:
        said = answer.json()
        return RefusedError(answer.status_code, said["detail"], said.get("errors", ()))
    except (ValueError, LookupError, TypeError):
        return RefusedError(answer.status_code, answer.text[:200])
