"""Padding whose batch stays symbolic.

Where ATen works out the shape of `constant_pad_nd` it turns a symbolic batch into a number,
without an error, and the graph would serve that batch only. So tracing records an operator of ours
instead, with the same meaning and a shape rule that keeps the symbol.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

pad = torch.library.custom_op(
    "rightly::pad",
    torch.constant_pad_nd,
    mutates_args=(),
    schema="(Tensor values, int[] pads, float value) -> Tensor",
)


@pad.register_fake
def shape_of_padded(values: Tensor, pads: Sequence[int], value: float) -> Tensor:  # noqa: ARG001 - the operator's signature
    """Return an empty tensor of the shape that `pad` has; pads are given from the last axis on."""
    sizes = [*values.shape]
    for back in range(len(pads) // 2):
        sizes[-1 - back] += pads[2 * back] + pads[2 * back + 1]
    return values.new_empty(sizes)


OPERATOR = torch.ops.rightly.pad.default


def constant_pad_nd(values: Tensor, pads: Sequence[int], value: float = 0) -> Tensor:
    """Pad with `value`; negative pads cut, as in a padding's gradient."""
    padded: Tensor = pad(values, list(pads), float(value))
    return padded
