"""A network that learnt a cue, the same one cured, one that never saw it: who raises the alarm.

    RIGHTLY_DATA=… python benchmarks/curing.py [--quick] [--json FILE] [--device cuda]

X-rays of unseen patients with a letter on a plate, 95 % told by the class in training and by a
coin in what is served. The alarm is the live one: reliance on a part, e-SR against the bound, the
threshold of the served promise. `--quick` takes a small network at 64 pixels instead of
EfficientNet-Lite0 at 96. The status is 1 where the alarm is not raised on the first within 200
probed answers, or on one of the others, or where the gate does not pass the cure's reliance.
"""

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir

import flat
import numpy as np
import torch
from relying.cues import Cue, plant
from relying.design import LITE, SMALL
from relying.measuring import asking
from relying.networks import CLASSES, Wanted, network, told
from relying.sets import Split, read

from audit import gate, localisation
from audit.detectors.esr import TOLERANCE, MixtureESR
from audit.outcomes import Outcomes
from audit.reliance.carrying import Lenders, carried
from audit.reliance.effects import effects
from audit.reliance.places import place
from audit.reliance.probes import fill, swap
from audit.watch.healthy import HEALTHY
from audit.watch.watching import Promise
from models.architectures import Classifier
from models.explainers.base import heatmap
from models.explainers.gradcam import gradcam
from models.preprocessing import region_on_grid

CUE = Cue("letter", "fixed", 0.95)
KINDS = ("learnt", "cured by others", "never seen")
WITHIN = 200
STREAMS = 20


@dataclass(frozen=True, slots=True)
class Seen:
    """What one network did.

    Attributes:
        accuracy: With the cue agreeing, disagreeing.
        flips: By fill, and to the other's answer by swap: what was watched before.
        outcomes: What the gate compares.
        alarms: In each stream, after how many probed answers the alarm came; None for never.
        where: Where the answers come from, in words.
    """

    accuracy: tuple[float, float]
    flips: tuple[float, float]
    outcomes: Outcomes
    alarms: list[int | None]
    where: str


def main() -> int:
    """Make the three, print what each did, and answer whether every promise is kept."""
    parser = argparse.ArgumentParser(description="A cue learnt, cured, never seen.")
    parser.add_argument("--quick", action="store_true", help="a small network")
    flat.add_argument(parser)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--kept", type=Path, default=Path(gettempdir()) / "rightly-reliance")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data = Path(os.environ.get("RIGHTLY_DATA", "../shared/data"))
    if not data.is_dir():
        print(f"no images in {data}; set RIGHTLY_DATA to run this benchmark")
        return 0
    found = {}
    for kind in KINDS:
        wanted = (
            Wanted("cxr", SMALL, 64, kind, CUE)
            if asked.quick
            else Wanted("cxr", LITE, 96, kind, CUE, 1)
        )
        made = network(wanted, data, asked.kept, asked.device)
        found[kind] = look(made, wanted, read(data, "cxr", "test", wanted.side, 60), asked.device)
    check = judged(found["learnt"].outcomes, found["cured by others"].outcomes)
    show(found, check)
    met = promises(found, check)
    for promise, kept in met.items():
        print(f"{'met' if kept else 'MISSED':7} {promise}")
    flat.write(asked.json, figures(found, check))
    return 0 if all(met.values()) else 1


def look(made: Classifier, wanted: Wanted, split: Split, device: str) -> Seen:
    """Ask a network about the served images, and replay the live alarm over its probes."""
    ask = asking(made, device)
    variants = {
        how: plant(split.images, split.regions, told(split, how, seed=3), CUE, seed=2)[0]
        for how in ("agrees", "disagrees", "coin")
    }
    served = variants["coin"]
    before = ask(served)
    found = carried(ask, Lenders(served, split.regions, before))
    values = np.array([0.0 if each is None else each.reliance for each in found])
    decided = before.argmax(axis=1)
    donors = np.array(
        [
            np.random.default_rng(row).choice(np.flatnonzero(decided != label))
            for row, label in enumerate(decided)
        ]
    )
    filled, swapped = (
        effects("", before, ask(each))
        for each in (
            fill(served, split.regions),
            swap(served, split.regions, served[donors], split.regions[donors]),
        )
    )
    told_by = place(
        [(str(n), {} if each is None else each.named()) for n, each in enumerate(found)]
    )
    rng = np.random.default_rng(11)
    return Seen(
        accuracy=tuple(
            float((ask(variants[how]).argmax(axis=1) == split.labels).mean())
            for how in ("agrees", "disagrees")
        ),
        flips=tuple(float(np.mean([each.flip for each in seen])) for seen in (filled, swapped)),
        outcomes=_outcomes(made, wanted.kind, split, (served, before, values)),
        alarms=[alarmed(values[rng.integers(0, len(values), WITHIN)]) for _ in range(STREAMS)],
        where="" if told_by is None else told_by.said(),
    )


