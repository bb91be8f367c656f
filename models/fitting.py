"""Which tensors of a checkpoint are a network's, whatever stands around and before their names.

The network's own names decide: the checkpoint is searched for a dictionary and a beginning under
which all of them lie. So no list of frameworks is needed, and a Lightning module, a wrapper or a
checkpoint with optimiser, averages and counters are one case.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor

from models.checkpoints import unwrapped
from models.errors import ArchitectureError

State = Mapping[str, Tensor]

_AVERAGES = re.compile(r"(^|_)(ema|swa)($|_|model)|averag|shadow", re.IGNORECASE)
_AUXILIARY = re.compile(r"aux", re.IGNORECASE)
# What training code leaves beside the weights in the same dictionary: by the first part of a name,
# and by its last.
_BESIDE = re.compile(
    r"criterion|.*loss.*|.*metric.*|(train|val|valid|test)_.*|acc|accuracy", re.IGNORECASE
)
_COUNTS = re.compile(r"n_averaged|num_updates|total_ops|total_params")
_COUNTER: Final = "num_batches_tracked"  # not in older files
_DEEPEST: Final = 4
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Fitted:
    """A network's tensors, taken out of a checkpoint.

    Attributes:
        state: For each of the network's own names its tensor; without the head where the
            checkpoint's head is of another shape.
        place: Where they lay: keys and beginning, "" for the file itself.
        averaged: Whether they are the averages (EMA, SWA) of training.
        other: Whether there were both averages and the last weights.
        dropped: Beginnings of names that are no part of the network.
        head_fits: Whether the checkpoint's head has the network's shape.
    """

    state: dict[str, Tensor]
    place: str
    averaged: bool
    other: bool
    dropped: tuple[str, ...]
    head_fits: bool

    def notes(self) -> tuple[str, ...]:
        """Return what a user should hear about the choice, one phrase each."""
        found = []
        if self.other:
            taken, left = ("averaged", "last") if self.averaged else ("last", "averaged")
            found.append(f"took the {taken} weights ({self.place}), not the {left} ones")
        auxiliary = [each for each in self.dropped if _AUXILIARY.match(each)]
        if auxiliary:
            found.append(f"left out the auxiliary heads {', '.join(auxiliary)}")
        rest = [each for each in self.dropped if each not in auxiliary]
        if rest:
            found.append(f"left out {', '.join(rest)}: no part of the network")
        return tuple(found)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """One dictionary of tensors in a checkpoint, read under one beginning of its names."""

    keys: tuple[str, ...]
    beginning: str
    tensors: State  # by name without wrappers
    averaged: bool

    @property
    def place(self) -> str:
        return ".".join((*self.keys, self.beginning.removesuffix("."))).strip(".")

    def get(self, name: str) -> Tensor | None:
        return self.tensors.get(self.beginning + unwrapped(name))


def fit(
    content: Mapping[str, Any], own: State, *, head: str, what: str, averages: bool = True
) -> Fitted:
    """Return a network's tensors out of what a checkpoint holds.

    Args:
        content: As `checkpoints.read` returns it.
        own: The network's own state dictionary.
        head: Dotted name of its last layer.
        what: How to call the network in an error.
        averages: Take averaged weights where there are both.

    Raises:
        ArchitectureError: If no dictionary in it holds all tensors but the head's, or the best
            one holds layers that the network lacks.
    """
    candidates = list(_candidates(content, own, head))
    if not candidates:
        raise ArchitectureError(f"the file holds no weights of {what}, expected tensors by name")
    complete = [each for each in candidates if not _problems(each, own, head)]
    if not complete:
        best = max(candidates, key=lambda each: _matched(each, own))
        problems = _problems(best, own, head)
        raise ArchitectureError(f"the weights do not belong to {what}: {_listed(problems)}")
    chosen = next((each for each in complete if each.averaged == averages), complete[0])
    state = {name: found for name in own if (found := chosen.get(name)) is not None}
    state |= {n: own[n] for n in own if n not in state and n.endswith(_COUNTER)}
    head_state = _head(chosen, own, head)
    state = {name: each for name, each in state.items() if not _within(name, head)} | head_state
    dropped, foreign = _others(chosen, own, head, complete)
    if foreign:
        raise ArchitectureError(
            f"the weights do not belong to {what}: "
            + _listed([f"{name} is unknown" for name in foreign])
        )
    return Fitted(
        state,
        chosen.place,
        chosen.averaged,
        len({each.averaged for each in complete}) > 1,
        dropped,
        all(name in state and state[name].shape == own[name].shape for name in own),
    )


def check(own: State, given: State, what: str) -> None:
    """Refuse tensors that are not exactly a network's own, by name and shape.

    Raises:
        ArchitectureError: If one is missing, unknown, or of another shape.
    """
    problems = [f"{name} is missing" for name in own if name not in given]
    problems += [f"{name} is unknown" for name in given if name not in own]
    problems += [
        f"{name} has shape {list(given[name].shape)}, expected {list(own[name].shape)}"
        for name in own
        if name in given and own[name].shape != given[name].shape
    ]
    if problems:
        raise ArchitectureError(f"the weights do not belong to {what}: {_listed(problems)}")


def _candidates(content: Mapping[str, Any], own: State, head: str) -> Iterator[_Candidate]:
    anchors = [name for name in own if not _within(name, head)] or list(own)
    anchors = [anchors[0], anchors[len(anchors) // 2], anchors[-1]]
    for keys, found in _dictionaries(content):
        tensors = {unwrapped(name): each for name, each in found.items()}
        beginnings = {
            name.removesuffix(anchor)
            for anchor in map(unwrapped, anchors)
            for name in tensors
            if name == anchor or name.endswith(f".{anchor}")
        }
        for beginning in sorted(beginnings or {""}, key=len):
            named = any(map(_AVERAGES.search, (*keys, *beginning.split("."))))
            averaged = named or "n_averaged" in found
            yield _Candidate(keys, beginning, tensors, averaged)


def _dictionaries(
    content: Mapping[Any, Any], keys: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], State]]:
    tensors = {str(name): each for name, each in content.items() if isinstance(each, Tensor)}
    if tensors:
        yield keys, tensors
    for name, each in content.items():
        if isinstance(each, Mapping) and len(keys) < _DEEPEST:
            yield from _dictionaries(each, (*keys, str(name)))


def _matched(candidate: _Candidate, own: State) -> int:
    return sum(
        (found := candidate.get(name)) is not None and found.shape == own[name].shape
        for name in own
    )


def _problems(candidate: _Candidate, own: State, head: str) -> list[str]:
    """Return what keeps a candidate from being the network below its head."""
    found = []
    for name in own:
        if _within(name, head) or name.endswith(_COUNTER):
            continue
        given = candidate.get(name)
        if given is None:
            found.append(f"{name} is missing")
        elif given.shape != own[name].shape:
            found.append(f"{name} has shape {list(given.shape)}, expected {list(own[name].shape)}")
    return found


def _head(candidate: _Candidate, own: State, head: str) -> dict[str, Tensor]:
    """Return the head's tensors: as named, or of the one linear layer of a sequence in its place.

    `model.fc = nn.Sequential(nn.Dropout(), nn.Linear(…))` is how a head is often replaced.
    """
    wanted = [name for name in own if _within(name, head)]
    found = {name: each for name in wanted if (each := candidate.get(name)) is not None}
    if len(found) == len(wanted):
        return found
    start = f"{candidate.beginning}{head}."
    tensors = candidate.tensors.items()
    inside = {name.removeprefix(start): each for name, each in tensors if name.startswith(start)}
    layers = sorted({name.rpartition(".")[0] for name in inside})
    if len(layers) == 1 and set(wanted) == {f"{head}.weight", f"{head}.bias"}:
        renamed = {f"{head}.{n.rpartition('.')[2]}": each for n, each in inside.items()}
        if set(renamed) == set(wanted):
            return renamed
    if len(layers) > 1:
        shapes = [f"{n} {list(t.shape)}" for n, t in inside.items() if n.endswith("weight")]
        raise ArchitectureError(
            f"the head {head!r} of the weights has several layers ({', '.join(shapes)}): build "
            "the network as you did in a factory of your own and name it as module:factory"
        )
    return found


def _others(
    chosen: _Candidate, own: State, head: str, complete: Iterable[_Candidate]
) -> tuple[tuple[str, ...], list[str]]:
    """Return what is left out of the chosen dictionary, and the layers that nothing explains."""
    known = {chosen.beginning + unwrapped(name) for name in own}
    twins = [
        each.beginning
        for each in complete
        if each.keys == chosen.keys and each.beginning not in {"", chosen.beginning}
    ]
    dropped: dict[str, None] = {}
    foreign = []
    for name in chosen.tensors:
        if name in known or _within(name, chosen.beginning + head):
            continue
        inner = name.removeprefix(chosen.beginning)
        first = inner.partition(".")[0]
        outside = not name.startswith(chosen.beginning) or any(map(name.startswith, twins))
        if outside:
            dropped[name.partition(".")[0]] = None
        elif (
            _AUXILIARY.match(first)
            or _BESIDE.fullmatch(first)
            or _COUNTS.fullmatch(inner.rpartition(".")[2])
        ):
            dropped[first] = None
        else:
            foreign.append(inner)
    return tuple(dropped), foreign


def _within(name: str, layer: str) -> bool:
    return name == layer or name.startswith(f"{layer}.")


def _listed(problems: list[str]) -> str:
    more = f", and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return "; ".join(problems[:_SHOWN]) + more
