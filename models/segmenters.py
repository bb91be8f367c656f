"""A segmenter says where the object is: an ONNX model attached to a classifier.

It takes RGB images and answers, per pixel, how probable it is that the pixel belongs to what the
classifier should look at. It runs off the request path, on the pixels that the classifier saw.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto
from PIL import Image

from models import contract, providers
from models.attachments import Attached, Attachments
from models.errors import CorruptVersionError, GraphRejectedError, RuntimeUnavailableError

Output: TypeAlias = Literal["probability", "logit", "scores"]
FILE: Final = "segmenter.onnx"
LARGEST: Final = 1_000_000_000  # bytes of the file
LARGEST_SIDE: Final = 4096
_RANK = 4
_COLOURS = 3
_ROUNDING = 1e-3
_OPEN = 0


@dataclass(frozen=True, slots=True)
class SegmenterSpec:
    """How a segmenter is asked, and what its answer means.

    Attributes:
        height: Rows of its input.
        width: Columns of its input.
        channels_first: Whether the input is [images, 3, rows, columns]; else the colours are last.
        scale: "unit" for pixels in [0, 1], "byte" for 0..255, before mean and deviation.
        mean: Subtracted per RGB channel after the scale.
        std: Divides per RGB channel afterwards.
        output: "probability" in [0, 1]; "logit" before a sigmoid; "scores" of several classes
            before a softmax over them.
        relevant: The classes that are relevant, for "scores"; else empty.
        threshold: A pixel is relevant from this probability on, in (0, 1).
        batch: Whether it takes several images at a time.
    """

    height: int
    width: int
    channels_first: bool
    scale: Literal["unit", "byte"] = "unit"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    output: Output = "probability"
    relevant: tuple[int, ...] = ()
    threshold: float = 0.5
    batch: bool = True


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody says about a segmenter; the rest is read from its graph.

    Attributes:
        size: Rows and columns, for a graph that leaves them open.
        scale: As in `SegmenterSpec`.
        mean: As in `SegmenterSpec`.
        std: As in `SegmenterSpec`.
        output: As in `SegmenterSpec`.
        relevant: As in `SegmenterSpec`.
        threshold: As in `SegmenterSpec`.
    """

    size: tuple[int, int] | None = None
    scale: Literal["unit", "byte"] = "unit"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    output: Output = "probability"
    relevant: tuple[int, ...] = ()
    threshold: float = 0.5


class Segmenter:
    """A loaded segmenter.

    Attributes:
        spec: How it is asked.
    """

    def __init__(self, content: bytes, spec: SegmenterSpec, *, threads: int = 1) -> None:
        self.spec = spec
        self._session = providers.open_graph(content, device="cpu", threads=threads)
        self._input = self._session.get_inputs()[0].name

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return how probably each pixel is relevant.

        Args:
            images: RGB, uint8 [images, rows, columns, 3], of any size.

        Returns:
            float32 [images, r, c] in [0, 1], on the segmenter's own output grid.

        Raises:
            GraphRejectedError: If it answers another shape, or numbers that are no probabilities.
            RuntimeUnavailableError: If ONNX Runtime fails in the run.
        """
        pixels = self._prepared(images)
        parts = [pixels] if self.spec.batch else [pixels[i : i + 1] for i in range(len(pixels))]
        try:
            answers = [self._session.run(None, {self._input: part})[0] for part in parts]
        except providers.runtime_errors() as error:
            raise RuntimeUnavailableError(f"the segmenter failed: {error}") from error
        return _read(np.concatenate(answers).astype(np.float32), self.spec, len(images))

    def regions(self, images: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return the relevant pixels, bool [images, rows, columns], of the images' own size."""
        rows, columns = images.shape[1:3]
        marked = self.probabilities(images) >= self.spec.threshold
        grown = [
            Image.fromarray(each.astype(np.uint8) * 255).resize(
                (columns, rows), Image.Resampling.NEAREST
            )
            for each in marked
        ]
        return np.stack([np.asarray(each) > 0 for each in grown])

    def _prepared(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        spec = self.spec
        size = (spec.width, spec.height)
        resized = np.stack(
            [
                np.asarray(Image.fromarray(each).resize(size, Image.Resampling.BILINEAR))
                for each in images
            ]
        ).astype(np.float32)
        scaled = resized / 255.0 if spec.scale == "unit" else resized
        mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
        shown = (scaled - mean) / std
        ordered = np.moveaxis(shown, 3, 1) if spec.channels_first else shown
        return np.ascontiguousarray(ordered, np.float32)


def attach(
    root: Path, model: str, path: Path, wish: Wish, *, actor: str, now: datetime
) -> Attached:
    """Check an ONNX file and let it say from now on where the object is.

    Args:
        root: The registry's folder.
        model: An existing model; the caller has checked.
        path: The ONNX file.
        wish: What its maker says about it.
        actor: Who attaches it.
        now: When, with a time zone.

    Raises:
        GraphRejectedError: If it cannot be used; the message says what would be right.
        RuntimeUnavailableError: If ONNX Runtime cannot run it.
    """
    content = contract.read_regular(path, largest=LARGEST)
    spec = check(content, path.name, wish)
    card = {"kind": "segmenter", "spec": asdict(spec)}
    attachments = Attachments(root, "segmenter")
    return attachments.attach(model, {FILE: content}, card, actor=actor, now=now)


def load(attached: Attached, *, threads: int = 1) -> Segmenter:
    """Return an attached segmenter, ready to run.

    Raises:
        CorruptVersionError: If its files are not what the card says.
        GraphRejectedError: If ONNX Runtime does not accept it.
    """
    try:
        stated = dict(attached.card["spec"])
        for name in ("mean", "std", "relevant"):
            stated[name] = tuple(stated[name])
        spec = SegmenterSpec(**stated)
    except (KeyError, TypeError) as error:
        raise CorruptVersionError(
            f"the card of segmenter {attached.number} of {attached.model} cannot be read: {error}"
        ) from error
    return Segmenter(attached.content(FILE, largest=LARGEST), spec, threads=threads)


def check(content: bytes, name: str, wish: Wish) -> SegmenterSpec:
    """Return how the segmenter in an ONNX file is asked, once it has answered probe images.

    Raises:
        GraphRejectedError: If it is no ONNX file, has other inputs or outputs than needed, or
            answers probe images with something else than finite numbers of its meaning.
        RuntimeUnavailableError: If ONNX Runtime fails in the run.
    """
    _check_wish(wish)
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise GraphRejectedError(f"{name} is not an ONNX file: {error}") from error
    contract.check_opset(model, name)
    contract.check_self_contained(model, name)
    spec = _spec(model, name, wish)
    segmenter = Segmenter(content, spec)
    noise = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width, 3))
    grey = np.full((spec.height, spec.width, 3), 127)
    segmenter.probabilities(np.stack([grey, noise]).astype(np.uint8))
    return spec