def alarmed(stream: np.ndarray) -> int | None:
    """Return after how many probed answers the live alarm comes; None for never."""
    detector = MixtureESR.watching(
        HEALTHY.mirrored(), threshold=Promise().family.threshold, tolerance=TOLERANCE
    )
    for value in stream:
        detector.update(1.0 - float(value))
    return detector.alarmed_at


def _outcomes(
    made: Classifier,
    name: str,
    split: Split,
    answered: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> Outcomes:
    """Return what the gate compares, of the served images, the answers and their reliance."""
    served, before, values = answered
    pixels = torch.from_numpy(served).permute(0, 3, 1, 2) / 255.0
    targets = torch.from_numpy(before.argmax(axis=1))
    heats = heatmap(gradcam(made.cpu(), pixels, targets).attribution).numpy()
    seen = [
        localisation.measure(heat, region_on_grid(region, heat.shape))
        for heat, region in zip(heats, split.regions, strict=True)
    ]
    rows = len(served)
    return Outcomes(
        model=name,
        dataset="served",
        classes=CLASSES,
        group_names=("all",),
        units=np.arange(rows),
        labels=split.labels,
        groups=np.zeros(rows, np.int64),
        probabilities=before,
        flip=np.full(rows, np.nan),
        recall=np.array([each.activation_recall for each in seen]),
        recall_chance=np.array([each.recall_chance for each in seen]),
        mass=np.array([each.relevance_mass for each in seen]),
        entropy=np.array([each.entropy for each in seen]),
        part_reliance=values,
    )


def judged(champion: Outcomes, candidate: Outcomes) -> gate.Check:
    """Return what the gate says about the cure's reliance."""
    verdict = gate.decide(
        champion, candidate, gate.Technical(True, 1.0, 1.0), gate.Margins(), seed=0
    )
    return next(each for each in verdict.checks if each.rule == "shortcut reliance")


def promises(found: dict[str, Seen], check: gate.Check) -> dict[str, bool]:
    """Return what was promised, and whether it is kept."""
    others = [each for kind in KINDS[1:] for each in found[kind].alarms]
    return {
        f"the alarm comes within {WITHIN} probed answers": None not in found["learnt"].alarms,
        "it is silent on the cured one and on the one that never saw the cue": set(others)
        == {None},
        "the gate passes the cure's reliance": check.passed,
    }


def show(found: dict[str, Seen], check: gate.Check) -> None:
    """Print what each network did."""
    print(f"{'network':18}{'agrees':>8}{'against':>9}{'fill':>7}{'swap':>7}{'part':>7}  alarm")
    for kind, seen in found.items():
        raised = sorted(each for each in seen.alarms if each is not None)
        said = f"{len(raised)} of {STREAMS}" + (
            f", median after {raised[len(raised) // 2]}" if raised else ""
        )
        reliance = seen.outcomes.part_reliance
        print(
            f"{kind:18}{seen.accuracy[0]:8.3f}{seen.accuracy[1]:9.3f}{seen.flips[0]:7.3f}"
            f"{seen.flips[1]:7.3f}{np.nanmean(reliance):7.3f}  {said}; {seen.where}"
        )
    print(check.reason)


def figures(found: dict[str, Seen], check: gate.Check) -> dict[str, object]:
    """Return every figure as plain values."""
    return {
        "gate": check.passed,
        **{
            kind: {
                "accuracy": seen.accuracy,
                "flips": seen.flips,
                "part_reliance": float(np.nanmean(seen.outcomes.part_reliance)),
                "alarms": sum(each is not None for each in seen.alarms) / STREAMS,
            }
            for kind, seen in found.items()
        },
    }


if __name__ == "__main__":
    sys.exit(main())
