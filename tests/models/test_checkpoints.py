"""Pickle checkpoints become safetensors; pickles that carry code become an error."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from models import architectures
from models.checkpoints import convert_checkpoint, read_checkpoint
from models.errors import ArchitectureError


class Payload:
    """Would create a file if a pickle of it were believed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3, "best": 0.9},
        lambda state: {"model": {f"module.{name}": value for name, value in state.items()}},
        lambda state: {"net": {f"_orig_mod.{name}": value for name, value in state.items()}},
    ],
    ids=["bare", "in state_dict", "DataParallel", "compiled"],
)
def test_usual_checkpoints_are_converted_and_load(tmp_path: Path, wrap) -> None:
    spec = architectures.default_spec("small_cnn", ("a", "b"))
    trained = architectures.build(spec).eval()
    torch.save(wrap(trained.network.state_dict()), tmp_path / "old.pt")

    names = convert_checkpoint(tmp_path / "old.pt", tmp_path / "new.safetensors")

    state = load_file(tmp_path / "new.safetensors")
    again = architectures.build(spec, pretrained_state=state).eval()
    images = torch.rand(2, 3, 28, 28)
    assert "conv1.weight" in names
    assert torch.equal(trained(images), again(images))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["new.safetensors", "old.pt"]


def test_tied_weights_are_written_twice(tmp_path: Path) -> None:
    shared = torch.rand(3, 3)
    torch.save({"a": shared, "b": shared, "c": shared.T}, tmp_path / "tied.pt")

    convert_checkpoint(tmp_path / "tied.pt", tmp_path / "new.safetensors")

    state = load_file(tmp_path / "new.safetensors")
    assert torch.equal(shared, state["b"])
    assert torch.equal(shared.T, state["c"])


def test_a_checkpoint_never_runs_code(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(1), "extra": Payload(tmp_path / "run")}, tmp_path / "bad.pt")

    with pytest.raises(ArchitectureError, match="tensors only"):
        convert_checkpoint(tmp_path / "bad.pt", tmp_path / "new.safetensors")

    assert [each.name for each in tmp_path.iterdir()] == ["bad.pt"]


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")

    with pytest.raises(ArchitectureError, match="tensors only"):
        read_checkpoint(tmp_path / "module.pt")


@pytest.mark.parametrize("content", [{"epoch": 3}, [torch.ones(1)], {"state_dict": {}}, 7])
def test_a_checkpoint_without_weights_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "empty.pt")

    with pytest.raises(ArchitectureError, match="holds no weights"):
        read_checkpoint(tmp_path / "empty.pt")


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", b"PK\x03\x04 half a zip"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.pt").write_bytes(content)

    with pytest.raises(ArchitectureError, match="cannot read"):
        read_checkpoint(tmp_path / "other.pt")
    with pytest.raises(ArchitectureError, match="cannot read"):
        read_checkpoint(tmp_path / "absent.pt")
