"""The work of one image, and how a batch is divided for it."""

import numpy as np
import pytest
import torch
from torch import nn

from models import providers, workload
from models.architectures import build, default_spec
from models.graph import assembly
from models.sessions import GraphSession
from models.workload import Workload


def test_the_multiplications_of_a_network_are_those_of_its_layers() -> None:
    torch.manual_seed(0)
    classifier = build(default_spec("small_cnn", ["a", "b"], height=16)).eval()
    counted: list[int] = []

    def count(module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        each = module.weight[0].numel()
        counted.append(output.numel() * each)

    for module in classifier.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        classifier(torch.zeros(1, 3, 16, 16))
    expected = sum(counted)  # the hooks see the tracing as well
    found = workload.of_graph(assembly.bare(classifier).SerializeToString())

    assert found.multiplications == expected
    assert found.operators > len(counted)


def test_how_images_are_divided() -> None:
    assert Workload(300_000_000, 60).images_per_run(32) == 1
    assert Workload(10_000_000, 60).images_per_run(32) == 10
    assert Workload(1_000, 60).images_per_run(32) == 32
    assert Workload(0, 60).images_per_run(32) == 32
    assert Workload(600_000_000, 300).is_light
    assert not Workload(3_600_000_000, 250).is_light
    assert not Workload(0, 60).is_light


def test_a_graph_without_shapes_is_run_as_one_batch() -> None:
    model = assembly.bare(build(default_spec("small_cnn", ["a", "b"], height=16)).eval())
    del model.graph.value_info[:]

    assert workload.of_graph(model.SerializeToString()).images_per_run(32) == 32


@pytest.mark.parametrize("light", [True, False])
def test_a_divided_batch_answers_as_its_images_do(
    monkeypatch: pytest.MonkeyPatch, *, light: bool
) -> None:
    torch.manual_seed(0)
    classifier = build(default_spec("small_cnn", ["a", "b", "c"], height=16)).eval()
    content = assembly.predict(classifier).SerializeToString()
    monkeypatch.setattr(workload, "_WORTH_A_RUN", 1)
    monkeypatch.setattr(workload, "_LIGHT", 10**9 if light else 0)
    divided = GraphSession(content, device="cpu", threads=3)
    images = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3)).astype(np.uint8)
    feed = {"images": images, "target": np.full(7, -1)}
    found = divided.run(("logits", "explained"), feed)
    whole = providers.open_graph(content, device="cpu", threads=1)

    assert (divided._pool is not None) == light
    np.testing.assert_allclose(found[0], whole.run(["logits"], feed)[0], rtol=1e-5, atol=1e-6)
    for row in range(7):
        one = {name: each[row : row + 1] for name, each in feed.items()}
        np.testing.assert_array_equal(found[0][row], divided.run(("logits",), one)[0][0])
    assert divided.run(None, {k: v[:0] for k, v in feed.items()})[0].shape == (0, 3)
