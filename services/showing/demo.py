"""The whole loop on the model of a fresh installation: `make demo`.

A server is started in a temporary home and asked over REST like any other: first digits whose cue
tells the label, as in training, then digits whose cue tells any class. The audit raises its alarm,
a retraining is asked for, judged and promoted while requests go on, and the table says what
changed.
"""

import base64
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import httpx
import numpy as np

from models.registry import Registry
from models.training import digits, generators
from models.training.image_sets import ImageSet
from services import clock, settings
from services.commands import supervision, terminal
from services.commands.serving import code_folder
from services.pictures import png
from services.retraining.jobs.launchers import end_all
from services.settings import Settings
from services.versions import embedded

_MODEL = embedded.NAME
_CUES = {"correlated": "tells the label", "random": "tells any class", "clean": "is gone"}
_IMAGES = 400  # of each cue
_BATCH = 16
_WAIT_SECONDS = 120.0
_ENDING_SECONDS = 40.0
_TRAINING_SECONDS = 1200.0
_EPOCHS = 10


def main() -> int:
    """Run the story; return 0 where it ended with a promotion and no failed request."""
    began = time.monotonic()
    with ending_cleanly(), tempfile.TemporaryDirectory(prefix="rightly-demo-") as home:
        chosen = Settings(home=Path(home), port=free_port(), audit_port=0, device="cpu")
        with terminal.progress() as report:
            embedded.ensure_default(Registry(chosen.registry), now=clock.now(), progress=report)
        tests = generators.coloured_corner_decoy(digits.five_thousand_digits()).tests
        with server(chosen) as client:
            good = _story(client, tests)
    terminal.say(f"{(time.monotonic() - began) / 60:.1f} minutes in all")
    return 0 if good else 1


def _story(client: httpx.Client, tests: Mapping[str, ImageSet]) -> bool:
    before = {}
    for cue, told in _CUES.items():
        before[cue] = replay(client, tests[cue])
        terminal.say(f"version 1, the cue {told}: {before[cue]:.1%} of {_IMAGES} right")
    show_alarms(client)
    asked = _post(client, "/v1/retrainings", {
        "model": _MODEL, "actor": "demo", "hyperparameters": {"epochs": _EPOCHS},
        "reason": "the answers follow the corner, not the digit",
        # A slow machine may answer too little meanwhile; the locked set has judged by then.
        "when_quiet": "go_on",
    })  # fmt: skip
    terminal.say("a trial with too few requests goes on here; by default it withdraws")
    terminal.say(f"\nretraining {asked['retraining_id']} asked for, requests go on meanwhile")
    load = _Load(str(client.base_url), tests["random"])
    started = time.monotonic()
    with load.running():
        found = _follow(client, asked["retraining_id"])
        minutes = (time.monotonic() - started) / 60
        seen = _await_version(client, tests, found.get("candidate") or 0)
    terminal.say(f"{found['status']}: {found['outcome']}")
    if found["status"] != "promoted" or not seen:
        return False
    after = {cue: replay(client, tests[cue]) for cue in _CUES}
    _table(before, after, found["measured"])
    terminal.say(
        f"{minutes:.1f} minutes from request to promotion; {load.answered} requests meanwhile, "
        f"[bold]{load.failed} failed[/], answered by versions {sorted(load.versions)}"
    )
    champion = client.get(f"/v1/models/{_MODEL}").json()["champion"]
    if champion != found["candidate"]:
        terminal.say(f"taken back: version {champion} answers, see the model's history")
    return load.failed == 0 and champion == found["candidate"]


def show_alarms(client: httpx.Client, seconds: float = _WAIT_SECONDS) -> bool:
    """Wait for the alarm, and show what it rests on; return whether it came."""
    end = time.monotonic() + seconds
    alarms: list[dict[str, Any]] = []
    while not alarms and time.monotonic() < end:
        time.sleep(1.0)
        answer = client.get("/v1/alarms", params={"model": _MODEL, "state": "alarm"})
        alarms = answer.json()["items"] if answer.is_success else []
    terminal.say("")
    if not alarms:
        terminal.say(f"no alarm within {seconds:g} seconds")
    shown = terminal.table("alarms", "measure", "class", "side", "statistic", "limit", "answers")
    for each in alarms:
        evidence = each["evidence"]
        shown.add_row(
            each["measure"], each["class"], each["side"], f"{evidence['value']:.3g}",
            f"{evidence['threshold']:.3g}", str(evidence["observations"]),
        )  # fmt: skip
    if alarms:
        terminal.console.print(shown)
    return bool(alarms)


