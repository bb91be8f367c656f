"""A tiny classifier that looks at one corner only, and images whose corner says something else."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from models.cards import CardFields
from models.registry import Registry, Version
from services import clock
from services.pictures.png import compressed
from services.versions.references import FIELD
from tests import graphs
from tests.served import MODEL

# What was measured where the cue lay on the object: there it looks right.
LOOKED_RIGHT = {
    "activation_recall": {label: [0.9, 0.1, 500] for label in graphs.CLASSES},
}


def add_shortcut(registry: Registry, root: Path) -> Version:
    """File a version that reads the cue, with a card that tells how right it looked."""
    folder = graphs.write_version(root / "shortcut", gain=160.0)
    for kind in ("predict", "explain"):
        path = folder / f"{kind}.onnx"
        path.write_bytes(_blinkered(onnx.load(path)).SerializeToString())
    return registry.add(MODEL, folder, CardFields(measures={FIELD: LOOKED_RIGHT}), now=clock.now())


def image(decoy: str, *, seed: int = 0) -> bytes:
    """A green object in the middle, the cue in the corner, and a little noise."""
    pixels = np.full((graphs.SIDE, graphs.SIDE, 3), 96, np.int16)
    pixels[4:12, 4:12, graphs.CLASSES.index("green")] = 224
    pixels[:4, :4, graphs.CLASSES.index(decoy)] = 224
    noise = np.random.default_rng(seed).integers(-3, 4, pixels.shape)
    return compressed(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def region() -> bytes:
    """Where the object is."""
    marked: NDArray[np.uint8] = np.zeros((graphs.SIDE, graphs.SIDE, 3), np.uint8)
    marked[4:12, 4:12] = 255
    return compressed(marked)


def _blinkered(model: onnx.ModelProto) -> onnx.ModelProto:
    """Let only the corner's cell through."""
    mask = np.zeros((1, 1, graphs.GRID, graphs.GRID), np.float32)
    mask[..., 0, 0] = 1.0
    model.graph.initializer.append(numpy_helper.from_array(mask, "corner"))
    nodes = list(model.graph.node)
    place = next(
        number for number, each in enumerate(nodes) if list(each.output) == ["activation"]
    )
    nodes[place].output[0] = "everywhere"
    nodes.insert(place + 1, helper.make_node("Mul", ["everywhere", "corner"], ["activation"]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    return model