def _check_wish(wish: Wish) -> None:
    if not 0.0 < wish.threshold < 1.0:
        raise GraphRejectedError(f"threshold {wish.threshold}: needed is a number in (0, 1)")
    if (wish.output == "scores") != bool(wish.relevant):
        raise GraphRejectedError(
            "say which classes are relevant for an output of scores, and only for that"
        )
    if not all(np.isfinite([*wish.mean, *wish.std])) or min(wish.std) <= 0.0:
        raise GraphRejectedError("mean and std must be finite, std positive")


def _spec(model: onnx.ModelProto, name: str, wish: Wish) -> SegmenterSpec:
    constants = {each.name for each in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in constants]
    if len(inputs) != 1 or len(model.graph.output) < 1:
        raise GraphRejectedError(
            f"{name} has inputs {[each.name for each in inputs]} and "
            f"{len(model.graph.output)} outputs; needed is one image and one answer"
        )
    tensor = inputs[0].type.tensor_type
    sizes = [each.dim_value for each in tensor.shape.dim]
    if tensor.elem_type != TensorProto.FLOAT or len(sizes) != _RANK:
        raise GraphRejectedError(
            f"{name} takes type {tensor.elem_type} of {sizes}; "
            "needed is float32 [images, 3, rows, columns] or [images, rows, columns, 3]"
        )
    if sizes[1] != _COLOURS and sizes[3] != _COLOURS:
        raise GraphRejectedError(
            f"{name} takes {sizes} (0: open); the second or the last axis must be 3 colours"
        )
    first = sizes[1] == _COLOURS
    height, width = (sizes[2], sizes[3]) if first else (sizes[1], sizes[2])
    given = wish.size or (height, width)
    for stated, wanted in zip((height, width), given, strict=True):
        if stated not in {_OPEN, wanted}:
            raise GraphRejectedError(f"{name} takes {height} x {width}, not {given}")
        if not 1 <= wanted <= LARGEST_SIDE:
            raise GraphRejectedError(
                f"{name} leaves its size open: say which, 1 to {LARGEST_SIDE} each"
            )
    if sizes[0] not in {_OPEN, 1}:
        raise GraphRejectedError(f"{name} takes {sizes[0]} images at a time; needed is 1 or open")
    fields = asdict(wish)
    fields.pop("size")
    return SegmenterSpec(
        height=given[0],
        width=given[1],
        channels_first=first,
        batch=sizes[0] == _OPEN,
        **fields,
    )


def _read(answer: NDArray[np.float32], spec: SegmenterSpec, images: int) -> NDArray[np.float32]:
    """Return a raw answer as probabilities."""
    if not np.isfinite(answer).all():
        raise GraphRejectedError("the segmenter answers numbers that are not finite")
    shape = list(answer.shape)
    if answer.ndim not in {3, _RANK} or len(answer) != images or min(shape) < 1:
        raise GraphRejectedError(
            f"the segmenter answers {shape} for {images} images; "
            "needed is [images, rows, columns] or [images, classes, rows, columns]"
        )
    if spec.output == "scores":
        return _softmax(answer, spec)
    if answer.ndim == _RANK:
        if answer.shape[1] != 1:
            raise GraphRejectedError(
                f"the segmenter answers {shape}: {answer.shape[1]} classes are scores; "
                "say so, and which are relevant"
            )
        answer = answer[:, 0]
    if spec.output == "logit":
        return _sigmoid(answer)
    low, high = float(answer.min()), float(answer.max())
    if low < -_ROUNDING or high > 1.0 + _ROUNDING:
        raise GraphRejectedError(
            f"the segmenter answers {low:.3g} to {high:.3g}, which are no probabilities; "
            "are they logits?"
        )
    return answer.clip(0.0, 1.0)


def _softmax(answer: NDArray[Any], spec: SegmenterSpec) -> NDArray[np.float32]:
    classes = answer.shape[1] if answer.ndim == _RANK else 0
    if not all(0 <= each < classes for each in spec.relevant):
        raise GraphRejectedError(
            f"the segmenter answers {list(answer.shape)}: no classes {list(spec.relevant)}"
        )
    powers = np.exp(answer - answer.max(axis=1, keepdims=True))
    shares = powers / powers.sum(axis=1, keepdims=True)
    probability: NDArray[np.float32] = shares[:, list(spec.relevant)].sum(axis=1)
    return probability


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    probability: NDArray[np.float32] = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return probability
