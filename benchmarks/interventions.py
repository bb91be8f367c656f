"""Does changing the irrelevant part tell a shortcut model from a clean one? On real images.

    RIGHTLY_DATA=… python benchmarks/interventions.py [--quick] [--json FILE] [--seed N]

Chest X-rays and skin lesions with a coloured disc planted beside the region. A shortcut model
learnt from images where only one class has the disc, a clean one where a coin decided. Both have
the same frozen backbone and are asked about the SAME images, with the disc as in the shortcut
model's training: no monitor of inputs can tell, and accuracy looks better, not worse. "Clean"
means clean of the disc: what else the surroundings tell, a clean model may well use.
"""

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import flat
import numpy as np
from intervening import heads, scenes
from intervening.heads import Features, Floats, Head
from intervening.scenes import Scenes, Task
from scipy import stats

from audit import localisation
from audit.detectors.conformal import ConformalESR
from audit.detectors.esr import MixtureESR
from audit.detectors.reference import Reference
from audit.detectors.strangeness import StrangenessReference
from audit.errors import AuditError
from audit.reliance import probes
from audit.reliance.effects import effects
from models.preprocessing import region_on_grid

IMAGES = 50
DRAWS = 40
THRESHOLD = 20_000
STREAM = 600
# Share of the training images that each model of a kind sees.
SEEN = 0.7
INTERVENTIONS = ("fill", "blur", "swap")
PRIMARY = "swap: directed flip"
WATCHED = (PRIMARY, "swap: flip", "swap: probability shift", "heatmap: 1 - relevance_mass")
HEATMAPS = (
    "activation_recall",
    "relevance_mass",
    "mass_ratio",
    "activation_precision",
    "pointing",
)


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is served: images with the disc in one class only, and their probes.

    Attributes:
        split: The images.
        served: Features of what is served.
        random: Features of the same images where a coin decides about the disc.
        changed: For each intervention the features of the probe images.
        donors: For each image the one that lent its surroundings to the swap.
        shares: The region on the heatmap's grid, [N, rows, columns].
    """

    split: Scenes
    served: Features
    random: Features
    changed: dict[str, Features]
    donors: np.ndarray
    shares: Floats


def main() -> int:
    """Run everything, print it, and answer whether every target is met."""
    parser = argparse.ArgumentParser(description="Interventions against heatmaps.")
    parser.add_argument("--quick", action="store_true", help="fewer models and images")
    flat.add_argument(parser)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    root = Path(os.environ.get("RIGHTLY_DATA", "../shared/data"))
    if not root.is_dir():
        print(f"no images in {root}; set RIGHTLY_DATA to run this benchmark")
        return 0
    tasks = scenes.TASKS[:1] if asked.quick else scenes.TASKS
    results = {
        task.name: run(root, task, seed=asked.seed, models=8 if asked.quick else 20)
        for task in tasks
    }
    for name, result in results.items():
        show(name, result)
    flat.write(asked.json, results)
    return 0 if all(all(each["targets"].values()) for each in results.values()) else 1


def run(root: Path, task: Task, *, seed: int, models: int) -> dict:
    """Return every figure of one task."""
    training = scenes.read(root, task, "train", 240, seed=seed)
    plain = heads.features(training.plain).pooled
    marked = heads.features(training.marked).pooled
    known = deploy(scenes.read(root, task, "val", 60, seed=seed), seed)
    live = deploy(scenes.read(root, task, "test", 60, seed=seed), seed)
    kinds = {
        kind: [
            learn(training.labels, plain, marked, kind, seed=seed + number)
            for number in range(models)
        ]
        for kind in ("clean", "shortcut")
    }
    scores = {kind: [measures(head, live) for head in of_kind] for kind, of_kind in kinds.items()}
    table = separation(scores, seed)
    served = np.where((training.labels == 1)[:, None], marked, plain)
    streams = replay(kinds, known, live, nearby(served), seed)
    return {
        "images": {"training": len(training.labels), "served": len(live.split.labels)},
        "accuracy": {kind: accuracies(of_kind, live) for kind, of_kind in kinds.items()},
        "separation": table,
        "streams": streams,
        "targets": judge(table, streams),
    }


def learn(labels: np.ndarray, plain: Floats, marked: Floats, kind: str, *, seed: int) -> Head:
    """Return a head that saw a random part of the training images, with its kind of cue."""
    rng = np.random.default_rng([seed, len(kind)])
    rows = np.flatnonzero(rng.random(len(labels)) < SEEN)
    cue = rng.random(len(rows)) < 0.5 if kind == "clean" else labels[rows] == 1
    return heads.train(np.where(cue[:, None], marked[rows], plain[rows]), labels[rows])


def deploy(split: Scenes, seed: int) -> Deployment:
    """Return the served images with their probes, the same for every model."""
    rng = np.random.default_rng([seed, 3])
    images = split.showing(split.labels == 1)
    donors = np.array([rng.choice(np.flatnonzero(split.labels != each)) for each in split.labels])
    changed = {
        "fill": probes.fill(images, split.regions),
        "blur": probes.blur(images, split.regions),
        "swap": probes.swap(images, split.regions, images[donors], split.regions[donors]),
    }
    served = heads.features(images)
    grid = served.maps.shape[2:]
    return Deployment(
        split=split,
        served=served,
        random=heads.features(split.showing(rng.random(len(images)) < 0.5)),
        changed={name: heads.features(each) for name, each in changed.items()},
        donors=donors,
        shares=np.stack([region_on_grid(each, grid) for each in split.regions]),
    )


def measures(head: Head, live: Deployment) -> dict[str, Floats]:
    """Return every measure per image; for all of them higher means more reliance."""
    before = head.probabilities(live.served.pooled)
    decided = before.argmax(axis=1)
    found: dict[str, Floats] = {}
    for name in INTERVENTIONS:
        after = head.probabilities(live.changed[name].pooled)
        implied = [int(each) for each in decided[live.donors]] if name == "swap" else None
        seen = effects(name, before, after, implied)
        found[f"{name}: flip"] = np.array([float(each.flip) for each in seen])
        found[f"{name}: probability shift"] = np.array([each.probability_shift for each in seen])
        if implied:
            found["swap: directed flip"] = np.array([float(bool(e.directed_flip)) for e in seen])
    flips = [found[f"{name}: flip"] for name in INTERVENTIONS]
    found["flips, all three"] = np.mean(flips, axis=0)
    heatmaps = head.heatmaps(live.served.maps, decided)
    places = [
        localisation.measure(heat, share)
        for heat, share in zip(heatmaps, live.shares, strict=True)
    ]
    for name in HEATMAPS:
        found[f"heatmap: 1 - {name}"] = np.array([1.0 - float(getattr(e, name)) for e in places])
    return found


def separation(scores: dict[str, list[dict[str, Floats]]], seed: int) -> list[dict]:
    """Return for each measure how well 50 images tell the kinds apart, and the null control."""
    rng = np.random.default_rng([seed, 4])
    rows = []
    for name in scores["clean"][0]:
        drawn = {
            kind: np.array([draws(each[name], rng) for each in of_kind])
            for kind, of_kind in scores.items()
        }
        half = len(drawn["clean"]) // 2
        rows.append(
            {
                "measure": name,
                "clean": float(drawn["clean"].mean()),
                "shortcut": float(drawn["shortcut"].mean()),
                "auc": auc(drawn["shortcut"].ravel(), drawn["clean"].ravel()),
                "null_auc": auc(drawn["clean"][:half].ravel(), drawn["clean"][half:].ravel()),
            }
        )
    return rows


def draws(values: Floats, rng: np.random.Generator) -> Floats:
    """Return the mean over 50 images, for many draws of 50 images without putting back."""
    size = min(IMAGES, len(values))
    return np.array([values[rng.permutation(len(values))[:size]].mean() for _ in range(DRAWS)])


def auc(positive: Floats, negative: Floats) -> float:
    """Return the probability that a positive value exceeds a negative one; ties count half."""
    ranks = stats.rankdata(np.concatenate([positive, negative]))[: len(positive)]
    excess = ranks.sum() - len(positive) * (len(positive) + 1) / 2
    return float(excess / (len(positive) * len(negative)))


def folded(pooled: Floats) -> Floats:
    """Return 64 means of 20 features each: few images cannot tell 1,280 apart."""
    return pooled.reshape(len(pooled), 64, -1).mean(axis=2)


def nearby(served: Floats) -> StrangenessReference:
    """Return the strangeness reference: training images as they are served, in two halves."""
    order = np.random.default_rng(0).permutation(len(served))
    half = len(served) // 2
    return StrangenessReference.fit(folded(served[order[:half]]), folded(served[order[half:]]))


def replay(
    kinds: dict[str, list[Head]],
    known: Deployment,
    live: Deployment,
    near: StrangenessReference,
    seed: int,
) -> list[dict]:
    """Return when each monitor alarms as identical bytes go to two versions, and to a third."""
    promised = measures(kinds["clean"][0], known)
    order = np.random.default_rng([seed, 5]).integers(0, len(live.split.labels), STREAM)
    versions = {
        "clean, version 1": kinds["clean"][0],
        "clean, version 2 (null control)": kinds["clean"][1],
        "shortcut, version 3": kinds["shortcut"][0],
    }
    rows = []
    for name, head in versions.items():
        found = measures(head, live)
        confidence = [head.probabilities(each.served.pooled).max(axis=1) for each in (known, live)]
        rows.append(
            {
                "version": name,
                "input strangeness": strange(near, live, order),
                "input brightness (KS)": brightness(known, live, order),
                "confidence": watched(1 - confidence[0], (1 - confidence[1])[order]),
                **{
                    measure: watched(promised[measure], found[measure][order])
                    for measure in WATCHED
                },
            }
        )
    return rows


def watched(reference: Floats, stream: Floats) -> int | None:
    """Return when e-SR alarms for a rise over what was promised, or None."""
    try:
        detector = MixtureESR.watching(Reference.of(1.0 - reference), threshold=THRESHOLD)
    except AuditError:
        return None
    for value in stream:
        detector.update(float(np.clip(1.0 - value, 0.0, 1.0)))
    return detector.alarmed_at


def strange(near: StrangenessReference, live: Deployment, order: np.ndarray) -> int | None:
    """Return when conformal e-SR alarms over the embeddings, or None."""
    detector = ConformalESR(threshold=THRESHOLD)
    for p in near.p_values(near.strangeness(folded(live.served.pooled)))[order]:
        detector.update(float(p))
    return detector.alarmed_at


def brightness(known: Deployment, live: Deployment, order: np.ndarray) -> int | None:
    """Return the end of the first window of 100 whose brightness differs (KS, p < .001)."""
    past, now = (
        each.split.showing(each.split.labels == 1).mean(axis=(1, 2, 3)) for each in (known, live)
    )
    stream = now[order]
    for end in range(100, len(stream) + 1, 100):
        if stats.ks_2samp(stream[end - 100 : end], past).pvalue < 0.001:
            return end
    return None


def accuracies(of_kind: list[Head], live: Deployment) -> dict[str, float]:
    """Return mean accuracy on what is served, and where a coin decides about the disc."""
    return {
        name: float(
            np.mean(
                [
                    (h.probabilities(seen.pooled).argmax(1) == live.split.labels).mean()
                    for h in of_kind
                ]
            )
        )
        for name, seen in (("served", live.served), ("random cue", live.random))
    }


def judge(table: list[dict], streams: list[dict]) -> dict[str, bool]:
    """Return whether each promise is kept."""
    rows = {row["measure"]: row for row in table}
    one, null, shortcut = streams
    inputs = ("input strangeness", "input brightness (KS)")
    return {
        "interventions tell the kinds apart at 50 images, AUC >= 0.99": (
            rows[PRIMARY]["auc"] >= 0.99
        ),
        "input monitors stay quiet on every version": all(
            row[name] is None for row in streams for name in inputs
        ),
        "ours alarms on the shortcut version": shortcut[PRIMARY] is not None,
        "ours stays quiet on the clean version and the null control": (
            one[PRIMARY] is None and null[PRIMARY] is None
        ),
    }


def show(name: str, result: dict) -> None:
    """Print every figure of one task as tables."""
    print(f"\n{name} ({result['images']['served']} served images)")
    for kind, found in result["accuracy"].items():
        coin = found["random cue"]
        print(f"  {kind:9} accuracy as served {found['served']:.3f}, disc by coin {coin:.3f}")
    print(f"{'mean over 50 images':36}{'clean':>9}{'shortcut':>10}{'AUC':>8}{'null':>8}")
    for row in result["separation"]:
        print(
            f"{row['measure']:36}{row['clean']:9.3f}{row['shortcut']:10.3f}{row['auc']:8.3f}"
            f"{row['null_auc']:8.3f}"
        )
    print(f"First alarm within {STREAM} observations, the same bytes for every version")
    for row in result["streams"]:
        said = ", ".join(
            f"{name} {'quiet' if at is None else at}"
            for name, at in row.items()
            if name != "version"
        )
        print(f"  {row['version']}: {said}")
    for target, met in result["targets"].items():
        print(f"{'met' if met else 'MISSED':7} {target}")


if __name__ == "__main__":
    sys.exit(main())
