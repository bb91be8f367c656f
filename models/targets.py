"""Which layer of a network Grad-CAM reads, and how it lies over the image; found by trying.

A feature map is where everything passes through (with another image's map in its place the network
answers as for that image), whose positions lead to the answer, and in which the cell over a patch
of the image is the one that moves most when the patch is changed. Of all such layers the last one
counts. This holds for maps [N,C,h,w], maps [N,h,w,C] and tokens [N,T,C] alike.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from models import backbones
from models.errors import ArchitectureError
from models.modes import evaluation_mode
from models.types import Grid

_MAP_AXES, _TOKEN_AXES = 4, 3
_PATCHES: Final = 5
_RIGHT: Final = 0.8  # share of patches whose own cell, or a neighbour, moves most
_SAME: Final = 1e-3  # relative difference of two answers that counts as none
_MOST_CELLS: Final = 64  # on one side; a layer that still has more has seen little
_TRIED: Final = 60  # layers from the end


class Target(NamedTuple):
    """A layer to read, and its layout; None where the architecture's name tells it."""

    layer: str
    grid: Grid | None


def find(network: nn.Module, images: Tensor) -> Target:
    """Return the last layer whose output is a feature map that everything passes through.

    Args:
        network: Maps images to logits; it is left as found.
        images: Two different normalised images, [2,C,H,W].

    Raises:
        ArchitectureError: If there is none.
    """
    with evaluation_mode(network):
        outputs = _outputs(network, images)
        for name, shape in list(reversed(outputs.items()))[:_TRIED]:
            if not _passes_all(network, name, images):
                continue
            for grid in _layouts(shape, images.shape[2], images.shape[3]):
                if _leads(network, name, images, grid) and located(network, name, grid, images):
                    return Target(name, grid)
    raise ArchitectureError(
        f"{type(network).__name__} has no layer that is a feature map of more than one cell at "
        f"{images.shape[2]} x {images.shape[3]}; name one by --target-layer"
    )


def layout(network: nn.Module, layer: str, images: Tensor) -> Grid:
    """Return how the output of a named layer lies over the image.

    Raises:
        ArchitectureError: If no reading of its axes follows the image.
    """
    with evaluation_mode(network):
        outputs = _outputs(network, images)
        if layer not in outputs:
            raise ArchitectureError(
                f"the target layer {layer!r} gives no tensor with an image's axes; layers that do "
                f"are, from the end: {', '.join(list(reversed(outputs))[:8])}"
            )
        for grid in _layouts(outputs[layer], images.shape[2], images.shape[3]):
            if located(network, layer, grid, images):
                return grid
    raise ArchitectureError(
        f"the target layer {layer!r} gives {list(outputs[layer])}, which does not follow the "
        "image: changing a patch of it moves cells elsewhere; name another by --target-layer"
    )


def located(network: nn.Module, layer: str, grid: Grid, images: Tensor) -> bool:
    """Tell whether changing a patch of the image moves the cell over that patch most.

    What a cell moves by is judged against its own mean over all patches, since some cells move
    with everything. A single cell follows anything and proves nothing.
    """
    if grid.rows * grid.columns == 1:
        return False
    base, other = images[:1], images[1:]
    height, width = base.shape[2:]
    changed, cells = [base], []
    for row, column in _spread(grid.rows, grid.columns):
        top, bottom = row * height // grid.rows, -(-(row + 1) * height // grid.rows)
        left, right = column * width // grid.columns, -(-(column + 1) * width // grid.columns)
        image = base.clone()
        image[:, :, top:bottom, left:right] = other[:, :, top:bottom, left:right]
        changed.append(image)
        cells.append((row, column))
    with torch.no_grad(), _kept(network, layer) as kept:
        network(torch.cat(changed))
    maps = arranged(kept[0].double(), grid)
    moved = (maps[1:] - maps[:1]).square().sum(1).sqrt()
    if not bool(moved.isfinite().all()) or float(moved.amax()) == 0.0:
        return False
    moved = moved / moved.mean((1, 2), keepdim=True).clamp_min(1e-300)
    judged = moved / (moved.mean(0, keepdim=True) + 1e-9)
    hits = 0
    for each, (row, column) in zip(judged, cells, strict=True):
        found_row, found_column = divmod(int(each.argmax()), grid.columns)
        hits += abs(found_row - row) <= 1 and abs(found_column - column) <= 1
    near = min(9, grid.rows * grid.columns) / (grid.rows * grid.columns)
    return hits >= _RIGHT * len(cells) and (near < _RIGHT or _exact(judged, cells, grid))


def arranged(values: Tensor, grid: Grid) -> Tensor:
    """Lay a layer's output out as maps [N,C,h,w]."""
    if grid.layout == "maps":
        return values
    if grid.layout == "maps_last":
        return values.permute(0, 3, 1, 2)
    patches = values[:, grid.skipped : grid.skipped + grid.rows * grid.columns]
    return patches.transpose(1, 2).reshape(-1, values.shape[2], grid.rows, grid.columns)


def _exact(judged: Tensor, cells: list[tuple[int, int]], grid: Grid) -> bool:
    """Of a grid so small that every cell is a neighbour: most patches move their own cell."""
    own = sum(
        divmod(int(each.argmax()), grid.columns) == cell
        for each, cell in zip(judged, cells, strict=True)
    )
    return own > len(cells) / 2


