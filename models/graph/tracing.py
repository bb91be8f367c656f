"""Trace a function of tensors, gradients included, into a plain operator graph.

`make_fx` runs the function once on tensors that carry shapes only and records every operator,
those that autograd starts among them. The first axis of every input stays symbolic. Equal
operators on equal inputs are then merged, so explainers may each run their own forward pass.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import (
    DimDynamic,
    ShapeEnv,
    StatelessSymbolicContext,
    is_symbolic,
)
from torch.overrides import TorchFunctionMode

from models.errors import UntraceableError
from models.graph import backward
from models.graph.simplification import simplify

aten = torch.ops.aten

_ALIASES = frozenset(
    {aten.alias.default, aten.detach.default, aten.lift_fresh_copy.default, aten.clone.default}
)
_BATCH = 2  # of the example; 0 and 1 would be specialised


def trace(function: Callable[..., Any], examples: Sequence[Tensor]) -> fx.GraphModule:
    """Record `function` as a graph of ATen operators whose batch size is free.

    Args:
        function: Pure; takes tensors that share their first axis, returns tensors.
        examples: One tensor of the right shape and type per argument; values do not matter.

    Raises:
        UntraceableError: If the function looks at values, fixes the batch size, or runs a
            gradient that has no rule.
    """
    shapes = ShapeEnv()
    mode = FakeTensorMode(shape_env=shapes, allow_non_fake_inputs=True)
    tensors = [
        _symbolic(mode, example, first=index == 0) for index, example in enumerate(examples)
    ]
    batch = tensors[0].shape[0]
    # One symbol for the batch: the others are made from the first input's.
    for index, example in enumerate(examples[1:], start=1):
        with mode:
            tensors[index] = torch.empty((batch, *example.shape[1:]), dtype=example.dtype)
    try:
        with mode:
            module = make_fx(
                _plain(function),
                decomposition_table=dict(backward.rules()),
                _allow_non_fake_inputs=True,
            )(*tensors)
            if shares_written_memory(module.graph):
                module = make_fx(torch.func.functionalize(module), _allow_non_fake_inputs=True)(
                    *tensors
                )
    except (NotImplementedError, RuntimeError, AssertionError, TypeError) as error:
        raise UntraceableError(f"the classifier cannot be traced: {error}") from error
    if not is_symbolic(batch) or batch.node.maybe_as_int() is not None:
        raise UntraceableError("the classifier fixes the batch size")
    write_nothing(module.graph)
    merge_equal(module.graph)
    simplify(module.graph)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def shares_written_memory(graph: fx.Graph) -> bool:
    """Tell whether an operator writes into a tensor that is a view, or has one."""
    return any(
        _is_view(each)
        for node in graph.nodes
        if _writes(node)
        for each in (node.args[0], *node.args[0].users)
    )


def write_nothing(graph: fx.Graph) -> None:
    """Replace every operator that writes into a tensor by its twin that returns a new one.

    Raises:
        UntraceableError: If the operator has no twin.
    """
    order = {node: index for index, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        if not _writes(node):
            continue
        written = node.args[0]
        with graph.inserting_before(node):
            result = graph.call_function(_twin(node.target), node.args, node.kwargs)
        result.meta = dict(node.meta)
        node.replace_all_uses_with(result)
        later = [user for user in written.users if order.get(user, -1) > order[node]]
        for user in later:
            user.replace_input_with(written, result)
        graph.erase_node(node)


def merge_equal(graph: fx.Graph) -> None:
    """Merge operators with the same inputs, and drop those that only rename a tensor."""
    seen: dict[Hashable, fx.Node] = {}
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target in _ALIASES:
            node.replace_all_uses_with(node.all_input_nodes[0])
            graph.erase_node(node)
            continue
        if node.op not in {"call_function", "get_attr"} or _writes(node):
            continue
        key = (node.op, node.target, _frozen(node.args), _frozen(node.kwargs))
        first = seen.setdefault(key, node)
        if first is not node:
            node.replace_all_uses_with(first)
            graph.erase_node(node)


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*tensors: Tensor) -> Any:
        with _PlainLayout():
            return function(*tensors)

    return call


class _PlainLayout(TorchFunctionMode):
    """Keeps channels-last strides away from global pooling, which would restride in place."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        _types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if function is torch.nn.functional.adaptive_avg_pool2d:
            args = (args[0].contiguous(), *args[1:])
        return function(*args, **(kwargs or {}))


def _symbolic(mode: FakeTensorMode, example: Tensor, *, first: bool) -> Tensor:
    if not first:
        return example
    sizes = [DimDynamic.DYNAMIC] + [DimDynamic.STATIC] * (example.dim() - 1)
    shape = (_BATCH, *example.shape[1:])
    return mode.from_tensor(
        torch.zeros(shape, dtype=example.dtype),
        symbolic_context=StatelessSymbolicContext(dynamic_sizes=sizes),
    )


def _twin(target: Any) -> OpOverload:
    """Return `aten.add.Tensor` for `aten.add_.Tensor`, and so on."""
    name = target._schema.name.removeprefix("aten::").removesuffix("_")
    packet = getattr(aten, name, None)
    if packet is None or target._overloadname not in packet.overloads():
        raise UntraceableError(f"{target} writes in place and has no twin that does not")
    twin: OpOverload = getattr(packet, target._overloadname)
    return twin


def _is_view(node: fx.Node) -> bool:
    return isinstance(node.target, OpOverload) and node.target.is_view


def _writes(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


def _frozen(value: Any) -> Hashable:
    """Return fx arguments as a hashable key; symbolic sizes count by their expression."""
    if isinstance(value, list | tuple):
        return ("sequence", *(_frozen(each) for each in value))
    if isinstance(value, dict):
        return ("mapping", *((key, _frozen(each)) for key, each in sorted(value.items())))
    if isinstance(value, slice):
        return ("slice", _frozen(value.start), _frozen(value.stop), _frozen(value.step))
    if isinstance(value, bool | int | float):
        return (type(value).__name__, repr(value))
    if isinstance(value, torch.SymInt):
        return ("symbol", str(value))
    return value if isinstance(value, Hashable) else id(value)
