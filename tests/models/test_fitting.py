"""One command serves a checkpoint however training code left it; what does not fit is named."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from models import architectures, checkpoints, fitting
from models.errors import ArchitectureError
from models.types import ClassifierSpec

CLASSES = ("cat", "dog", "bird")
State = dict[str, Tensor]


class Options(dict):
    """Stands for what Lightning puts beside the weights."""


class Settings:
    """Stands for a class of the user's own training code."""

    def __init__(self) -> None:
        self.rate = 0.1


@pytest.fixture(scope="module")
def spec() -> ClassifierSpec:
    return architectures.default_spec("resnet18", CLASSES, height=32)


@pytest.fixture(scope="module")
def origin() -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=3).eval()


def before(beginning: str, state: State) -> State:
    return {beginning + name: each for name, each in state.items()}


def lightning(state: State) -> dict[str, Any]:
    return {
        "epoch": 3,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": before("model.", state) | {"criterion.weight": torch.ones(3)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}}],
        "hyper_parameters": Options(rate=np.float64(0.1), folder=Path("data"), own=Settings()),
    }


def averaged(state: State) -> dict[str, Any]:
    last = {name: torch.zeros_like(each) for name, each in state.items()}
    average = {"n_averaged": torch.tensor(7), **before("module.", state)}
    return {"model": last, "model_ema": average, "args": argparse.Namespace(lr=0.1)}


