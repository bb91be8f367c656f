"""An export is right or refused: parity with torch, whole files or none, equal bytes."""

import json
from datetime import UTC, datetime
from typing import Never

import numpy as np
import onnx
import pytest
import torch

from models import architectures, cards, checkpoints, contract, export, parity, specs
from models.cards import CardFields
from models.errors import ExportError, ParityError, UntraceableError
from models.graph import assembly
from models.registry import Registry
from models.runtime import Session


def build(architecture="small_cnn", size=28, head="linear") -> architectures.Classifier:
    torch.manual_seed(3)
    spec = architectures.default_spec(
        architecture, [str(index) for index in range(5)], head=head, height=size, width=size
    )
    return architectures.build(spec).eval()


def images(count=6, size=28) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_an_export_writes_three_files_that_keep_the_contract(tmp_path) -> None:
    classifier = build()

    found = export.export(classifier, tmp_path / "version", samples=images())

    written = sorted(each.name for each in (tmp_path / "version").iterdir())
    assert written == ["explain.onnx", "predict.onnx", "weights.safetensors"]
    for kind in ("predict", "explain"):
        checked = contract.check(tmp_path / "version" / contract.FILES[kind], kind)
        assert checked.spec == classifier.spec
    assert found.images == 12  # each image for the decided class and for the runner-up
    assert found.failures() == ()
    json.dumps(found.to_mapping())


def test_a_black_pixel_has_no_relevance_in_the_served_graph(tmp_path) -> None:
    """Not even where the network was given a blackened background to look at."""
    blackened = images()
    blackened[:, :, :14] = 0
    export.export(build(), tmp_path / "version", samples=images())
    session = Session.open(tmp_path / "version", device="cpu", threads=1)

    for found in session.attribute(blackened, "lrp"):
        assert np.abs(found.values[:, 14:]).sum() > 0
        assert np.array_equal(np.zeros((28, 14)), found.values[:, :14])


def test_a_heatmap_of_one_cell_is_warned_of(tmp_path) -> None:
    """Networks of torchvision reduce 32 times: at 32 pixels nothing is left to point at."""
    found = export.export(build("resnet18", 32), tmp_path / "made", samples=images(4, 32))
    fields = CardFields(parity=found.to_mapping())
    registry = Registry(tmp_path / "registry")
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    filed = registry.add("small", tmp_path / "made", fields, now=moment)

    assert (1, 1) == filed.card.grid == registry.version("small", 1).card.grid
    assert (cards.ONE_CELL,) == registry.version("small", 1).card.warnings


def test_an_export_leaves_the_classifier_as_found(tmp_path) -> None:
    classifier = build().train()
    before = {name: value.clone() for name, value in classifier.state_dict().items()}

    export.export(classifier, tmp_path, samples=images())

    assert all(module.training for module in classifier.modules())
    assert all(parameter.requires_grad for parameter in classifier.parameters())
    assert all(torch.equal(before[name], value) for name, value in classifier.state_dict().items())


def test_the_hidden_head_is_exported_too(tmp_path) -> None:
    found = export.export(build(head="hidden256"), tmp_path, samples=images())

    assert found.failures() == ()


def test_exporting_twice_writes_the_same_bytes(tmp_path) -> None:
    for name in ("first", "second"):
        export.export(build(), tmp_path / name, samples=images())

    for file in ("predict.onnx", "explain.onnx", "weights.safetensors"):
        first, second = ((tmp_path / name / file).read_bytes() for name in ("first", "second"))
        assert first == second


def test_graphs_of_other_weights_are_refused_and_the_outputs_named() -> None:
    """The check that must be able to fail."""
    classifier, other = build(), build()
    with torch.no_grad():
        next(other.parameters()).mul_(1.05)
    graphs = {
        "predict": assembly.predict(other).SerializeToString(),
        "explain": assembly.explain(other).SerializeToString(),
    }

    found = export.measure(classifier, graphs, samples=images())

    with pytest.raises(ParityError, match=r"predict\.cam differs by"):
        found.require()


def answers(shift: float, count: int = 4) -> dict[str, np.ndarray]:
    """What a graph might answer whose CAM is this far from the truth; all else is right."""
    logits = np.tile(np.array([0.0, 1.0, 3.0]), (count, 1))
    raised = np.exp(logits)
    cam = np.ones((count, 2, 2)) * np.array([[1.0, 0.5], [0.2, 0.1]])
    return {
        "logits": logits,
        "probabilities": raised / raised.sum(1, keepdims=True),
        "cam": cam + shift,
        "signed_cam": cam + shift,
        "explained": np.full(count, 2),
    }


