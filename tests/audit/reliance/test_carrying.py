"""Which part carries an answer, against classifiers whose reliance is known exactly."""

import numpy as np
import pytest

from audit.errors import ProbeError
from audit.reliance import parts
from audit.reliance.carrying import ALL, HOSTS, Lenders, carried

SIZE = 40
NAMES = parts.names()


def images(count: int = 24, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noise with evidence in the middle and a bright or dark corner that goes with it."""
    rng = np.random.default_rng(seed)
    made = rng.integers(90, 160, (count, SIZE, SIZE, 3), np.uint8)
    regions = np.zeros((count, SIZE, SIZE), bool)
    regions[:, 14:26, 14:26] = True
    labels = np.arange(count) % 2
    made[regions] = np.where(labels, 220, 30).repeat(144)[:, None]
    made[:, 33:39, 1:7] = np.where(labels, 250, 5)[:, None, None, None]
    return made, regions, labels


def sure(bright: np.ndarray) -> np.ndarray:
    one = np.where(bright, 0.95, 0.05)
    return np.stack([1 - one, one], axis=1)


def of_the_corner(seen: np.ndarray) -> np.ndarray:
    return sure(seen[:, 33:39, 1:7].mean(axis=(1, 2, 3)) > 125)


def of_the_evidence(seen: np.ndarray) -> np.ndarray:
    return sure(seen[:, 14:26, 14:26].mean(axis=(1, 2, 3)) > 125)


def asked(classifier, made: np.ndarray, regions: np.ndarray) -> Lenders:
    return Lenders(made, regions, classifier(made))


def test_a_cue_in_a_corner_is_found_and_carried() -> None:
    made, regions, _ = images()
    found = carried(of_the_corner, asked(of_the_corner, made, regions))

    assert {"4,0"} == {NAMES[each.part] for each in found if each}
    assert all(each and each.rise == pytest.approx(0.9) for each in found)
    assert all(each and each.turned == 1.0 and each.reliance == each.rise for each in found)
    assert all(each and each.named()["4,0"] == pytest.approx(0.9) for each in found)


def test_a_classifier_of_the_evidence_is_carried_by_nothing() -> None:
    made, regions, _ = images()
    found = carried(of_the_evidence, asked(of_the_evidence, made, regions))

    assert all(each and each.rise == each.turned == each.reliance == 0.0 for each in found)


def test_a_classifier_that_any_change_upsets_is_not_said_to_rely() -> None:
    made, regions, _ = images(60)

    def upset(seen: np.ndarray) -> np.ndarray:
        """Another answer for every image, by a hash of its pixels."""
        return sure(np.array([hash(each.tobytes()) % 2 == 1 for each in seen]))

    found = carried(upset, asked(upset, made, regions))
    rises = [each.rise for each in found if each]

    assert max(abs(each) for each in rises) > 0.2  # it is upset
    assert abs(np.mean(rises)) < 4 * np.std(rises) / np.sqrt(len(rises))


def test_what_the_whole_of_the_rest_says_is_not_a_part() -> None:
    """Surroundings that are brighter in one class, told by half of all their cells at least."""
    made, regions, labels = images()
    made[~regions] = made[~regions] // 4 + 40 + 60 * labels.repeat(SIZE * SIZE - 144)[:, None]

    def of_most(seen: np.ndarray) -> np.ndarray:
        rest = np.where(regions[0][..., None], 0, seen)
        return sure((rest[:, ::8, ::8] > 95).mean(axis=(1, 2, 3)) > 0.5)

    spread = carried(of_most, asked(of_most, made, regions))
    cells = [each.falls[:25] for each in spread if each]
    assert {0.0, None} >= {fall for each in cells for fall in each}  # no cell alone
    assert {NAMES[each.part] for each in spread if each} <= {"colour", "frame"}


def test_no_more_answers_are_asked_for_than_allowed() -> None:
    made, regions, _ = images(6)
    counted = 0

    def counting(seen: np.ndarray) -> np.ndarray:
        nonlocal counted
        counted += len(seen)
        return of_the_corner(seen)

    known = asked(of_the_corner, made, regions)
    carried(counting, known, most=2 * HOSTS + 5)
    assert counted == 6 * (2 * HOSTS + 5)
    counted = 0
    carried(counting, known)
    assert counted <= 6 * ALL


def test_fewer_answers_find_less_but_nothing_else() -> None:
    made, regions, _ = images()
    known = asked(of_the_corner, made, regions)
    few = [each.reliance for each in carried(of_the_corner, known, most=9) if each]

    assert 0.0 < np.mean(few) < 0.9
    with pytest.raises(ProbeError, match="at least 9"):
        carried(of_the_corner, known, most=8)


def test_where_all_are_answered_alike_nothing_can_be_carried() -> None:
    made, regions, labels = images()
    ones = labels == 1
    alike = asked(of_the_corner, made[ones], regions[ones])
    assert {None} == set(carried(of_the_corner, alike))

    both = carried(of_the_corner, alike, asked(of_the_corner, made, regions))
    assert all(each and each.turned == 1.0 for each in both)


def test_the_same_seed_finds_the_same() -> None:
    made, regions, _ = images()
    known = asked(of_the_corner, made, regions)
    one, two = (carried(of_the_corner, known, most=20, seed=4) for _ in range(2))
    assert [each and each.named() for each in one] == [each and each.named() for each in two]
