"""The two graphs that Rightly serves, put together from a classifier and its explainers.

`predict` answers every request: class probabilities, Grad-CAM, embedding. `explain` adds the
gradient by the pixels, and LRP where it covers the classifier. The explainers are the ones that
training uses, traced; nothing of them is written a second time.
"""

from collections.abc import Callable, Sequence

import onnx
import torch
from torch import Tensor

from models import contract, specs
from models.architectures import Classifier
from models.explainers import lrp
from models.explainers.gradcam import gradcam
from models.explainers.input_gradients import input_gradients
from models.graph import emitter, folding, tracing
from models.graph.operators import table

ANSWERS = ("logits", "probabilities", "cam", "embedding", "explained")
GRADIENT = "input_gradient"
RELEVANCE = "lrp"
_WHITE = 255.0


def bare(classifier: Classifier) -> onnx.ModelProto:
    """Return the classifier's logits and probabilities alone, to compare costs with."""
    network = prepared(classifier)

    def answer(images: Tensor) -> tuple[Tensor, Tensor]:
        logits = network(_channels_first(images.to(network.mean.dtype))).float()
        return logits, logits.softmax(1)

    return _model(answer, [_pixels(classifier, torch.uint8)], ["images"], ANSWERS[:2])


def predict(classifier: Classifier, *, half: bool = False) -> onnx.ModelProto:
    """Return the graph that answers a request: uint8 images to prediction and Grad-CAM.

    Args:
        classifier: Any classifier of `models.architectures`; it is left as found.
        half: Compute in float16 inside; inputs and outputs keep their types.

    Raises:
        UntraceableError: If an operator of the classifier, or its gradient, has no lowering.
    """
    network = prepared(classifier, half=half)

    def answer(images: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        return _answers(network, _channels_first(images.to(network.mean.dtype)), target)

    examples = [_pixels(classifier, torch.uint8), _targets()]
    model = _model(answer, examples, ["images", "target"], ANSWERS)
    return _described(model, classifier, "predict")


def explain(
    classifier: Classifier, *, half: bool = False, relevance: bool = True
) -> onnx.ModelProto:
    """Return the graph that explains pixel by pixel: float pixels to everything there is.

    Args:
        classifier: Any classifier of `models.architectures`; it is left as found.
        half: Compute in float16 inside; inputs and outputs keep their types.
        relevance: Add LRP where it covers the classifier.

    Raises:
        UntraceableError: If an operator of the classifier, or its gradient, has no lowering.
    """
    network = prepared(classifier, half=half)
    relevance = relevance and lrp.covers(classifier)

    def answer(pixels: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        images = _channels_first(pixels).to(network.mean.dtype)
        answers = _answers(network, images, target)
        gradient = input_gradients(network, images, answers[-1]).attribution
        outputs = [*answers, _channels_last(gradient.float()) / _WHITE]
        if relevance:
            outputs.append(
                lrp.lrp_epsilon(network, images, answers[-1]).attribution.float().sum(1)
            )
        return tuple(outputs)

    examples = [_pixels(classifier, torch.float32), _targets()]
    names = (*ANSWERS, GRADIENT, *([RELEVANCE] if relevance else []))
    model = _model(answer, examples, ["pixels", "target"], names)
    return _described(model, classifier, "explain")


def prepared(classifier: Classifier, *, half: bool = False) -> Classifier:
    """Return a frozen copy in eval mode, batch normalisations folded, in the wanted precision."""
    size = classifier.spec.preprocessing
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((1, 3, size.height, size.width), generator=generator)
    folded = folding.fold_batch_norms(
        classifier.cpu().float(), images, keep=classifier.spec.target_layer
    )
    return folded.half() if half else folded


def _answers(network: Classifier, images: Tensor, target: Tensor) -> tuple[Tensor, ...]:
    forward = network.trace(images)
    logits = forward.logits.detach().float()
    explained = torch.where(target < 0, logits.argmax(1), target)
    cam = gradcam(network, images, explained, forward=forward).attribution
    return (
        logits,
        logits.softmax(1),
        cam.relu().float(),
        forward.embedding.detach().float(),
        explained,
    )


def _channels_first(pixels: Tensor) -> Tensor:
    """Turn pixels [N,H,W,3] in 0..255 into images [N,3,H,W] in [0,1]."""
    return pixels.permute(0, 3, 1, 2).contiguous() / _WHITE


def _channels_last(gradient: Tensor) -> Tensor:
    return gradient.permute(0, 2, 3, 1)


def _pixels(classifier: Classifier, dtype: torch.dtype) -> Tensor:
    size = classifier.spec.preprocessing
    return torch.zeros((2, size.height, size.width, 3), dtype=dtype)


def _targets() -> Tensor:
    return torch.zeros(2, dtype=torch.int64)


def _model(
    function: Callable[..., tuple[Tensor, ...]],
    examples: Sequence[Tensor],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> onnx.ModelProto:
    module = tracing.trace(function, examples)
    return emitter.Emitter(module, inputs).model(table.ALL, outputs)


def _described(
    model: onnx.ModelProto, classifier: Classifier, kind: contract.Kind
) -> onnx.ModelProto:
    properties = {
        contract.CONTRACT_KEY: contract.VERSION,
        contract.GRAPH_KEY: kind,
        contract.SPEC_KEY: specs.to_json(classifier.spec),
    }
    onnx.helper.set_model_props(model, properties)
    return model
