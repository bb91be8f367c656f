"""Where no region is known: groups of heatmaps that look alike, as suspects for a shortcut.

Images that are decided for the same reason have heatmaps of the same shape. A small, tight group
apart from the rest (always the same corner) is what a shortcut looks like. The groups are
proposals with example images for a person to judge, never alarms.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.errors import HeatmapError

NEIGHBOURS = 10
FEWEST = 20
MOST = 2000
ROUNDS = 100
EXAMPLES = 9
# Two groups whose mean heatmaps share more than this part look the same to a person.
SAME = 0.75
# From this score on a group is worth a person's look: one kind of reason stays below .35.
SUSPICIOUS = 0.4


@dataclass(frozen=True, slots=True, eq=False)
class Suspicion:
    """A group of images whose heatmaps look alike.

    Attributes:
        members: Ids of all images in the group, most typical first.
        share: Share of all images, in (0, 1].
        heatmap: Mean heatmap of the group, each scaled to sum 1, float64 [rows, columns].
        focus: One less the entropy of that mean over its maximum: 0 for groups that look
            everywhere, 1 for one cell.
        distance: How far its mean lies from that of all other images: half the absolute
            difference, 0 for none, 1 for no overlap at all.
        score: Geometric mean of focus and distance, by which suspicions are ordered.
    """

    members: tuple[str, ...]
    share: float
    heatmap: NDArray[np.float64]
    focus: float
    distance: float
    score: float

    @property
    def examples(self) -> tuple[str, ...]:
        """Ids of the most typical images, to show to a person."""
        return self.members[:EXAMPLES]


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """All heatmaps of one look, in groups.

    Attributes:
        answers: How many heatmaps were grouped: those that are not silent.
        eigengap: The largest gap between neighbouring eigenvalues of the neighbourhood graph, in
            [0, 2]: how clearly it falls into as many parts as it was cut into.
        suspicions: The groups, most suspicious first.
    """

    answers: int
    eigengap: float
    suspicions: tuple[Suspicion, ...]


def suspects(
    ids: Sequence[str],
    heatmaps: NDArray[np.floating],
    *,
    most: int = 8,
    seed: int = 0,
) -> tuple[Suspicion, ...]:
    """Return groups of heatmaps that look alike, most suspicious first: see `grouped`."""
    return grouped(ids, heatmaps, most=most, seed=seed).suspicions


def look_same(one: NDArray[np.floating], other: NDArray[np.floating]) -> bool:
    """Whether two mean heatmaps, each of sum 1, share so much that a person sees one."""
    return one.shape == other.shape and float(np.minimum(one, other).sum()) > SAME


def grouped(
    ids: Sequence[str],
    heatmaps: NDArray[np.floating],
    *,
    most: int = 8,
    seed: int = 0,
) -> Grouping:
    """Return heatmaps in groups that look alike, and how clearly they fall apart.

    Best asked per class. Silent heatmaps take no part. The number of groups is where the
    eigenvalues of the neighbourhood graph leave their largest gap; that splits a smooth variety of
    heatmaps finely, so groups that look the same on average are joined again.

    Args:
        ids: One id per heatmap.
        heatmaps: Evidence, not negative, [images, rows, columns]; 20 to 2,000 that are not silent.
        most: The most groups to look for, at least 2.
        seed: Seed of the grouping.

    Raises:
        HeatmapError: If the heatmaps are negative, too few, too many, or not one per id.

    References:
        Lapuschkin et al. (2019), "Unmasking Clever Hans predictors and assessing what machines
        really learn", spectral relevance analysis; von Luxburg (2007), "A tutorial on spectral
        clustering", for the normalised Laplacian and the gap.
    """
    names, shapes = _checked(ids, heatmaps, most)
    flat = shapes.reshape(len(shapes), -1)
    values, vectors = spectrum(flat)
    limit = min(most, len(flat) - 1)
    gaps = np.diff(values[: limit + 1])
    groups = 1 + int(np.argmax(gaps))
    if groups == 1:
        labels = np.zeros(len(flat), np.intp)
    else:
        rows = vectors[:, :groups]
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        labels = partition(rows / np.maximum(lengths, 1e-12), groups, seed=seed)
    found = [_suspicion(names, shapes, inside) for inside in _joined(shapes, labels)]
    ordered = tuple(sorted(found, key=lambda each: (-each.score, each.members)))
    return Grouping(len(flat), float(gaps.max(initial=0.0)), ordered)


def spectrum(
    points: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return eigenvalues (ascending, in [0, 2]) and eigenvectors of the normalised Laplacian.

    The graph joins each point with its nearest neighbours, in either direction.
    """
    squares = (points**2).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2.0 * points @ points.T
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, : min(NEIGHBOURS, len(points) - 1)]
    joined = np.zeros(distances.shape)
    np.put_along_axis(joined, nearest, 1.0, axis=1)
    joined = np.maximum(joined, joined.T)
    scale = 1.0 / np.sqrt(joined.sum(axis=1))
    laplacian = np.eye(len(points)) - scale[:, None] * joined * scale[None, :]
    values, vectors = np.linalg.eigh(laplacian)
    return values, vectors


