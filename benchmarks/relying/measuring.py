"""Every candidate measure of one network, per image; higher means more reliance throughout."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from audit.reliance import parts, probes
from models.architectures import Classifier
from models.explainers.base import heatmap
from models.explainers.gradcam import gradcam
from models.explainers.input_gradients import input_gradients
from models.preprocessing import region_on_grid

BATCH = 64
# Images that a suspected part is pasted into.
HOSTS = 3
CELLS = parts.GRID**2
Floats: TypeAlias = NDArray[np.floating]
Ask: TypeAlias = Callable[[NDArray[np.uint8]], Floats]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a network is asked.

    Attributes:
        images: As they are served, uint8 [N, S, S, 3].
        regions: Where evidence is expected, bool [N, S, S].
        cues: Where the cue is, bool [N, S, S].
    """

    images: NDArray[np.uint8]
    regions: NDArray[np.bool_]
    cues: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found.

    Attributes:
        values: Measure → per image [N].
        passes: Measure → forward passes per image; a gradient counts as three.
        maps: For each image and cell the fall of its answer's probability as the cell is
            exchanged, [N, cells].
        place: Mean over images of the cue's share of the most telling cell over that of an
            average cell; NaN where there is no cue.
    """

    values: dict[str, Floats]
    passes: dict[str, float]
    maps: Floats
    place: float


def asking(classifier: Classifier, device: str) -> Ask:
    """Return a function from images to probabilities, folded for speed."""
    size = classifier.spec.preprocessing
    example = torch.rand(BATCH, 3, size.height, size.width, device=device)
    classifier.to(device, memory_format=torch.channels_last).eval()
    example = example.contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        frozen = torch.jit.freeze(torch.jit.trace(classifier, example))

    def ask(images: NDArray[np.uint8]) -> Floats:
        found = []
        with torch.no_grad():
            for start in range(0, len(images), BATCH):
                pixels = torch.from_numpy(images[start : start + BATCH]).to(device)
                # Permuted, so that the channels are last in memory already.
                logits = frozen(pixels.permute(0, 3, 1, 2).float() / 255.0)
                found.append(logits.double().softmax(1).cpu().numpy())
        return np.concatenate(found)

    return ask


def measure(classifier: Classifier, asked: Asked, device: str, *, seed: int) -> Measured:
    """Return every candidate for every image."""
    ask = asking(classifier, device)
    before = ask(asked.images)
    decided = before.argmax(axis=1)
    seen = _Seen(ask, asked, before, decided, np.random.default_rng([seed, 31]))
    values, passes = _whole(seen)
    local, telling = _local(seen)
    values |= local
    passes |= {name: _LOCAL_PASSES[name] for name in local}
    drawn = _drawn(classifier, asked, decided, device)
    values |= drawn
    passes |= dict.fromkeys(drawn, 3.0)
    return Measured(values, passes, telling, _on_the_cue(asked.cues, telling))


@dataclass(frozen=True, slots=True)
class _Seen:
    ask: Ask
    asked: Asked
    before: Floats
    decided: NDArray[np.intp]
    rng: np.random.Generator

    def falls(self, images: NDArray[np.uint8]) -> Floats:
        """Return by how much the probability of each answer falls."""
        rows = np.arange(len(images))
        return self.before[rows, self.decided] - self.ask(images)[rows, self.decided]

    def others(self, *, same: bool) -> NDArray[np.intp]:
        """Return for each image another one that is decided alike, or otherwise."""
        chosen = np.empty(len(self.decided), np.intp)
        for row, label in enumerate(self.decided):
            able = (self.decided == label) == same
            able[row] = False
            pool = np.flatnonzero(able)
            if len(pool) == 0:  # everything is decided alike
                pool = np.delete(np.arange(len(self.decided)), row)
            chosen[row] = self.rng.choice(pool)
        return chosen


def _whole(seen: _Seen) -> tuple[dict[str, Floats], dict[str, float]]:
    """Return what changing all that is irrelevant does."""
    images, regions = seen.asked.images, seen.asked.regions
    other, same = seen.others(same=False), seen.others(same=True)
    colours = np.stack(
        [image[~region].mean(axis=0) for image, region in zip(images, regions, strict=True)]
    )
    exchanged = np.where(
        regions[..., None], images, np.rint(colours[other])[:, None, None, :].astype(np.uint8)
    )
    made = {
        "fill": probes.fill(images, regions),
        "blur": probes.blur(images, regions),
        "exchange": exchanged,
        "swap other": probes.swap(images, regions, images[other], regions[other]),
        "swap same": probes.swap(images, regions, images[same], regions[same]),
    }
    values: dict[str, Floats] = {}
    passes: dict[str, float] = {}
    for name, each in made.items():
        after = seen.ask(each)
        rows = np.arange(len(after))
        values[f"{name}: flip"] = (after.argmax(axis=1) != seen.decided).astype(float)
        values[f"{name}: shift"] = (seen.before - after)[rows, seen.decided]
        passes |= {f"{name}: flip": 1.0, f"{name}: shift": 1.0}
    # With two classes a flip under another's surroundings is a directed flip.
    values["directed flip (before)"] = values["swap other: flip"]
    for what in ("flip", "shift"):
        values[f"swap contrast: {what}"] = (
            values[f"swap other: {what}"] - values[f"swap same: {what}"]
        )
    alone = seen.ask(probes.fill(images, ~regions)).argmax(axis=1)
    values["surroundings alone: same answer"] = (alone == seen.decided).astype(float)
    passes |= {
        "directed flip (before)": 1.0,
        "swap contrast: flip": 2.0,
        "swap contrast: shift": 2.0,
        "surroundings alone: same answer": 1.0,
    }
    return values, passes


_PARTS = CELLS + len(parts.Whole)
_LOCAL_PASSES = {
    "erased cells: largest": CELLS,
    "erased cells: largest - median": CELLS,
    "erased cells: concentration": CELLS,
    "erased cells: any flip": CELLS,
    "exchanged cells: largest": CELLS,
    "exchanged cells: largest - median": CELLS,
    "exchanged cells: concentration": CELLS,
    "exchanged parts: largest": _PARTS,
    "exchanged parts: any flip": _PARTS,
    "exchanged parts: other - same": _PARTS + 1,
    "carried part: rise": _PARTS + HOSTS,
    "carried part: rise - same part of own kind": _PARTS + 2 * HOSTS,
    "carried part: turned": _PARTS + HOSTS,
    "carried part: turned - own kind": _PARTS + 2 * HOSTS,
    "carried cell: rise - own kind": CELLS + 2 * HOSTS,
}


def _local(seen: _Seen) -> tuple[dict[str, Floats], Floats]:
    """Return what changing one part at a time does, and the map of the exchanged cells."""
    images, regions = seen.asked.images, seen.asked.regions
    there = parts.present(regions)
    other, same = seen.others(same=False), seen.others(same=True)
    values: dict[str, Floats] = {}
    erased = np.stack(
        [seen.falls(parts.erased(cell, images, regions)) for cell in range(CELLS)], axis=1
    )
    values |= _concentrated("erased cells", erased, there[:, :CELLS])
    certain = 2 * seen.before.max(axis=1) - 1  # a fall by half of it turns two classes
    flips = np.where(there[:, :CELLS], erased, -1.0) > certain[:, None] / 2
    values["erased cells: any flip"] = flips.any(axis=1).astype(float)
    lent, theirs = images[other], regions[other]
    falls = np.stack(
        [
            seen.falls(parts.exchanged(part, images, regions, lent, theirs))
            for part in range(_PARTS)
        ],
        axis=1,
    )
    values |= _concentrated("exchanged cells", falls[:, :CELLS], there[:, :CELLS])
    masked = np.where(there, falls, -1.0)
    rows, best = np.arange(len(images)), masked.argmax(axis=1)
    values["exchanged parts: largest"] = masked.max(axis=1)
    values["exchanged parts: any flip"] = (masked > certain[:, None] / 2).any(axis=1).astype(float)
    alike = _pasted(seen, rows, same, best)[rows, seen.decided]
    values["exchanged parts: other - same"] = (
        masked.max(axis=1) - seen.before[rows, seen.decided] + alike
    )
    values |= _carried(seen, masked)
    return values, np.where(there[:, :CELLS], falls[:, :CELLS], 0.0)


def _concentrated(name: str, falls: Floats, there: NDArray[np.bool_]) -> dict[str, Floats]:
    known = np.where(there, falls, np.nan)
    known[~there.any(axis=1)] = 0.0
    largest = np.nanmax(known, axis=1)
    total = np.nansum(np.maximum(known, 0.0), axis=1)
    return {
        f"{name}: largest": largest,
        f"{name}: largest - median": largest - np.nanmedian(known, axis=1),
        f"{name}: concentration": np.divide(
            np.maximum(largest, 0) ** 2, total, out=np.zeros(len(total)), where=total > 0
        ),
    }


def _carried(seen: _Seen, falls: Floats) -> dict[str, Floats]:
    """Return what the most telling part of an image does in other images."""
    best = falls.argmax(axis=1)
    cell = falls[:, :CELLS].argmax(axis=1)
    sums = {name: np.zeros(len(best)) for name in ("rise", "own", "turn", "stay", "cell")}
    sums["cell own"] = np.zeros(len(best))
    for _ in range(HOSTS):
        host, own = seen.others(same=False), seen.others(same=False)
        # `own` is decided as the host is: it lends the same part with the host's own meaning.
        for name, part, donor in (
            ("rise", best, np.arange(len(best))),
            ("own", best, own),
            ("cell", cell, np.arange(len(best))),
            ("cell own", cell, own),
        ):
            after = _pasted(seen, host, donor, part)
            rows = np.arange(len(after))
            sums[name] += after[rows, seen.decided] - seen.before[host, seen.decided]
            if name in {"rise", "own"}:
                turned = (after.argmax(axis=1) == seen.decided).astype(float)
                sums["turn" if name == "rise" else "stay"] += turned
    mean = {name: each / HOSTS for name, each in sums.items()}
    return {
        "carried part: rise": mean["rise"],
        "carried part: rise - same part of own kind": mean["rise"] - mean["own"],
        "carried part: turned": mean["turn"],
        "carried part: turned - own kind": mean["turn"] - mean["stay"],
        "carried cell: rise - own kind": mean["cell"] - mean["cell own"],
    }


def _pasted(
    seen: _Seen, host: NDArray[np.intp], donor: NDArray[np.intp], part: NDArray[np.intp]
) -> Floats:
    images, regions = seen.asked.images, seen.asked.regions
    made = images[host].copy()
    for each in np.unique(part):
        rows = np.flatnonzero(part == each)
        made[rows] = parts.exchanged(
            int(each),
            images[host[rows]],
            regions[host[rows]],
            images[donor[rows]],
            regions[donor[rows]],
        )
    return seen.ask(made)


def _drawn(
    classifier: Classifier, asked: Asked, decided: NDArray[np.intp], device: str
) -> dict[str, Floats]:
    """Return what gradients and heatmaps say lies in the irrelevant part, beyond chance."""
    heats, slopes = [], []
    for start in range(0, len(asked.images), BATCH):
        rows = slice(start, start + BATCH)
        pixels = torch.from_numpy(asked.images[rows]).to(device).permute(0, 3, 1, 2) / 255.0
        targets = torch.from_numpy(decided[rows]).to(device)
        heats.append(heatmap(gradcam(classifier, pixels, targets).attribution).cpu().numpy())
        slope = input_gradients(classifier, pixels, targets).attribution
        slopes.append(slope.abs().sum(1).detach().cpu().numpy())
    heat, slope = np.concatenate(heats), np.concatenate(slopes)
    shares = np.stack([region_on_grid(each, heat.shape[1:]) for each in asked.regions])
    total = heat.sum(axis=(1, 2))
    outside = (heat * (1 - shares)).sum(axis=(1, 2))
    chance = 1 - asked.regions.mean(axis=(1, 2))
    mass = np.divide(outside, total, out=chance.copy(), where=total > 0)
    steep = (slope * ~asked.regions).sum(axis=(1, 2)) / np.maximum(slope.sum(axis=(1, 2)), 1e-12)
    size = asked.images.shape[1] // 8
    blocks = (slope * ~asked.regions)[:, : 8 * size, : 8 * size]
    peak = blocks.reshape(len(slope), 8, size, 8, size).sum(axis=(2, 4)).max(axis=(1, 2))
    inside = (heat * shares).sum(axis=(1, 2)) / np.maximum(shares.sum(axis=(1, 2)), 1e-12)
    return {
        "Grad-CAM: mass outside - chance": mass - chance,
        "Grad-CAM: 1 - activation recall": 1 - inside,
        "gradient: share outside - chance": steep - chance,
        "gradient: steepest block outside": peak / np.maximum(slope.sum(axis=(1, 2)), 1e-12),
    }


def _on_the_cue(cues: NDArray[np.bool_], falls: Floats) -> float:
    """Return how much of the cue lies in the most telling cell, over that of an average cell."""
    side = cues.shape[1]
    edges = [round(side * each / parts.GRID) for each in range(parts.GRID + 1)]
    shares = np.stack(
        [
            cues[:, edges[r] : edges[r + 1], edges[c] : edges[c + 1]].sum(axis=(1, 2))
            for r in range(parts.GRID)
            for c in range(parts.GRID)
        ],
        axis=1,
    ).astype(float)
    known = shares.sum(axis=1) > 0
    if not known.any():
        return float("nan")
    rows = np.flatnonzero(known)
    best = shares[rows, falls[rows].argmax(axis=1)] / shares[rows].sum(axis=1)
    return float(best.mean())
