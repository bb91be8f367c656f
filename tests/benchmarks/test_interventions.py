"""The parts of the intervention benchmark against slower truths; the whole where the data are."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("scipy", reason="the benchmark compares with SciPy's tests")


@pytest.fixture
def parts(monkeypatch) -> SimpleNamespace:
    """The benchmark's modules, imported as the script imports them."""
    monkeypatch.syspath_prepend("benchmarks")
    import interventions  # noqa: PLC0415 - importable only with the path above
    from intervening import heads, scenes  # noqa: PLC0415

    return SimpleNamespace(interventions=interventions, heads=heads, scenes=scenes)


def test_auc_counts_pairs(parts) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 6, 30) / 5, rng.integers(0, 5, 20) / 5
    pairs = [(a > b) + 0.5 * (a == b) for a in first for b in second]

    assert np.mean(pairs) == pytest.approx(parts.interventions.auc(first, second))


def test_heatmaps_are_grad_cam_by_autograd(parts) -> None:
    rng = np.random.default_rng(1)
    maps = rng.normal(size=(3, 5, 4, 4))
    head = parts.heads.Head(rng.normal(size=(5, 2)), rng.normal(size=2))
    targets = np.array([0, 1, 1])
    activation = torch.tensor(maps, requires_grad=True)
    logits = activation.mean((2, 3)) @ torch.tensor(head.weights) + torch.tensor(head.bias)
    (gradient,) = torch.autograd.grad(logits[range(3), targets].sum(), activation)
    cam = (gradient.mean((2, 3), keepdim=True) * activation).sum(1).relu().detach().numpy()

    assert cam / cam.max(axis=(1, 2), keepdims=True) == pytest.approx(head.heatmaps(maps, targets))


def test_a_head_is_where_the_gradient_of_its_loss_vanishes(parts) -> None:
    rng = np.random.default_rng(2)
    inputs, labels = rng.normal(size=(80, 6)), rng.integers(0, 2, 80)
    inputs[labels == 1, 0] += 1.5
    inputs = (inputs - inputs.mean(0)) / inputs.std(0)
    head = parts.heads.train(inputs, labels)
    # Standardised features are divided by their deviation plus a thousandth.
    weights = head.weights * (1 + 1e-3)
    error = head.probabilities(inputs) - np.eye(2)[labels]
    gradient = (inputs / (1 + 1e-3)).T @ error / 80 + parts.heads.DECAY * weights

    assert np.zeros((6, 2)) == pytest.approx(gradient, abs=1e-3)
    assert (head.probabilities(inputs).argmax(1) == labels).mean() > 0.75


def test_the_disc_stands_outside_the_region(parts) -> None:
    side = parts.scenes.SIDE
    images = np.zeros((2, side, side, 3), np.uint8)
    regions = np.zeros((2, side, side), bool)
    regions[0, : side // 2], regions[1, :, : side // 2 + 60] = True, True
    marked = parts.scenes.mark(images, regions)

    assert (marked[regions] == 0).all()
    assert ((marked != images).any(axis=3).sum(axis=(1, 2)) > 500).all()


def test_judgement_can_fail(parts) -> None:
    """A measure that cannot tell, an input monitor that alarms, a null control that alarms."""
    primary = parts.interventions.PRIMARY
    quiet = {"input strangeness": None, "input brightness (KS)": None, primary: None}
    good = [quiet, quiet, {**quiet, primary: 60}]
    table = [{"measure": primary, "auc": 1.0}]

    def kept(table: list, streams: list) -> list[bool]:
        return list(parts.interventions.judge(table, streams).values())

    assert [True] * 4 == kept(table, good)
    assert [False, True, True, True] == kept([{"measure": primary, "auc": 0.98}], good)
    assert [True, False, True, True] == kept(
        table, [quiet, quiet, {**good[2], "input strangeness": 9}]
    )
    assert [True, True, False, True] == kept(table, [quiet, quiet, quiet])
    assert [True, True, True, False] == kept(table, [quiet, good[2], good[2]])


@pytest.mark.data
@pytest.mark.slow
def test_interventions_tell_a_shortcut_model_from_a_clean_one(tmp_path: Path) -> None:
    written = tmp_path / "figures.json"
    if not (Path(os.environ.get("RIGHTLY_DATA", "../shared/data")) / "cxr").is_dir():
        pytest.skip("RIGHTLY_DATA does not point to the real images")
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the imagenet extra")
    done = subprocess.run(
        [sys.executable, "benchmarks/interventions.py", "--quick", "--json", str(written)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": "."},
    )
    met = [value for name, value in json.loads(written.read_text()).items() if ".targets." in name]

    assert "AUC" in done.stdout
    assert met
    assert all(met)