def _spread(rows: int, columns: int) -> list[tuple[int, int]]:
    """Return the middle cell and some towards the corners, each once."""
    low_row, high_row = rows // 4, rows - 1 - rows // 4
    low, high = columns // 4, columns - 1 - columns // 4
    wanted = [
        (low_row, low),
        (low_row, high),
        (high_row, low),
        (high_row, high),
        (rows // 2, columns // 2),
    ]
    return list(dict.fromkeys(wanted))[:_PATCHES]


def _layouts(shape: torch.Size, height: int, width: int) -> Iterator[Grid]:
    """Return the readings of a shape's axes that could follow an image, the likeliest first."""
    if len(shape) == _MAP_AXES:
        first, second, third = shape[1:]
        readings = [("maps", second, third), ("maps_last", first, second)]
        wanted = height / width
        readings.sort(key=lambda each: abs(math.log(each[1] / each[2] / wanted)))
        for name, rows, columns in readings:
            if rows * columns > 1 and max(rows, columns) <= max(height, width):
                yield Grid("maps" if name == "maps" else "maps_last", rows, columns)
        return
    tokens = shape[1]
    for skipped in range(min(16, tokens)):
        for rows, columns in _factors(tokens - skipped, height, width):
            yield Grid("tokens", rows, columns, skipped)


def _factors(cells: int, height: int, width: int) -> Iterator[tuple[int, int]]:
    """Return the grid of so many square patches in the image's proportions, if there is one."""
    rows = round(math.sqrt(cells * height / width))
    if rows > 0 and cells > 1 and cells % rows == 0:
        columns = cells // rows
        if rows * width == columns * height and height % rows == 0:
            yield rows, columns


def _outputs(network: nn.Module, images: Tensor) -> dict[str, torch.Size]:
    """Return the shapes of all layers' outputs that may be maps, in the order of their runs."""
    found: dict[str, torch.Size] = {}

    def note(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            found.pop(name, None)
            if isinstance(output, Tensor) and _may_be_map(output, len(images)):
                found[name] = output.shape

        return hook

    modules = [(name, each) for name, each in network.named_modules() if name]
    handles = [each.register_forward_hook(note(name)) for name, each in modules]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _may_be_map(output: Tensor, images: int) -> bool:
    if output.dim() not in {_MAP_AXES, _TOKEN_AXES} or len(output) != images:
        return False
    return output[0].numel() > output.shape[1] or output.dim() == _TOKEN_AXES


@contextmanager
def _kept(network: nn.Module, layer: str) -> Iterator[list[Tensor]]:
    """Keep what a layer gives last; a list of one once the network has run."""
    kept: list[Tensor] = []

    def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        kept[:] = [output]

    handle = network.get_submodule(layer).register_forward_hook(hook)
    try:
        yield kept
    finally:
        handle.remove()


def _passes_all(network: nn.Module, layer: str, images: Tensor) -> bool:
    """Tell whether the answers follow the layer alone: swap its output between two images."""
    module, runs = network.get_submodule(layer), [0, 0]

    def count(_module: nn.Module, _inputs: object, _output: object) -> None:
        runs[0] += 1

    def swap(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        runs[1] += 1
        return output.flip(0) if runs[0] == runs[1] else output  # the last run is what is read

    with torch.no_grad(), _embedding(network) as kept:
        handle = module.register_forward_hook(count)
        try:
            network(images.flip(0))
        finally:
            handle.remove()
        expected = kept[0]
        handle = module.register_forward_hook(swap)
        try:
            network(images)
        except (RuntimeError, IndexError):  # what follows reads more of it than its values
            return False
        finally:
            handle.remove()
        found = kept[0]
    # Between the two answers themselves there must be a difference to see.
    scale = float((expected - expected.flip(0)).abs().amax())
    return scale > 0 and float((found - expected).abs().amax()) <= _SAME * scale


def _leads(network: nn.Module, layer: str, images: Tensor, grid: Grid) -> bool:
    """Tell whether more than one cell of the layer leads to what the last layer reads."""
    generator = torch.Generator().manual_seed(0)
    with torch.enable_grad(), _kept(network, layer) as kept, _embedding(network) as embedding:
        leaf = images.detach().requires_grad_()
        network(leaf)
        weights = torch.randn(embedding[0].shape, generator=generator, dtype=images.dtype)
        score = (embedding[0] * weights).sum()
        with suppress(RuntimeError):  # nothing of it depends on the layer
            (gradient,) = torch.autograd.grad(score, kept[0], allow_unused=True)
            if gradient is None:
                return False
            cells = arranged(gradient, grid)[0].square().sum(0).sqrt()
            return int((cells > 1e-6 * cells.amax()).sum()) > 1
    return False


@contextmanager
def _embedding(network: nn.Module) -> Iterator[list[Tensor]]:
    """Keep what the last linear layer reads: a fresh last layer may be all zeros."""
    kept: list[Tensor] = []

    def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        kept[:] = [inputs[0]]

    last = network.get_submodule(backbones.last_linear(network))
    handle = last.register_forward_pre_hook(hook)
    try:
        yield kept
    finally:
        handle.remove()
