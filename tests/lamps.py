"""A data set that is learnt in a second, and a registry whose champion has learnt it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep

import numpy as np
from PIL import Image

from audit import change_control
from models import export
from models.cards import CardFields, Lineage
from models.registry import Registry, Version
from models.training import recipes, running
from services import settings
from services.retraining.rows import Request, Retraining, Rows, connect
from services.settings import Settings

MODEL = "lamp"
NOW = datetime(2026, 1, 2, tzinfo=UTC)
LENIENT = {
    **dict.fromkeys(
        ("accuracy", "class_accuracy", "group_accuracy", "reliance_floor", "surroundings"), 1.0
    ),
    **dict.fromkeys(("recall", "excess", "uniform", "calibration"), 1.0),
    "latency_ratio": 1000.0,
    "latency_milliseconds": 1e6,
    "fewest": 1,
}

# Where nobody asks anything, both phases pass after their seconds with no evidence.
TRIAL = """
[shadow]
requests = 5
seconds = 0.5
when_quiet = "go_on"
disagreement = 1.0
recall_fall = 1.0
errors = 0.0
latency_milliseconds = 50.0
latency_ratio = 2.0
[canary]
share = 0.5
requests = 5
seconds = 0.5
when_quiet = "go_on"
withdraw_on_alarm = true
errors = 0.0
latency_milliseconds = 50.0
latency_ratio = 2.0
"""


def data_set(root: Path, marked: Sequence[str] = ("train", "val", "test")) -> Path:
    """Bright and dark images with a manifest and groups, and regions in the splits `marked`."""
    root.mkdir()
    draw = np.random.default_rng(0)
    lines = ["path,label,region,split,group"]
    region = np.zeros((28, 28), np.uint8)
    region[6:22, 6:22] = 255
    Image.fromarray(region).save(root / "region.png")
    for number in range(72):
        label = "bright" if number % 2 else "dark"
        base = 120 if number % 2 else 0
        pixels = draw.integers(base, base + 100, (28, 28, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
        split = "train" if number < 24 else "val" if number < 32 else "test"
        group = "even" if number % 4 < 2 else "odd"
        where = "region.png" if split in marked else ""
        lines.append(f"{number}.png,{label},{where},{split},{group}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


def champion(
    home: Path,
    *,
    epochs: int = 1,
    marked: Sequence[str] = ("train", "val", "test"),
    measures: Mapping[str, object] | None = None,
    names: Sequence[str] = (MODEL,),
) -> tuple[Registry, Version]:
    """Train, export, file and promote a first version, as the command line does."""
    content = {
        "data": str(data_set(home / "set", marked)),
        "training": {"epochs": epochs, "batch_size": 8, "criterion": "last"},
    }
    trained = running.run(recipes.parse(content))
    registry = Registry(home / "registry")
    draft = home / "draft"
    parity = export.export(
        trained.classifier, draft, samples=trained.splits["val"].images.astype(np.uint8)
    )
    fields = CardFields(
        measures=measures or {},
        lineage=Lineage(
            dataset=trained.splits["train"].digest, recipe=trained.recipe.to_mapping()
        ),
        parity=parity.to_mapping(),
    )
    for name in names:
        registry.add(name, draft, fields, now=NOW)
        registry.promote(name, 1, reason="the first one", actor="test", now=NOW)
    return registry, registry.champion(names[0])


def plan(home: Path, *, by: str = "rule", trial: str = "", **margins: float) -> Path:
    """A plan of our own: the default's rules, other margins, no trial with live requests.

    Args:
        home: Where to.
        by: Who approves.
        trial: The sections "shadow" and "canary", instead of none of either.
        margins: That differ from the lenient ones.
    """
    chosen = asdict(change_control.load().margins) | LENIENT | margins
    text = change_control.DEFAULT.read_text().split("[margins]")[0]
    text = text.replace('by = "rule"', f'by = "{by}"').replace("minutes = 10.0", "minutes = 0.0")
    table = "".join(f"{name} = {value}\n" for name, value in chosen.items())
    if trial:
        before, rest = text.split("[shadow]")
        text = f"{before}{trial}\n[promotion]{rest.split('[promotion]')[1]}"
    else:
        text = re.sub(r"(?m)^requests = .*$", "requests = 0", text)
    path = home / "plan.toml"
    path.write_text(f"{text}[margins]\n{table}")
    return path


class Loop:
    """A runner process of our own, and the record that it works on."""

    def __init__(self, chosen: Settings) -> None:
        self.settings = chosen
        self.rows: Rows = connect(chosen.retraining_store)
        self.process: subprocess.Popen[bytes] | None = None
        self.log = chosen.home / "runner.log"

    def start(self) -> None:
        environment = settings.serving_environment(self.settings)
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.retraining.runner"],
                env={**environment, "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"},
                stdout=sink,
                stderr=sink,
            )

    def kill(self) -> None:
        """Kill -9, as a machine does that has no memory left."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def ask(self, name: str, *, key: str | None = None, **numbers: float) -> str:
        request = Request(MODEL, "auto", "a test", "test", hyperparameters=numbers)
        return self.rows.add(name, request, key=key, now=NOW).retraining_id

    def until(
        self, name: str, holds: Callable[[Retraining], bool], seconds: float = 120.0
    ) -> Retraining:
        end = monotonic() + seconds
        while not holds(found := self.rows.get(name)):
            assert monotonic() < end, f"{found}\n{self.log.read_text()}"
            sleep(0.02)
        return found

    def ended(self, name: str) -> Retraining:
        return self.until(name, lambda found: found.ended)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
