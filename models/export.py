"""PyTorch → ONNX with the explanation inside, and the parity check that must pass.

The files appear only after both graphs have been compared with torch on real images. Exporting
the same weights twice writes the same bytes, so that a version's digest means its content.
"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from models import architectures, contract, parity, providers
from models.architectures import Classifier
from models.errors import ExportError
from models.graph import assembly
from models.modes import evaluation_mode
from models.parity import Parity

WEIGHTS = contract.WEIGHTS

_BATCH = 16
_IMAGE_AXES = 4


def export(
    classifier: Classifier, folder: Path, *, samples: NDArray[np.uint8], half: bool = False
) -> Parity:
    """Write predict.onnx, explain.onnx and weights.safetensors, once they answer as torch does.

    Args:
        classifier: What to export; it is left as found.
        folder: Where the three files go; made when missing.
        samples: Real images as the classifier takes them, uint8 [M,H,W,3]; some dozens.
        half: Compute in float16 inside the graphs; inputs and outputs keep their types.

    Returns:
        How far the graphs are from torch.

    Raises:
        UntraceableError: If an operator has no lowering; nothing is written.
        ParityError: If an output differs, named in the message; nothing is written.
        ExportError: If the samples are not what the classifier takes.
    """
    _check_samples(classifier, samples)
    models = {
        "predict": assembly.predict(classifier, half=half),
        "explain": assembly.explain(classifier, half=half),
    }
    graphs = {name: model.SerializeToString(deterministic=True) for name, model in models.items()}
    result = measure(classifier, graphs, samples=samples, half=half)
    result.require()
    _write(classifier, folder, graphs)
    return result


def measure(
    classifier: Classifier,
    graphs: Mapping[str, bytes],
    *,
    samples: NDArray[np.uint8],
    half: bool = False,
) -> Parity:
    """Compare the graphs "predict" and "explain" with the classifier in torch.

    Args:
        classifier: The original; it is left as found.
        graphs: Serialised graphs by kind.
        samples: uint8 [M,H,W,3].
        half: Whether the graphs compute in float16.
    """
    expected: list[dict[str, NDArray[Any]]] = []
    actual: dict[str, list[dict[str, NDArray[Any]]]] = {name: [] for name in graphs}
    sessions = {
        name: providers.open_graph(content, device="cpu", threads=1)
        for name, content in graphs.items()
    }
    with evaluation_mode(classifier):
        for images in _batches(samples):
            decided = np.full(len(images), -1, dtype=np.int64)
            first = parity.reference(classifier, images, decided)
            runner_up = np.argsort(first["logits"], axis=1)[:, -2].astype(np.int64)
            second = parity.reference(classifier, images, runner_up)
            for target, answers in ((decided, first), (runner_up, second)):
                expected.append(answers)
                for name, session in sessions.items():
                    actual[name].append(_run(session, name, images, target))
    found = parity.compare(expected, actual, half=half)
    if half or not found.failures():
        return found
    return parity.by_scale(_in_float64(classifier, samples, expected), expected, actual)


def kept(error: ExportError, weights: Path, name: str) -> ExportError:
    """Return a refusal that also names the weights that are not lost, and how to try again."""
    again = f"rightly export {weights} --name {name}"
    return type(error)(f"{error}; the trained weights are kept in {weights}, try again: {again}")


def _in_float64(
    classifier: Classifier,
    samples: NDArray[np.uint8],
    expected: Sequence[Mapping[str, NDArray[Any]]],
) -> list[dict[str, NDArray[Any]]]:
    """Return what torch answers in double precision, for the classes that were explained."""
    precise = copy.deepcopy(classifier).double().eval()
    batches = [each for each in _batches(samples) for _ in range(2)]
    return [
        parity.reference(precise, images, answers["explained"])
        for images, answers in zip(batches, expected, strict=True)
    ]


def _check_samples(classifier: Classifier, samples: NDArray[np.uint8]) -> None:
    size = classifier.spec.preprocessing
    wanted = (size.height, size.width, 3)
    fits = samples.ndim == _IMAGE_AXES and samples.shape[1:] == wanted and len(samples) > 0
    if samples.dtype != np.uint8 or not fits:
        raise ExportError(
            f"parity needs at least one uint8 image [M,{size.height},{size.width},3], "
            f"got {samples.dtype} {list(samples.shape)}"
        )


def _batches(samples: NDArray[np.uint8]) -> Sequence[NDArray[np.uint8]]:
    return [samples[start : start + _BATCH] for start in range(0, len(samples), _BATCH)]


def _run(
    session: Any,  # noqa: ANN401  # onnxruntime has no types
    kind: str,
    images: NDArray[np.uint8],
    target: NDArray[np.int64],
) -> dict[str, NDArray[Any]]:
    pixels = images if kind == "predict" else images.astype(np.float32)
    first, second = (each.name for each in session.get_inputs())
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, {first: pixels, second: target}), strict=True))


def _write(classifier: Classifier, folder: Path, graphs: Mapping[str, bytes]) -> None:
    """Write all three files under temporary names, then rename them; on failure remove all."""
    folder.mkdir(parents=True, exist_ok=True)
    finals = [folder / contract.FILES["predict"], folder / contract.FILES["explain"]]
    parts = [each.with_suffix(".part") for each in (*finals, folder / WEIGHTS)]
    try:
        for part, content in zip(parts, graphs.values(), strict=False):
            part.write_bytes(content)
            onnx.checker.check_model(str(part))
        architectures.save_weights(classifier, parts[-1])
        for part, final in zip(parts, (*finals, folder / WEIGHTS), strict=True):
            part.replace(final)
    except BaseException:
        for part in parts:
            part.unlink(missing_ok=True)
        raise
