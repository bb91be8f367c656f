"""Weight randomisation: an explainer that shows the image alone is told from one that reacts."""

import numpy as np
import pytest
import torch

from models import architectures, sanity
from models.modes import evaluation_mode


@pytest.fixture(scope="module")
def classifier() -> architectures.Classifier:
    torch.manual_seed(0)
    spec = architectures.default_spec("small_cnn", ["a", "b", "c"], height=28)
    return architectures.build(spec).eval()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    rng = np.random.default_rng(0)
    made = np.zeros((12, 28, 28, 3), np.uint8)
    for image in made:
        row, column = rng.integers(4, 16, 2)
        image[row : row + 8, column : column + 8] = rng.integers(60, 256, (8, 8, 3))
    return made


def slow_spearman(one: np.ndarray, other: np.ndarray) -> float:
    """As the definition reads: Pearson's correlation of ranks, ties in the middle."""

    def ranks(values: list[float]) -> list[float]:
        return [
            sum(each < value for each in values) + (sum(each == value for each in values) - 1) / 2
            for value in values
        ]

    first, second = ranks(one.ravel().tolist()), ranks(other.ravel().tolist())
    return float(np.corrcoef(first, second)[0, 1])


def test_spearman_agrees_with_the_definition() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        one, other = rng.integers(0, 6, (2, 5, 4)).astype(float)

        assert slow_spearman(one, other) == pytest.approx(sanity.spearman(one, other))


def test_a_constant_map_has_no_correlation() -> None:
    assert sanity.spearman(np.zeros((3, 3)), np.arange(9.0).reshape(3, 3)) is None


def test_every_served_explainer_is_judged(classifier, images) -> None:
    found = sanity.randomisation(classifier, images)

    assert set(found) == {
        *("gradcam", "input_gradients", "gradient_x_input", "smoothgrad"),
        *("integrated_gradients", "lrp"),
    }
    assert all(-1.0 <= each["similarity"] <= 1.0 for each in found.values())
    assert all(each["reacts"] == (each["similarity"] < 0.5) for each in found.values())
    assert all(1 <= each["images"] <= 12 for each in found.values())


def test_what_multiplies_by_a_dark_image_does_not_react(classifier, images) -> None:
    """Most pixels are black, and stay the last ranks whatever the weights are."""
    found = sanity.randomisation(classifier, images)

    assert not found["gradient_x_input"]["reacts"]
    assert found["gradcam"]["reacts"]


def test_the_same_weights_would_be_found_the_same(classifier, images, monkeypatch) -> None:
    """The check can fail: without random weights no explainer reacts."""
    monkeypatch.setattr(sanity, "randomised", lambda classifier, _pixels, *, seed: classifier)  # noqa: ARG005 - as it is called
    found = sanity.randomisation(classifier, images)

    assert {1.0} == {each["similarity"] for each in found.values()}
    assert not any(each["reacts"] for each in found.values())


def test_the_classifier_is_left_as_found(classifier, images) -> None:
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    classifier.train()
    sanity.randomisation(classifier, images)

    assert classifier.training
    classifier.eval()
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())


def test_random_weights_keep_their_scale_and_differ(classifier, images) -> None:
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with evaluation_mode(classifier):
        other = sanity.randomised(classifier, pixels, seed=3)
    for one, two in zip(classifier.parameters(), other.parameters(), strict=True):
        if one.numel() > 500:
            first, second = one.detach().numpy().ravel(), two.detach().numpy().ravel()

            assert first.std() == pytest.approx(second.std(), rel=0.2)
            assert abs(np.corrcoef(first, second)[0, 1]) < 0.2


def test_painting_over_the_evidence_costs_more_than_painting_over_another_place() -> None:
    """A classifier of the brightness of one corner, explained rightly and wrongly."""

    class OfTheCorner(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            bright = 20 * (pixels[:, :, :6, :6].mean((1, 2, 3)) - 0.5)
            return torch.stack([-bright, bright], 1)

    pixels = torch.full((4, 3, 24, 24), 0.3)
    pixels[:, :, :6, :6] = 0.9
    targets = torch.ones(4, dtype=torch.int64)
    right = np.zeros((4, 4, 4))
    right[:, 0, 0] = 1.0
    wrong = np.roll(right, 2, axis=2)
    even = np.random.default_rng(0).random((4, 4, 4)) * 1e-9

    def deletion(maps: np.ndarray) -> float:
        return sanity.deletion(OfTheCorner(), pixels, targets, maps)

    assert deletion(right) > 0.9
    assert deletion(wrong) < -0.2
    assert abs(deletion(even)) < 1.0


def test_a_deletion_is_stated_for_every_explainer(classifier, images) -> None:
    found = sanity.randomisation(classifier, images)

    assert all(-1.0 <= each["deletion"] <= 1.0 for each in found.values())
