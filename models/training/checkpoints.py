"""A training on disk after each epoch: tensors as safetensors, the rest as JSON, no pickle."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import Field, asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.errors import TrainingError
from models.training.image_sets import ImageSet
from models.training.objectives import Objective
from models.training.optimizers import RESUMABLE, TrainingConfig

_TENSORS = "training.safetensors"
_VALUES = "training.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a folder holds of a training.

    Attributes:
        network: Weights after the last finished epoch.
        best: Weights of the best epoch.
        optimizers: State of each optimiser, as torch loads it.
        scaler: State of the loss scaling of float16; empty without.
        objective: What the objective keeps.
        best_epoch: Epoch of the best weights, counting from 1.
        value: Its value of the criterion, larger is better.
        history: One event per finished epoch, as mappings.
        config: The configuration that the training began with.
        identity: What was learnt from what: the objective with its options, the data's digest.
    """

    network: dict[str, Tensor]
    best: dict[str, Tensor]
    optimizers: dict[str, dict[str, Any]]
    scaler: dict[str, Any]
    objective: dict[str, Tensor]
    best_epoch: int
    value: float
    history: list[dict[str, Any]]
    config: dict[str, Any]
    identity: dict[str, str]

    def refuse_other(
        self, config: TrainingConfig, identity: Mapping[str, str], *, planned_length: bool
    ) -> None:
        """Raise if the checkpoint belongs to another recipe; more epochs are welcome.

        Args:
            config: How the training that would go on is configured.
            identity: What it learns from what.
            planned_length: Whether its objective depends on the epochs planned, as a schedule
                of the step size does; no other number is welcome then.

        Raises:
            TrainingError: Naming what differs.
        """
        wanted = asdict(config) | dict(identity)
        found = asdict(TrainingConfig()) | self.config | self.identity  # a setting may be newer
        free = RESUMABLE
        if config.schedule != "constant" or config.warmup or planned_length:
            free = free - {"epochs"}
        for name in wanted.keys() - free:
            if wanted[name] != found.get(name):
                raise TrainingError(
                    f"the checkpoint was made with {name} = {found.get(name)!r}, "
                    f"not {wanted[name]!r}"
                )


def identity_of(objective: Objective, training: ImageSet) -> dict[str, str]:
    """Say what is learnt from what, so that a checkpoint is not taken up by another training."""
    listed: tuple[Field[Any], ...] = fields(objective) if is_dataclass(objective) else ()
    options = [f"{each.name}={getattr(objective, each.name)!r}" for each in listed if each.repr]
    return {"objective": f"{objective.name}({', '.join(options)})", "data": training.digest}


def save(
    folder: Path,
    *,
    network: nn.Module,
    optimizers: Mapping[str, torch.optim.Optimizer],
    scaler: torch.amp.GradScaler,
    objective: Objective,
    identity: Mapping[str, str],
    best: Mapping[str, Tensor],
    best_epoch: int,
    value: float,
    history: Sequence[object],
    config: TrainingConfig,
) -> None:
    """Replace the checkpoint in `folder`; a crash while writing leaves the former one whole."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"network/{name}": each for name, each in network.state_dict().items()}
    tensors |= {f"best/{name}": each for name, each in best.items()}
    tensors |= {f"objective/{name}": each for name, each in objective.state().items()}
    groups: dict[str, Any] = {}
    for phase, optimizer in optimizers.items():
        state = optimizer.state_dict()
        groups[phase] = state["param_groups"]
        for index, entry in state["state"].items():
            for name, each in entry.items():
                if isinstance(each, Tensor):
                    tensors[f"optimizer/{phase}/{index}/{name}"] = each
    epoch = len(history)
    values = {
        "epoch": epoch,
        "groups": groups,
        "scaler": scaler.state_dict(),
        "best_epoch": best_epoch,
        "value": value,
        "history": [asdict(each) for each in history if is_dataclass(each)],  # type: ignore[arg-type]  # instances, not classes
        "config": asdict(config),
        "identity": dict(identity),
    }
    # The tensors carry the epoch in their name: the JSON file, replaced last, decides.
    copies = {name: each.detach().cpu().clone().contiguous() for name, each in tensors.items()}
    save_file(copies, folder / f"{epoch}.{_TENSORS}")
    partial = folder / f"{_VALUES}.part"
    partial.write_text(json.dumps(values))
    partial.replace(folder / _VALUES)
    for old in folder.glob(f"*.{_TENSORS}"):
        if old.name != f"{epoch}.{_TENSORS}":
            old.unlink()


def load(folder: Path, device: torch.device) -> Checkpoint | None:
    """Return the checkpoint that `folder` holds, or None if it holds none."""
    if not (folder / _VALUES).exists():
        return None
    values = json.loads((folder / _VALUES).read_text())
    tensors = load_file(folder / f"{values['epoch']}.{_TENSORS}", device=str(device))
    states: dict[str, dict[str, Any]] = {
        phase: {"param_groups": groups, "state": {}} for phase, groups in values["groups"].items()
    }
    for name, each in tensors.items():
        if name.startswith("optimizer/"):
            _, phase, index, entry = name.split("/")
            states[phase]["state"].setdefault(int(index), {})[entry] = each
    return Checkpoint(
        network=_under("network/", tensors),
        best=_under("best/", tensors),
        optimizers=states,
        scaler=values.get("scaler", {}),  # older checkpoints have none
        objective=_under("objective/", tensors),
        best_epoch=values["best_epoch"],
        value=values["value"],
        history=values["history"],
        config=values["config"],
        identity=values["identity"],
    )


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors below a prefix, without it."""
    return {
        name.removeprefix(prefix): each
        for name, each in tensors.items()
        if name.startswith(prefix)
    }