KINDS: dict[str, Callable[[State], Any]] = {
    "plain": lambda state: state,
    "DataParallel": lambda state: before("module.", state),
    "compiled": lambda state: before("_orig_mod.", state),
    "compiled, then parallel": lambda state: before("module._orig_mod.", state),
    "parallel, then compiled": lambda state: before("_orig_mod.module.", state),
    "a part compiled": lambda state: {
        name.replace("layer1.", "layer1._orig_mod."): each for name, each in state.items()
    },
    "Lightning": lightning,
    "Lightning, compiled": lambda state: {"state_dict": before("net._orig_mod.", state)},
    "two names deep": lambda state: {"ckpt": {"weights": before("student.backbone.", state)}},
    "EMA beside the last": averaged,
    "EMA as timm has it": lambda state: {
        "state_dict": {name: torch.zeros_like(each) for name, each in state.items()},
        "state_dict_ema": state,
    },
    "EMA in the same dictionary": lambda state: (
        before("model.", averaged(state)["model"]) | before("ema_model.", state)
    ),
    "half precision": lambda state: {
        name: each.half() if each.is_floating_point() else each for name, each in state.items()
    },
    "with counters of a profiler": lambda state: state | {"layer1.total_ops": torch.zeros(1)},
    "a head in a sequence": lambda state: {
        name.replace("fc.", "fc.1."): each for name, each in state.items()
    },
    "without batch counters": lambda state: {
        name: each for name, each in state.items() if not name.endswith("num_batches_tracked")
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_answers_as_its_origin(
    tmp_path: Path, spec: ClassifierSpec, origin: nn.Module, kind: str
) -> None:
    path = tmp_path / "weights.ckpt"
    torch.save(KINDS[kind](dict(origin.state_dict())), path)

    classifier, _ = architectures.build_from(spec, path)

    images = torch.rand(2, 3, 32, 32)
    tolerance = 1e-2 if kind == "half precision" else 1e-6
    expected = origin(classifier.normalise(images))
    assert torch.allclose(expected, classifier.eval()(images), atol=tolerance)


def test_an_averaged_model_as_torch_saves_it(
    tmp_path: Path, spec: ClassifierSpec, origin: nn.Module
) -> None:
    torch.save(AveragedModel(origin).state_dict(), tmp_path / "swa.pth")

    classifier, found = architectures.build_from(spec, tmp_path / "swa.pth")

    assert torch.equal(origin.state_dict()["fc.bias"], classifier.state_dict()["network.fc.bias"])
    assert found.averaged
    assert not found.other


def test_the_last_weights_are_taken_where_that_is_asked(
    tmp_path: Path, spec: ClassifierSpec, origin: nn.Module
) -> None:
    torch.save(averaged(dict(origin.state_dict())), tmp_path / "both.pt")

    average, told = architectures.build_from(spec, tmp_path / "both.pt")
    last, _ = architectures.build_from(spec, tmp_path / "both.pt", averages=False)

    assert average.state_dict()["network.conv1.weight"].any()
    assert not last.state_dict()["network.conv1.weight"].any()
    assert "took the averaged weights (model_ema), not the last ones" in told.notes()[0]


@pytest.mark.parametrize("beginning", ["", "module.", "network."])
def test_safetensors_go_straight_in(
    tmp_path: Path, spec: ClassifierSpec, origin: nn.Module, beginning: str
) -> None:
    save_file(before(beginning, dict(origin.state_dict())), tmp_path / "weights.safetensors")

    classifier, _ = architectures.build_from(spec, tmp_path / "weights.safetensors")

    assert torch.equal(
        origin.state_dict()["conv1.weight"], classifier.state_dict()["network.conv1.weight"]
    )


def test_auxiliary_heads_are_left_out_with_a_word(tmp_path: Path) -> None:
    network = torchvision.models.googlenet(num_classes=3, aux_logits=True, init_weights=False)
    torch.save(network.state_dict(), tmp_path / "googlenet.pt")
    spec = architectures.default_spec("googlenet", CLASSES, height=64)

    _, found = architectures.build_from(spec, tmp_path / "googlenet.pt")

    assert ("left out the auxiliary heads aux1, aux2",) == found.notes()


def test_one_logit_becomes_two_classes(tmp_path: Path, origin: nn.Module) -> None:
    one = torchvision.models.resnet18(num_classes=1).eval()
    torch.save(one.state_dict(), tmp_path / "one.pt")
    spec = architectures.default_spec("resnet18", ("no", "yes"), height=32)

    classifier, _ = architectures.build_from(spec, tmp_path / "one.pt")

    images = torch.rand(2, 3, 32, 32)
    yes = one(classifier.normalise(images)).sigmoid()[:, 0]
    assert torch.allclose(yes, classifier.eval()(images).softmax(1)[:, 1], atol=1e-6)
    assert origin is not one


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {n: t for n, t in s.items() if "layer4.1" not in n}, "layer4.1.* is missing"),
        (lambda s: s | {"layer4.2.conv1.weight": torch.ones(1)}, "layer4.2.conv1.* is unknown"),
        (lambda s: s | {"normalize.mean": torch.ones(3)}, "normalize.mean is unknown"),
        (lambda s: s | {"conv1.weight": torch.ones(64, 1, 7, 7)}, r"shape \[64, 1, 7, 7\]"),
        (lambda s: s | {"fc.weight": torch.ones(37, 512), "fc.bias": torch.ones(37)}, "37 output"),
        (
            lambda s: (
                {n: t for n, t in s.items() if not n.startswith("fc.")}
                | {"fc.0.weight": torch.ones(8, 512), "fc.2.weight": torch.ones(3, 8)}
            ),
            "several layers .*module:factory",
        ),
        (lambda _: {"optimizer": {"lr": 0.1}}, "no weights of resnet18"),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, spec: ClassifierSpec, origin: nn.Module, change, message: str
) -> None:
    torch.save(change(dict(origin.state_dict())), tmp_path / "other.pt")

    with pytest.raises(ArchitectureError, match=message):
        architectures.build_from(spec, tmp_path / "other.pt")


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_file_that_holds_code_says_what_to_do(tmp_path: Path, origin: nn.Module) -> None:
    torch.save(origin, tmp_path / "whole.pt")
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "scripted.pt")
    (tmp_path / "keras.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))

    for name, word in (("whole.pt", "object"), ("scripted.pt", "Torch"), ("keras.h5", "Keras")):
        with pytest.raises(ArchitectureError, match=rf"{word}.*state_dict\(\)"):
            checkpoints.read(tmp_path / name)


def test_reading_leaves_no_class_trusted(tmp_path: Path, origin: nn.Module) -> None:
    before_reading = list(torch.serialization.get_safe_globals())
    torch.save(lightning(dict(origin.state_dict())), tmp_path / "weights.ckpt")

    content = checkpoints.read(tmp_path / "weights.ckpt")

    assert before_reading == torch.serialization.get_safe_globals()
    assert not isinstance(content["hyper_parameters"], Options)


def test_names_of_the_networks_own_that_look_like_wrappers() -> None:
    own = {"module.weight": torch.ones(2), "fc.weight": torch.ones(3)}

    found = fitting.fit({"a": dict(own)}, own, head="fc", what="own")

    assert set(own) == set(found.state)
