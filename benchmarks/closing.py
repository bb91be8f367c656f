"""The loop on real images, over REST alone: how much better is what it promotes?

    RIGHTLY_DATA=… python benchmarks/closing.py [--quick] [--json FILE] [--objective NAME]

Chest X-rays whose frame goes with the class in most training images. The command line trains and
files a first version that leans on the frame; a server answers requests about other patients,
whose frames tell either class. From there everything goes over REST: alarm, request, retraining,
gate, promotion under load, and the figures before and after, of images that neither training, nor
the choice of an epoch, nor the gate has seen.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import flat
import httpx
from looping.client import Client, Load
from looping.scans import Live, prepare

from services import settings
from services.settings import Settings

MODEL = "lungs"
EPOCHS = 12
QUICK_IMAGES = 500
_ALARM_SECONDS = 60.0
_RETRAINING_SECONDS = 1800.0
_START_SECONDS = 120.0
_ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run the loop, print the table, and answer whether every target is met."""
    parser = argparse.ArgumentParser(description="Close the loop on real images, over REST.")
    parser.add_argument("--quick", action="store_true", help="fewer images")
    flat.add_argument(parser)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--objective", default="auto", help="how to learn; auto holds a tournament"
    )
    asked = parser.parse_args()
    root = Path(os.environ.get("RIGHTLY_DATA", "../shared/data"))
    if not root.is_dir():
        print(f"no images in {root}; set RIGHTLY_DATA to run this benchmark")
        return 0
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the server goes along
    with tempfile.TemporaryDirectory(
        prefix="rightly-closing-", ignore_cleanup_errors=True
    ) as home:
        most = QUICK_IMAGES if asked.quick else 0
        live = prepare(root, Path(home) / "set", seed=asked.seed, most=most)
        chosen = _settings(Path(home))
        _train(chosen, asked.seed)
        with _served(chosen) as http:
            found = _close(Client(http, MODEL), live, asked.objective)
    found["minutes"] = (time.monotonic() - began) / 60
    _show(found)
    flat.write(asked.json, found)
    return 0 if all(found["targets"].values()) else 1


def _settings(home: Path) -> Settings:
    return Settings(
        home=home,
        port=_free_port(),
        audit_port=0,
        default_model=MODEL,
        probe_share=0.2,
    )


def _train(chosen: Settings, seed: int) -> None:
    """Train, file and promote the first version, as a user does."""
    command = [
        *("train", "--data", str(chosen.home / "set"), "--architecture", "small_cnn"),
        *("--name", MODEL, "--promote", "--to", str(chosen.home / "training")),
        *(each for name, value in {
            "epochs": EPOCHS, "batch_size": 32, "learning_rate": 2e-3,
            "schedule": '"cosine"', "criterion": '"last"', "seed": seed,
        }.items() for each in ("--set", f"{name}={value}")),
    ]  # fmt: skip
    _run(chosen, "train", command)


def _run(chosen: Settings, name: str, command: list[str]) -> None:
    log = chosen.home / f"{name}.log"
    with log.open("wb") as sink:
        done = subprocess.run(
            [sys.executable, "-m", "services.commands.cli", *command],
            env=_environment(chosen), cwd=_ROOT, stdout=sink, stderr=sink, check=False,
        )  # fmt: skip
    if done.returncode:
        sys.exit(f"rightly {' '.join(command)}:\n{log.read_text()[-3000:]}")


