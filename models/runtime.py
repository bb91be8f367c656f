"""ONNX Runtime behind one class: a version's two graphs, checked, tried, and swapped in one step.

Needs numpy, onnx and ONNX Runtime, no torch. Everything that comes out is frozen.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models import contract
from models.attributions import METHODS, Evidence, Explained, Method
from models.errors import ExplainerError, GraphRejectedError, ImageError
from models.loading import LoadedGraph
from models.providers import Device
from models.types import Attribution, ClassifierSpec, ModelRef, Prediction

LARGEST_BATCH: Final = 32  # images per run: bounds the memory of one request

_ANSWERS: Final = ("logits", "probabilities", "cam", "embedding", "explained")
_ALLOWED_DRIFT: Final = 1e-3  # how far probabilities may sum from one, fp16 graphs included


class Session:
    """A loaded version: images in, frozen answers with their reasons out. Safe to call in threads.

    Attributes:
        spec: What the version classifies and how images are prepared for it.
        providers: What ONNX Runtime truly uses, first choice first.
        explainers: Names that `attribute` accepts.
        heatmap: What the map of `predict` is: "gradcam", or "occlusion" where the version was
            adopted and its graph has no map of its own.
    """

    def __init__(
        self,
        spec: ClassifierSpec,
        predict: LoadedGraph,
        explain: LoadedGraph | None,
        names: tuple[str, ...],
        heatmap: str = "gradcam",
    ) -> None:
        self.spec = spec
        self.explainers = names
        self.heatmap = heatmap
        self._predict = predict
        self._explain = explain

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        device: Device = "auto",
        threads: int = 0,
        warm_up: Sequence[int] = (1,),
    ) -> "Session":
        """Check both graphs of a version's folder, load what every request needs, and try it.

        Args:
            folder: Holds `predict.onnx` and `explain.onnx`.
            device: See `models.providers.open_graph`.
            threads: CPU threads of one run; 0 leaves the choice to ONNX Runtime.
            warm_up: Batch sizes to run once, so that no request pays for the first run.

        Returns:
            A session that has answered; `explain.onnx` is loaded when it is first asked for.

        Raises:
            GraphRejectedError: If a graph breaks the contract, in its file or in its answer.
            RuntimeUnavailableError: If this machine cannot run it as asked.
        """
        predict = contract.check(folder / contract.FILES["predict"], "predict")
        explain = contract.check_explain(folder, predict)
        names: tuple[str, ...] = ("gradcam",)
        if explain is not None:
            names += tuple(n for n in METHODS if n != "lrp" or "lrp" in explain.outputs)
        session = cls(
            predict.spec,
            LoadedGraph(folder, predict, device=device, threads=threads),
            None
            if explain is None
            else LoadedGraph(folder, explain, device=device, threads=threads),
            names,
            predict.heatmap,
        )
        session._predict.load(predict.content)
        for images in warm_up:
            session._try(images)
        return session

    @property
    def providers(self) -> tuple[str, ...]:
        """What ONNX Runtime truly uses for `predict.onnx`, first choice first."""
        return self._predict.providers

    def predict(
        self, images: NDArray[np.uint8], targets: Sequence[int] | None = None
    ) -> list[Prediction]:
        """Return each image's answer with its Grad-CAM.

        Args:
            images: Prepared images (`preprocessing.prepare`), uint8 [images, rows, columns, 3].
            targets: Class to explain per image; None explains each image's most probable class.

        Raises:
            ImageError: If the images have another shape or type than the classifier needs.
            ExplainerError: If a target is no class of the classifier.
            RuntimeUnavailableError: If ONNX Runtime fails in the run.
        """
        self._check_images(images, np.dtype(np.uint8))
        chosen = self._targets(len(images), targets)
        return [
            _prediction(answer)
            for answer in self._run(self._predict, "images", images, chosen, _ANSWERS)
        ]

    def explain(
        self, pixels: NDArray[np.float32], targets: Sequence[int] | None = None
    ) -> list[Explained]:
        """Return each image's answer with its evidence per pixel.

        Args:
            pixels: Prepared images as numbers in 0..255, float32 [images, rows, columns, 3].
            targets: Class to explain per image; None explains each image's most probable class.

        Raises:
            ImageError: If the pixels have another shape or type than the classifier needs.
            ExplainerError: If a target is no class of the classifier.
            RuntimeUnavailableError: If ONNX Runtime fails in the run.
        """
        self._check_images(pixels, np.dtype(np.float32))
        chosen = self._targets(len(pixels), targets)
        relevance = ("lrp",) if "lrp" in self.explainers else ()
        names = (*_ANSWERS, "input_gradient", *relevance)
        return [
            Explained(
                _prediction(answer),
                _frozen(answer["input_gradient"]),
                _frozen(answer["lrp"]) if relevance else None,
            )
            for answer in self._run(self._second(), "pixels", pixels, chosen, names)
        ]

    def attribute(
        self,
        images: NDArray[np.uint8],
        explainer: str | Method,
        targets: Sequence[int] | None = None,
    ) -> list[Attribution]:
        """Return each image's attribution by one explainer.

        Args:
            images: Prepared images, uint8 [images, rows, columns, 3].
            explainer: One of `explainers`, or a method of `models.attributions` with its numbers.
            targets: Class to explain per image; None explains each image's most probable class.

        Returns:
            Signed evidence per pixel; for "gradcam" the heatmap's own coarse grid.

        Raises:
            ImageError: If the images have another shape or type than the classifier needs.
            ExplainerError: If the explainer or a target is unknown.
            RuntimeUnavailableError: If ONNX Runtime fails in the run.
        """
        name = explainer if isinstance(explainer, str) else explainer.name
        if name not in self.explainers:
            raise ExplainerError(
                f"no explainer {name!r} here; there are {', '.join(self.explainers)}"
            )
        if name == "gradcam" or targets is None:
            predictions = self.predict(images, targets)
            chosen: Sequence[int] = [each.target for each in predictions]
        else:  # only the evidence is new
            self._check_images(images, np.dtype(np.uint8))
            chosen = self._targets(len(images), targets).tolist()
        if name == "gradcam":
            values: Sequence[NDArray[np.float32]] = [each.heatmap for each in predictions]
        else:
            method = METHODS[explainer] if isinstance(explainer, str) else explainer
            pixels = images.astype(np.float32)
            values = list(method.attribute(self._measure, pixels, chosen)) if chosen else []
        return [
            Attribution(_frozen(each), target, f"{name}/1")
            for each, target in zip(values, chosen, strict=True)
        ]

    @property
    def kinds(self) -> tuple[contract.Kind, ...]:
        """The graphs that the version has."""
        return ("predict",) if self._explain is None else ("predict", "explain")

    def raw(
        self, kind: contract.Kind, images: NDArray[np.uint8], targets: Sequence[int]
    ) -> dict[str, NDArray[Any]]:
        """Return a graph's outputs as they are, for whoever checks them.

        Args:
            kind: Which graph.
            images: Prepared images, at most `LARGEST_BATCH`, uint8 [images, rows, columns, 3].
            targets: Class to explain per image.

        Raises:
            ImageError: If the images have another shape or type than the classifier needs.
            RuntimeUnavailableError: If ONNX Runtime fails in the run.
        """
        self._check_images(images, np.dtype(np.uint8))
        chosen = self._targets(len(images), targets)
        if kind == "predict":
            names: tuple[str, ...] = _ANSWERS
            graph = self._predict
            feed: dict[str, NDArray[Any]] = {"images": images, "target": chosen}
        else:
            relevance = ("lrp",) if "lrp" in self.explainers else ()
            names, graph = (*_ANSWERS, "input_gradient", *relevance), self._second()
            feed = {"pixels": images.astype(np.float32), "target": chosen}
        return dict(zip(names, graph.run(names, feed), strict=True))

    def _measure(
        self, evidence: Evidence, pixels: NDArray[np.float32], targets: Sequence[int]
    ) -> NDArray[np.float32]:
        """Return one kind of evidence per image, by a graph that computes nothing else."""
        chosen = self._targets(len(pixels), targets)
        answers = self._run(self._second(), "pixels", pixels, chosen, (evidence,))
        return np.stack([each[evidence] for each in answers])

    def _second(self) -> LoadedGraph:
        if self._explain is None:
            raise ExplainerError("an adopted version has no gradients; there is its heatmap")
        return self._explain

    def _run(
        self,
        graph: LoadedGraph,
        name: str,
        values: NDArray[Any],
        targets: NDArray[np.int64],
        outputs: tuple[str, ...],
    ) -> list[dict[str, NDArray[Any]]]:
        """Run a graph in bounded batches and return one answer per image."""
        answers = []
        for start in range(0, len(values), LARGEST_BATCH):
            part = slice(start, start + LARGEST_BATCH)
            feed = {name: np.ascontiguousarray(values[part]), "target": targets[part]}
            columns = graph.run(outputs, feed)
            rows = {len(each) for each in columns}
            if rows != {len(feed[name])}:
                raise GraphRejectedError(
                    f"the graph answers {len(feed[name])} images with {sorted(rows)} rows"
                )
            answers += [dict(zip(outputs, row, strict=True)) for row in zip(*columns, strict=True)]
        return answers

    def _check_images(self, images: NDArray[Any], dtype: np.dtype[Any]) -> None:
        shape = self.spec.preprocessing
        expected = (shape.height, shape.width, 3)
        if images.dtype != dtype or images.ndim != 4 or images.shape[1:] != expected:  # noqa: PLR2004
            raise ImageError(
                f"needed are {dtype} images [n, {', '.join(map(str, expected))}], "
                f"got {images.dtype} {list(images.shape)}"
            )

    def _targets(self, images: int, targets: Sequence[int] | None) -> NDArray[np.int64]:
        if targets is None:
            return np.full(images, -1, np.int64)
        classes = len(self.spec.classes)
        if len(targets) != images or not all(0 <= each < classes for each in targets):
            raise ExplainerError(
                f"needed are {images} targets in 0..{classes - 1}, got {list(targets)}"
            )
        return np.asarray(targets, np.int64)

    def _try(self, images: int) -> None:
        """Run one batch and see that its numbers are the answer of a classifier."""
        shape = self.spec.preprocessing
        grey = np.full((images, shape.height, shape.width, 3), 127, np.uint8)
        classes = len(self.spec.classes)
        for answer in self.predict(grey, [classes - 1] * images):
            if answer.logits.shape != (classes,) or answer.probabilities.shape != (classes,):
                raise GraphRejectedError(f"predict.onnx answers {answer.logits.shape} logits")
            if answer.heatmap.ndim != 2 or answer.embedding.ndim != 1:  # noqa: PLR2004 - a grid
                raise GraphRejectedError("predict.onnx answers no grid or no embedding")
            drift = abs(float(answer.probabilities.sum()) - 1)
            if not drift <= _ALLOWED_DRIFT or answer.target != classes - 1:
                raise GraphRejectedError(
                    "predict.onnx ignores `target`, or its probabilities do not sum to one"
                )


class Served(NamedTuple):
    """What answers now: a session and the version that it is, taken together or not at all."""

    session: Session
    ref: ModelRef


class Slot:
    """Holds what answers now; swapped under running requests.

    A request reads `current` once and keeps both parts until it is done, so it ends on the version
    it began with. The old session is freed when its last request lets go of it.
    """

    def __init__(self, session: Session, ref: ModelRef) -> None:
        self._current = Served(session, ref)

    @property
    def current(self) -> Served:
        """The session that answers now, and its version; read it once per request."""
        return self._current

    def swap(self, session: Session, ref: ModelRef) -> Served:
        """Let `session` answer from now on; return what answered before."""
        old, self._current = self._current, Served(session, ref)
        return old


def _prediction(answer: dict[str, NDArray[Any]]) -> Prediction:
    return Prediction(
        logits=_frozen(answer["logits"]),
        probabilities=_frozen(answer["probabilities"]),
        target=int(answer["explained"]),
        heatmap=_frozen(_scaled(answer["cam"])),
        embedding=_frozen(answer["embedding"]),
    )


def _scaled(cam: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divide by the maximum; zeros stay zeros."""
    highest = cam.max(initial=np.float32(0))
    return cam / highest if highest > 0 else np.zeros_like(cam)


def _frozen(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a copy of its own that nobody can write to; a view would keep the whole batch."""
    copy = np.array(array, np.float32)
    copy.flags.writeable = False
    return copy