def partition(points: NDArray[np.float64], groups: int, *, seed: int) -> NDArray[np.intp]:
    """Return the group of each point by k-means from spread-out seeds.

    References:
        Lloyd (1982), "Least squares quantization in PCM"; Arthur, Vassilvitskii (2007),
        "k-means++".
    """
    rng = np.random.default_rng(seed)
    centres = points[[int(rng.integers(len(points)))]]
    while len(centres) < groups:
        gaps = ((points[:, None, :] - centres[None]) ** 2).sum(axis=2).min(axis=1)
        total = float(gaps.sum())
        share = gaps / total if total > 0.0 else np.full(len(points), 1.0 / len(points))
        centres = np.concatenate([centres, points[[int(rng.choice(len(points), p=share))]]])
    labels = np.full(len(points), -1, np.intp)
    for _ in range(ROUNDS):
        nearer = ((points[:, None, :] - centres[None]) ** 2).sum(axis=2).argmin(axis=1)
        if (nearer == labels).all():
            break
        labels = nearer
        for group in range(groups):
            if (labels == group).any():
                centres[group] = points[labels == group].mean(axis=0)
    return labels


def _checked(
    ids: Sequence[str], heatmaps: NDArray[np.floating], most: int
) -> tuple[list[str], NDArray[np.float64]]:
    heat = np.asarray(heatmaps, np.float64)
    if heat.ndim != 3 or len(heat) != len(ids):  # noqa: PLR2004 - images, rows, columns
        raise HeatmapError(f"heatmaps of shape {heat.shape} for {len(ids)} ids")
    if heat.size == 0 or not (heat.min() >= 0.0 and np.isfinite(heat.max())):
        raise HeatmapError("heatmaps must be finite and not negative; at least one is needed")
    if most < 2:  # noqa: PLR2004 - one group is no grouping
        raise HeatmapError(f"at most {most} groups; at least 2 must be allowed")
    totals = heat.sum(axis=(1, 2))
    speaking = totals > 0.0
    if not FEWEST <= speaking.sum() <= MOST:
        raise HeatmapError(
            f"{speaking.sum()} heatmaps that are not silent; grouping takes {FEWEST} to {MOST}"
        )
    names = [each for each, speaks in zip(ids, speaking, strict=True) if speaks]
    return names, heat[speaking] / totals[speaking, None, None]


def _joined(shapes: NDArray[np.float64], labels: NDArray[np.intp]) -> list[NDArray[np.bool_]]:
    """Return the members of each group, the most alike joined while they look the same."""
    groups = [labels == group for group in np.unique(labels)]
    while len(groups) > 1:
        means = [shapes[inside].mean(axis=0) for inside in groups]
        shared = {
            (i, j): float(np.minimum(means[i], means[j]).sum())
            for j in range(len(groups))
            for i in range(j)
        }
        first, second = max(shared, key=lambda pair: shared[pair])
        if shared[first, second] <= SAME:
            break
        groups[first] = groups[first] | groups.pop(second)
    return groups


def _suspicion(
    names: Sequence[str], shapes: NDArray[np.float64], inside: NDArray[np.bool_]
) -> Suspicion:
    mean = shapes[inside].mean(axis=0)
    rest = shapes[~inside].mean(axis=0) if not inside.all() else mean
    gaps = ((shapes - mean) ** 2).sum(axis=(1, 2))
    typical = sorted(
        np.flatnonzero(inside).tolist(), key=lambda image: (gaps[image], names[image])
    )
    positive = mean[mean > 0.0]
    entropy = float(-(positive * np.log(positive)).sum())
    focus = min(1.0, max(0.0, 1.0 - entropy / np.log(mean.size))) if mean.size > 1 else 0.0
    distance = float(np.abs(mean - rest).sum() / 2.0)
    return Suspicion(
        members=tuple(names[image] for image in typical),
        share=float(inside.mean()),
        heatmap=mean,
        focus=focus,
        distance=distance,
        score=float(np.sqrt(focus * distance)),
    )
