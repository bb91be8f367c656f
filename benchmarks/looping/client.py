"""A client of the service: everything that the benchmark does to it goes over REST."""

import base64
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from models.training.image_sets import ImageSet
from services.pictures import png

BATCH = 16
ENDED = {"promoted", "rolled_back", "rejected", "failed", "cancelled"}


@dataclass(slots=True)
class Client:
    """Asks one model of a server.

    Attributes:
        http: Connected to the server.
        model: The model.
    """

    http: httpx.Client
    model: str

    def right(self, rows: ImageSet, *, regions: bool = True) -> np.ndarray:
        """Ask about every row; return which answers are right, bool [rows].

        Args:
            rows: Images and their true classes.
            regions: Whether the region is sent along, as a site with a segmenter does.
        """
        relevant, _ = rows.masks(np.arange(len(rows)))
        found = []
        for start in range(0, len(rows), BATCH):
            chosen = range(start, min(start + BATCH, len(rows)))
            body: dict[str, Any] = {"image": [_text(rows.images[row]) for row in chosen]}
            if regions:
                body["region"] = [
                    _text(np.repeat(relevant[row][..., None], 3, 2) * np.uint8(255))
                    for row in chosen
                ]
            answers = self.post(f"/v1/models/{self.model}/predictions", body)["predictions"]
            found += [
                answer["classes"][0]["label"] == rows.classes[int(rows.labels[row])]
                for answer, row in zip(answers, chosen, strict=True)
            ]
        return np.array(found)

    def alarms(self) -> list[dict[str, Any]]:
        """Return the alarms of the model that were raised."""
        answer = self.http.get("/v1/alarms", params={"model": self.model})
        items = answer.json()["items"] if answer.is_success else []
        return [each for each in items if each["state"] in {"alarm", "requested"}]

    def asked(self) -> dict[str, Any] | None:
        """Return the retraining that somebody else asked for already, if any."""
        found = self.http.get("/v1/retrainings", params={"model": self.model}).json()["items"]
        return found[0] if found else None

    def followed(self, name: str, seconds: float) -> dict[str, Any]:
        """Wait until a retraining has ended; return it.

        Raises:
            TimeoutError: If it takes longer than `seconds`.
        """
        end, step = time.monotonic() + seconds, ""
        while time.monotonic() < end:
            found: dict[str, Any] = self.http.get(f"/v1/retrainings/{name}").json()
            if found["step"] != step:
                step = found["step"]
                print(f"    {step}", flush=True)
            if found["status"] in ENDED:
                return found
            time.sleep(0.5)
        raise TimeoutError(f"retraining {name} has not ended within {seconds:g} s")

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Post JSON; return the answer.

        Raises:
            httpx.HTTPStatusError: If it is refused.
        """
        answer = self.http.post(path, json=body)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


@dataclass(slots=True)
class Load:
    """Requests that go on while the model is retrained and replaced.

    Attributes:
        url: Of the server.
        model: The model.
        rows: What is asked.
        answered: How many were answered.
        failed: How many were not.
        versions: Which versions answered.
    """

    url: str
    model: str
    rows: ImageSet
    answered: int = 0
    failed: int = 0
    versions: set[int] = field(default_factory=set)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Ask meanwhile."""
        stop = threading.Event()
        thread = threading.Thread(target=self._ask, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _ask(self, stop: threading.Event) -> None:
        images = [_text(each) for each in self.rows.images]
        with httpx.Client(base_url=self.url, timeout=60.0) as http:
            while not stop.wait(0.1):
                body = {"image": images[(self.answered + self.failed) % len(images)]}
                try:
                    answer = http.post(f"/v1/models/{self.model}/predictions", json=body)
                    answer.raise_for_status()
                except httpx.HTTPError:
                    self.failed += 1
                    continue
                self.versions.add(answer.json()["predictions"][0]["model"]["version"])
                self.answered += 1


def _text(image: np.ndarray) -> str:
    return base64.b64encode(png.compressed(image.astype(np.uint8))).decode()
