import numpy as np
import pytest

from audit import clusters
from audit.errors import HeatmapError


def heatmaps(cornered: int, spread: int, *, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Most heatmaps follow an object near the centre; some sit in one corner."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:7, :7]

    def spot(row: float, column: float, width: float) -> np.ndarray:
        heat = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * width**2))
        return heat * rng.uniform(0.5, 1.0) + 0.02 * rng.random((7, 7))

    made = [spot(0.3, 6.0, 0.8) for _ in range(cornered)]
    made += [spot(*rng.normal(3.2, 0.7, 2), 1.5) for _ in range(spread)]
    names = [f"corner{n}" for n in range(cornered)] + [f"object{n}" for n in range(spread)]
    return names, np.stack(made)


def test_the_corner_group_is_the_first_suspicion() -> None:
    names, heat = heatmaps(25, 120)
    first = clusters.suspects(names, heat)[0]

    assert {f"corner{n}" for n in range(25)} == set(first.members)
    assert first.share == pytest.approx(25 / 145)
    assert (0, 6) == np.unravel_index(first.heatmap.argmax(), (7, 7))
    assert len(first.examples) == 9
    assert first.score > 0.5


def test_the_order_of_the_images_does_not_matter() -> None:
    names, heat = heatmaps(25, 60)
    order = np.random.default_rng(1).permutation(len(names))
    straight = clusters.suspects(names, heat)[0]
    shuffled = clusters.suspects([names[n] for n in order], heat[order])[0]

    assert set(straight.members) == set(shuffled.members)
    assert straight.score == pytest.approx(shuffled.score)


def test_every_speaking_image_is_in_exactly_one_group() -> None:
    names, heat = heatmaps(10, 40)
    heat[[3, 30]] = 0.0
    members = [each for group in clusters.suspects(names, heat) for each in group.members]

    assert len(members) == len(set(members)) == 48
    assert not {names[3], names[30]} & set(members)


def test_one_kind_of_reason_is_no_strong_suspicion() -> None:
    names, heat = heatmaps(0, 100)

    assert clusters.suspects(names, heat)[0].score < 0.35


def test_eigenvalues_count_the_separate_parts() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(centre, 0.1, (30, 2)) for centre in (0, 10, 20)])
    values, vectors = clusters.spectrum(points)

    assert [0.0, 0.0, 0.0] == pytest.approx(values[:3], abs=1e-9)
    assert 0.01 < values[3] <= values[-1] <= 2.0
    assert np.eye(90) == pytest.approx(vectors.T @ vectors, abs=1e-9)


def test_partition_puts_each_point_with_its_nearest_mean() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(centre, 0.5, (40, 3)) for centre in (0, 4, 9)])
    labels = clusters.partition(points, 3, seed=2)
    means = np.stack([points[labels == group].mean(axis=0) for group in range(3)])
    for point, label in zip(points, labels, strict=True):
        assert label == np.argmin([np.linalg.norm(point - mean) for mean in means])


def test_equal_heatmaps_are_one_group() -> None:
    found = clusters.suspects([str(n) for n in range(30)], np.ones((30, 7, 7)))

    assert sum(group.share for group in found) == pytest.approx(1.0)
    assert found[0].score == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("count", "heat", "most"),
    [
        (5, np.ones((5, 7, 7)), 8),
        (30, np.zeros((30, 7, 7)), 8),
        (30, -np.ones((30, 7, 7)), 8),
        (30, np.full((30, 7, 7), np.nan), 8),
        (29, np.ones((30, 7, 7)), 8),
        (30, np.ones((30, 49)), 8),
        (30, np.ones((30, 7, 7)), 1),
        (0, np.ones((0, 7, 7)), 8),
    ],
)
def test_what_cannot_be_grouped_is_refused(count, heat, most) -> None:
    with pytest.raises(HeatmapError):
        clusters.suspects([str(n) for n in range(count)], heat, most=most)