@pytest.mark.parametrize(
    ("torchs_own", "ours", "passes"),
    [
        (1e-5, 3e-5, True),  # within the fixed tolerance
        (5e-5, 1.5e-4, True),  # three times what torch itself is off
        (5e-5, -1.5e-4, True),
        (5e-5, 5e-4, False),
        (1e-2, 2e-2, False),  # torch's own rounding is no excuse any more
    ],
)
def test_a_graph_may_round_as_torch_does(torchs_own: float, ours: float, passes: bool) -> None:  # noqa: FBT001
    found = parity.by_scale([answers(0)], [answers(torchs_own)], {"predict": [answers(ours)]})

    assert passes == (found.failures() == ())
    assert found.rounding["predict.cam"] == pytest.approx(torchs_own, rel=1e-3)
    if not passes:
        with pytest.raises(ParityError, match=r"in float64.*predict\.cam differs"):
            found.require()


def test_a_refusal_names_the_weights_that_are_kept(tmp_path) -> None:
    path = tmp_path / "weights.safetensors"
    classifier = build()
    architectures.save_weights(classifier, path)

    said = str(export.kept(ParityError("it differs"), path, "digits"))

    assert f"rightly export {path} --name digits" in said
    assert checkpoints.read_spec(path) == classifier.spec


def test_a_refused_export_leaves_nothing_behind(tmp_path, monkeypatch) -> None:
    honest = assembly.explain

    def wrong(classifier, *, half=False) -> onnx.ModelProto:
        model = honest(classifier, half=half)
        weight = next(each for each in model.graph.initializer if len(each.dims) == 4)
        values = onnx.numpy_helper.to_array(weight) * np.float32(1.5)
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        return model

    monkeypatch.setattr(assembly, "explain", wrong)

    with pytest.raises(ParityError, match="explain"):
        export.export(build(), tmp_path / "version", samples=images())
    assert not (tmp_path / "version").exists()


def test_a_half_written_export_is_removed(tmp_path, monkeypatch) -> None:
    def full(_classifier, _path) -> Never:
        raise OSError("no space left on device")

    monkeypatch.setattr(architectures, "save_weights", full)

    with pytest.raises(OSError, match="no space"):
        export.export(build(), tmp_path, samples=images())
    assert list(tmp_path.iterdir()) == []


def test_half_precision_keeps_types_and_its_own_tolerance(tmp_path) -> None:
    found = export.export(build(), tmp_path, samples=images(), half=True)

    assert found.tolerance == parity.HALF
    model = onnx.load(tmp_path / "explain.onnx")
    weights = [each for each in model.graph.initializer if len(each.dims) == 4]
    assert {each.data_type for each in weights} == {onnx.TensorProto.FLOAT16}
    checked = contract.check(tmp_path / "explain.onnx", "explain")
    assert checked.spec == build().spec


class Spectral(torch.nn.Module):
    """A network with an operator that ONNX cannot differentiate."""

    def __init__(self, num_classes) -> None:
        super().__init__()
        self.features = torch.nn.Conv2d(3, 4, 3)
        self.last = torch.nn.Linear(4, num_classes)

    def forward(self, inputs) -> torch.Tensor:
        maps = torch.linalg.inv(self.features(inputs)[:, :, :4, :4] + 9 * torch.eye(4))
        return self.last(maps.mean((2, 3)))


def test_an_operator_without_lowering_is_named(tmp_path) -> None:
    spec = build().spec
    own = type(spec)(
        **{
            **{name: getattr(spec, name) for name in ("classes", "preprocessing", "head")},
            "architecture": "tests:Spectral",
            "target_layer": "features",
        }
    )
    classifier = architectures.Classifier(own, Spectral(5)).eval()

    with pytest.raises(UntraceableError, match="linalg_inv"):
        export.export(classifier, tmp_path, samples=images())


def test_samples_of_another_size_are_refused(tmp_path) -> None:
    with pytest.raises(ExportError, match=r"\[M,28,28,3\]"):
        export.export(build(), tmp_path, samples=images(size=32))


def test_the_metadata_is_the_specs_canonical_json() -> None:
    model = assembly.predict(build())

    metadata = {each.key: each.value for each in model.metadata_props}

    assert specs.to_json(build().spec) == metadata[contract.SPEC_KEY]