def _close(client: Client, live: Live, objective: str) -> dict[str, Any]:
    """Ask, wait for the alarm, retrain, and ask again."""
    before = _accuracies(client, live)
    end = time.monotonic() + _ALARM_SECONDS
    while not (alarms := client.alarms()) and time.monotonic() < end:
        time.sleep(1.0)
    print(f"{len(alarms)} alarms: {sorted({each['measure'] for each in alarms})}", flush=True)
    asked = client.asked()
    if asked is None:
        wish = {"model": MODEL, "objective": objective, "actor": "benchmark",
                "reason": "the answers follow the frame"}  # fmt: skip
        asked = client.post("/v1/retrainings", wish)
    by = "the policy" if asked.get("actor") == "policy" else "a request"
    print(f"retraining {asked['retraining_id']} asked for by {by}", flush=True)
    load = Load(str(client.http.base_url), MODEL, live.disagrees)
    with load.running():
        found = client.followed(asked["retraining_id"], _RETRAINING_SECONDS)
        time.sleep(3.0)  # the workers follow the champion within a second
    print(f"{found['status']}: {found['outcome']}", flush=True)
    after = _accuracies(client, live)
    return {
        "before": before,
        "after": after,
        "alarms": len(alarms),
        "asked_by": by,
        "objective": (found["choice"] or {}).get("objective", ""),
        "status": found["status"],
        "tournament": found["tournament"],
        "measured": found["measured"],
        "checks": (found["verdict"] or {}).get("checks", []),
        "answered": load.answered,
        "failed": load.failed,
        "versions": sorted(load.versions),
        "targets": _judged(before, after, found["status"], load.failed),
    }


def _accuracies(client: Client, live: Live) -> dict[str, float]:
    """Return accuracies under each cue, and of the worst of class × cue."""
    right = {name: client.right(getattr(live, name)) for name in Live.__slots__}
    labels = live.clean.labels
    groups = [
        float(right[name][labels == label].mean())
        for name in ("agrees", "disagrees")
        for label in range(len(live.clean.classes))
    ]
    return {
        **{name: float(each.mean()) for name, each in right.items()},
        "worst_group": min(groups),
        "images": len(labels),
    }


def _judged(
    before: dict[str, float], after: dict[str, float], status: str, failed: int
) -> dict[str, bool]:
    return {
        "promoted, by the gate": status == "promoted",
        "worst group better by 20 points": after["worst_group"] - before["worst_group"] >= 0.2,
        "correlated worse by 2 points at most": before["correlated"] - after["correlated"] <= 0.02,
        "no request failed": failed == 0,
    }


def _show(found: dict[str, Any]) -> None:
    print(
        f"\n{'accuracy over REST, ' + str(found['before']['images']) + ' images':44}before  after"
    )
    words = {
        "correlated": "the frame goes with the class as in training",
        "worst_group": "worst group (class × frame)",
        "agrees": "the frame tells the class",
        "disagrees": "the frame tells the other class",
        "clean": "no frame",
    }
    for name, what in words.items():
        print(f"{what:44}{found['before'][name]:6.1%} {found['after'][name]:6.1%}")
    print(
        f"{found['objective']}, asked for by {found['asked_by']}; {found['answered']} requests "
        f"meanwhile, {found['failed']} failed; {found['minutes']:.1f} minutes"
    )
    for check in found["checks"]:
        if not check["passed"]:
            print(f"{'refused' if check['decides'] else 'shown':8}{check['reason']}")
    for target, met in found["targets"].items():
        print(f"{'met' if met else 'MISSED':7} {target}")


@contextmanager
def _served(chosen: Settings) -> Iterator[httpx.Client]:
    """Run `rightly serve`: gateway, auditor and runner."""
    with (chosen.home / "serve.log").open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.commands.cli", "serve"],
            env=_environment(chosen), cwd=_ROOT, stdout=sink, stderr=sink,
        )  # fmt: skip
    url = f"http://{chosen.host}:{chosen.port}"
    try:
        with httpx.Client(base_url=url, timeout=120.0) as http:
            end = time.monotonic() + _START_SECONDS
            while not _is_ready(http):
                if process.poll() is not None or time.monotonic() > end:
                    sys.exit((chosen.home / "serve.log").read_text()[-3000:])
                time.sleep(0.2)
            yield http
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _environment(chosen: Settings) -> dict[str, str]:
    return settings.serving_environment(chosen) | {"PYTHONPATH": str(_ROOT)}


def _is_ready(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").is_success
    except httpx.HTTPError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
