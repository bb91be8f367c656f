"""The gradient of max-pooling without indices, for maps that are nowhere negative.

ONNX Runtime's max-pooling is several times slower when it must say where each maximum was, and it
leaves the blocked layout. Here the position is found again by arithmetic. A window's maximum is
the maximum of its rows' maxima, so rows are decided first and columns within the row next; the
first of equal values wins in both, which is the one that ATen takes. Padding counts as zero: it
can only win where the whole window is zero, and there a ReLU passes no gradient anyway.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import get_proxy_mode, get_proxy_slot

from models.graph import gates, strided

aten = torch.ops.aten

_ROWS, _COLUMNS = 0, 1


def is_rectified(values: Tensor) -> bool:
    """Tell whether the tensor being traced is the result of a ReLU."""
    mode = get_proxy_mode()
    slot = None if mode is None else get_proxy_slot(values, mode.tracer, None)
    node = getattr(getattr(slot, "proxy", None), "node", None)
    while isinstance(node, fx.Node) and node.target in {aten.alias.default, aten.detach.default}:
        node = node.all_input_nodes[0]
    return isinstance(node, fx.Node) and node.target is aten.relu.default


def divides(
    image: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> bool:
    """Tell whether windows and stride fit the image so that `adjoint` applies."""
    return all(
        size % step == 0 and (size + 2 * pad - window) // step + 1 == size // step
        for size, window, step, pad in zip(image.shape[2:], kernel, stride, padding, strict=True)
    )


def adjoint(
    gradient: Tensor,
    image: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
) -> Tensor:
    """Send each gradient [N,C,p,q] to the first maximum of its window in maps [N,C,h,w] ≥ 0."""
    largest, _ = aten.max_pool2d_with_indices(image, kernel, stride, padding)
    rows, _ = aten.max_pool2d_with_indices(image, [1, kernel[1]], [1, stride[1]], [0, padding[1]])
    planes = []
    to_rows = _along(_ROWS, gradient, rows, largest, (kernel[0], stride[0], padding[0]))
    for residue, part in enumerate(to_rows):
        if part is None:
            planes += [torch.zeros_like(gradient)] * stride[1]
            continue
        values = _every(_ROWS, image, stride[0], residue)
        maxima = _every(_ROWS, rows, stride[0], residue)
        to_columns = _along(_COLUMNS, part, values, maxima, (kernel[1], stride[1], padding[1]))
        planes += [torch.zeros_like(part) if each is None else each for each in to_columns]
    return strided.interleave(planes, stride, [int(size) for size in image.shape[2:]])


def _along(
    axis: int, gradient: Tensor, values: Tensor, largest: Tensor, window: tuple[int, int, int]
) -> list[Tensor | None]:
    """Hand a gradient on to the first largest value of each window along one axis.

    Returns:
        Per residue of the position modulo the stride, the gradient there; None for zero.
    """
    size, step, pad = window
    planes: list[Tensor | None] = [None] * step
    left = gradient  # what no earlier position of the window has taken
    for offset in range(size):
        taken = left
        if offset < size - 1:
            chosen = _pick(axis, values, size, offset, step=step, pad=pad, scale=-1.0)
            rest = left * gates.positive(chosen + largest)
            taken = gates.affine(rest, -1.0, 0.0) + left
            left = rest
        shift, residue = divmod(offset - pad, step)
        moved = _moved(axis, taken, -shift)
        before = planes[residue]
        planes[residue] = moved if before is None else moved + before
    return planes


def _every(axis: int, values: Tensor, step: int, residue: int) -> Tensor:
    """Return every `step`-th row or column, starting with `residue`."""
    return _pick(axis, values, residue + 1, residue, step=step, pad=0, scale=1.0)


def _moved(axis: int, values: Tensor, distance: int) -> Tensor:
    """Return values[q + distance] along an axis, zero outside."""
    if distance == 0:
        return values
    reach = abs(distance)
    return _pick(axis, values, 2 * reach + 1, reach + distance, step=1, pad=reach, scale=1.0)


def _pick(
    axis: int, values: Tensor, size: int, offset: int, *, step: int, pad: int, scale: float
) -> Tensor:
    """Read one position of each window, as a depthwise convolution with a single tap."""
    channels = values.shape[1]
    taps = [0.0] * size
    taps[offset] = scale
    shape = (channels, 1, size, 1) if axis == _ROWS else (channels, 1, 1, size)
    weight = torch.tensor(taps, dtype=values.dtype).repeat(channels).view(shape)
    along = [step, 1] if axis == _ROWS else [1, step]
    around = [pad, 0] if axis == _ROWS else [0, pad]
    picked: Tensor = aten.convolution(
        values, weight, None, along, around, [1, 1], False, [0, 0], channels
    )
    return picked
