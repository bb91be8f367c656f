"""Heatmaps from raw attributions."""

import pytest
import torch

from models.explainers.base import heatmap, log_probability, logit


def test_a_heatmap_keeps_positive_evidence_and_scales_by_the_maximum() -> None:
    attribution = torch.tensor([[[-4.0, 1.0], [2.0, 0.0]]])

    assert heatmap(attribution).tolist() == [[[0, 0.5], [1, 0]]]


def test_each_image_is_scaled_by_itself() -> None:
    attribution = torch.tensor([[[1.0, 2.0]], [[10.0, 5.0]]])

    assert heatmap(attribution).tolist() == [[[0.5, 1]], [[1, 0.5]]]


def test_a_map_without_positive_evidence_stays_zero() -> None:
    assert heatmap(torch.full((2, 3, 3), -1.0)).tolist() == torch.zeros(2, 3, 3).tolist()


def test_channels_may_cancel_unless_magnitudes_are_asked_for() -> None:
    attribution = torch.tensor([1.0, -3.0, 1.0]).view(1, 3, 1, 1).repeat(1, 1, 1, 2)
    attribution[:, :, :, 1] = 1

    assert heatmap(attribution).tolist() == [[[0, 1]]]
    assert heatmap(attribution, magnitude=True).tolist() == [[[1, pytest.approx(0.6)]]]


def test_scalars_pick_the_target() -> None:
    logits, targets = torch.tensor([[1.0, 3.0], [2.0, 2.0]]), torch.tensor([1, 0])

    assert logit(logits, targets).tolist() == [3, 2]
    assert log_probability(logits, targets).exp().tolist() == pytest.approx(
        [0.8808, 0.5], abs=1e-4
    )
