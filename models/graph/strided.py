"""The gradient of a strided convolution, as several small convolutions and one interleaving.

A transposed convolution would do it in one operator, but ONNX Runtime has no fast one: it works
outside the blocked layout, and channel by channel for depthwise convolutions. Every output row m
belongs to one residue of m modulo the stride, and all rows of one residue are an ordinary
convolution of the gradient with every stride-th row of the kernel. The same holds for columns.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.graph.padding import constant_pad_nd

aten = torch.ops.aten


def adjoint(
    gradient: Tensor,
    image: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    groups: int,
) -> Tensor:
    """Return the gradient for the input of a strided 2-d convolution without dilation.

    Args:
        gradient: For the output, [N,O,p,q].
        image: The input, for its size, [N,C,h,w].
        weight: [O,C/groups,k,l].
        stride: Of the convolution, per axis.
        padding: Of the convolution, per axis.
        groups: Of the convolution.
    """
    sizes = [int(size) for size in image.shape[2:]]
    pieces = [-(-size // step) for size, step in zip(sizes, stride, strict=True)]
    rows = [_taps(gradient, weight, stride, padding, pieces, 0, each) for each in range(stride[0])]
    columns = [
        _taps(gradient, weight, stride, padding, pieces, 1, each) for each in range(stride[1])
    ]
    planes = [_plane(gradient, weight, row, column, groups) for row in rows for column in columns]
    if all(plane is None for plane in planes):
        return gradient.new_zeros(image.shape)
    given = next(plane for plane in planes if plane is not None)
    filled = [torch.zeros_like(given) if plane is None else plane for plane in planes]
    return interleave(filled, stride, sizes)


def interleave(planes: Sequence[Tensor], stride: Sequence[int], sizes: Sequence[int]) -> Tensor:
    """Put the planes [N,C,p,q] of all residues, row residues first, into maps [N,C,h,w]."""
    batch, channels, rows, columns = planes[0].shape
    whole = torch.cat([plane.unsqueeze(3) for plane in planes], 3)  # [N,C,p,residues,q]
    whole = whole.view(batch, channels, rows * stride[0], stride[1], columns)
    # Cloned: a reshape of the transposed view would ask for the batch's value.
    whole = whole.transpose(3, 4).clone(memory_format=torch.contiguous_format)
    whole = whole.view(batch, channels, rows * stride[0], columns * stride[1])
    for axis, size in enumerate(sizes):
        if whole.shape[2 + axis] != size:
            whole = whole.narrow(2 + axis, 0, size)
    return whole


def flipped(weight: Tensor, groups: int) -> Tensor:
    """Swap a kernel's input and output channels within each group and turn it by 180 degrees."""
    outputs, inputs, *kernel = weight.shape
    swapped = weight.reshape(groups, outputs // groups, inputs, *kernel).transpose(1, 2)
    swapped = swapped.reshape(groups * inputs, outputs // groups, *kernel)
    turned = [2 + axis for axis, size in enumerate(kernel) if size > 1]
    return swapped.flip(turned) if turned else swapped


def _taps(
    gradient: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    pieces: Sequence[int],
    axis: int,
    residue: int,
) -> tuple[int, int, int, int] | None:
    """Return (first tap, step, padding before, padding behind) of one residue of one axis.

    With m = s·q + r the gradient at m is Σ_k w[k]·g[q − (k − r − p)/s] over k ≡ r + p (mod s).
    None where no tap of the kernel has this residue.
    """
    step, size = stride[axis], int(weight.shape[2 + axis])
    first = (residue + padding[axis]) % step
    taps = len(range(first, size, step))
    if taps == 0:
        return None
    shift = (first - residue - padding[axis]) // step
    behind = pieces[axis] - shift - int(gradient.shape[2 + axis])
    return first, step, shift + taps - 1, behind


def _plane(
    gradient: Tensor,
    weight: Tensor,
    row: tuple[int, int, int, int] | None,
    column: tuple[int, int, int, int] | None,
    groups: int,
) -> Tensor | None:
    """Return the gradient at the positions of one residue, [N,C,p,q]; None where it is zero."""
    if row is None or column is None:
        return None
    kernel = weight[:, :, row[0] :: row[1], column[0] :: column[1]]
    pads = [column[2], column[3], row[2], row[3]]
    source = constant_pad_nd(gradient, pads) if any(pads) else gradient
    plane: Tensor = aten.convolution(
        source, flipped(kernel, groups), None, [1, 1], [0, 0], [1, 1], False, [0, 0], groups
    )
    return plane