def replay(client: httpx.Client, rows: ImageSet) -> float:
    """Ask about rows with their regions, as a client would; return the share of right answers."""
    relevant, _ = rows.masks(np.arange(len(rows)))
    right = 0
    for start in range(0, _IMAGES, _BATCH):
        chosen = range(start, start + _BATCH)
        body = {
            "image": [_png(rows.images[row].astype(np.uint8)) for row in chosen],
            "region": [_png(np.repeat(relevant[row][..., None], 3, 2) * np.uint8(255))
                       for row in chosen],
        }  # fmt: skip
        answers = _post(client, f"/v1/models/{_MODEL}/predictions", body)["predictions"]
        right += sum(
            answer["classes"][0]["index"] == rows.labels[row]
            for answer, row in zip(answers, chosen, strict=True)
        )
    return right / _IMAGES


def _follow(client: httpx.Client, retraining_id: str) -> dict[str, Any]:
    """Show the steps until it has ended."""
    step, end = "", time.monotonic() + _TRAINING_SECONDS
    with terminal.progress() as report:
        while time.monotonic() < end:
            found: dict[str, Any] = client.get(f"/v1/retrainings/{retraining_id}").json()
            now = found["progress"] or {}
            words = f"epoch {now['epoch']} of {now['epochs']}" if now else found["step"]
            report(words, float(now.get("share", 0.0)))
            if found["step"] != step:
                step = found["step"]
                terminal.say(f"  {step}")
            if found["status"] in {"promoted", "rolled_back", "rejected", "failed", "cancelled"}:
                return found
            time.sleep(0.5)
    raise TimeoutError(f"the retraining has not ended within {_TRAINING_SECONDS:g} seconds")


def _await_version(client: httpx.Client, tests: Mapping[str, ImageSet], version: int) -> bool:
    """Return whether the server answers with the version before long."""
    image = _png(tests["clean"].images[0].astype(np.uint8))
    for _ in range(100):
        answer = _post(client, f"/v1/models/{_MODEL}/predictions", {"image": image})
        if answer["predictions"][0]["model"]["version"] == version:
            time.sleep(1.0)  # let the load meet it too
            return True
        time.sleep(0.1)
    return False


def _table(
    before: Mapping[str, float], after: Mapping[str, float], measured: Mapping[str, Any]
) -> None:
    shown = terminal.table("", "measure", "before", "after")
    for cue, told in _CUES.items():
        shown.add_row(f"accuracy, the cue {told}", f"{before[cue]:.1%}", f"{after[cue]:.1%}")
    names = {
        "flip": "answers that change with what is irrelevant",
        "activation_recall": "activation recall",
        "relevance_mass": "relevance mass",
    }
    for name, words in names.items():
        pair = [measured[side][name] for side in ("before", "after")]
        shown.add_row(words, *(f"{each:.3f}" for each in pair))
    terminal.console.print(shown)


@dataclass(slots=True)
class _Load:
    """A client that never stops asking, and counts what fails."""

    url: str
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
        images = [_png(each.astype(np.uint8)) for each in self.rows.images[:50]]
        with httpx.Client(base_url=self.url, timeout=60.0) as client:
            while not stop.wait(0.05):
                image = images[self.answered % len(images)]
                try:
                    answer = client.post(f"/v1/models/{_MODEL}/predictions", json={"image": image})
                    answer.raise_for_status()
                    self.versions.add(answer.json()["predictions"][0]["model"]["version"])
                    self.answered += 1
                except httpx.HTTPError:
                    self.failed += 1


@contextmanager
def server(chosen: Settings) -> Iterator[httpx.Client]:
    """Run `rightly serve` for a block: gateway, auditor and runner."""
    log = chosen.home / "serve.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(  # noqa: S603 - our own command
            supervision.leashed([sys.executable, "-m", "services.commands.cli", "serve"]),
            env=settings.serving_environment(chosen),
            cwd=code_folder(),
            stdout=sink,
            stderr=sink,
        )
    try:
        with httpx.Client(base_url=f"http://{chosen.host}:{chosen.port}", timeout=60.0) as client:
            end = time.monotonic() + _WAIT_SECONDS
            while not _is_ready(client):
                if process.poll() is not None or time.monotonic() > end:
                    terminal.fail(f"the server did not come up: {log.read_text()[-2000:]}")
                time.sleep(0.2)
            terminal.say(f"serving on {client.base_url}")
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # A training outlives the runner; here its home is about to go.
        if not end_all(chosen.retrainings, seconds=_ENDING_SECONDS):
            terminal.say("a training has not ended yet; it ends by itself")


@contextmanager
def ending_cleanly() -> Iterator[None]:
    """Let a signal that ends this process end what it has started, too."""

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    before = {each: signal.signal(each, leave) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").is_success
    except httpx.HTTPError:
        return False


def _post(client: httpx.Client, path: str, body: object) -> dict[str, Any]:
    answer = client.post(path, json=body)
    if not answer.is_success:
        terminal.fail(f"{path}: {answer.status_code} {answer.text[:500]}")
    found: dict[str, Any] = answer.json()
    return found


def _png(image: "np.ndarray[Any, np.dtype[np.uint8]]") -> str:
    return base64.b64encode(png.compressed(image)).decode()


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
