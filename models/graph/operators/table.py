"""The table from ATen operators to their ONNX lowering, filled by one module per kind."""

from collections.abc import Mapping
from typing import Any

from models.graph.emitter import Lowering
from models.graph.operators import arithmetic, indexing, products, reductions, shapes

ALL: Mapping[Any, Lowering] = {
    **arithmetic.LOWERINGS,
    **reductions.LOWERINGS,
    **shapes.LOWERINGS,
    **indexing.LOWERINGS,
    **products.LOWERINGS,
}
