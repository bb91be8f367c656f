"""Two stages by a mapping layer: labels teach everything, the mapping learns to forget the cue.

Between the features f(x) and the last layer c stands a linear layer m. Label steps train f, m and
c by cross-entropy; mapping steps train m alone, so that m(f(x)) is distributed as f(x') is, x'
being the image with its irrelevant pixels black. Both layers are linear, so that after training m
is folded into c, and the classifier has the architecture that it began with.

References:
    Tao, Shokri (2025), ICML workshop, arXiv:2507.04788. Known here from reviews, not from its
    text: the mapping layer, the two losses, the mapping alone in the second stage, its own rate,
    and the ablations without mapping and joint. That m begins as the identity, that x' is black,
    and how steps alternate are ours.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from models import backbones
from models.architectures import Classifier
from models.errors import TrainingError
from models.modes import evaluation_mode
from models.training.distillation import masked_images
from models.training.objectives import Batch, Loss, Moment, Objective, weighted

Variant = Literal["mapping", "without", "joint"]
_MAPPING = "mapping"
_LAST = "last"


@dataclass(frozen=True)
class TwoStage(Objective):
    """CE on all parameters, then KL(softmax f(x') ‖ softmax m(f(x))) on m alone, and again.

    The classifier is one of `with_mapping`; f(x') is held fixed. A mapping step whose batch has no
    mask is left out.

    Attributes:
        variant: "mapping" as above. "without" has no m, and trains f by KL(f(x') ‖ f(x)). "joint"
            minimises CE + weight·KL in one step, over everything.
        label_steps: Steps by the labels in turn.
        mapping_steps: Steps of the second stage in turn.
        factor: Rate of the second stage relative to the first.
        weight: Of the second loss, "joint" only.
    """

    variant: Variant = "mapping"
    label_steps: int = 1
    mapping_steps: int = 1
    factor: float = 0.3
    weight: float = 1.0
    name: ClassVar[str] = "two_stage_mapping"
    freezes_batchnorm: ClassVar[bool] = False

    @property
    @override
    def phases(self) -> Mapping[str, float]:
        return {"all": 1.0} if self.variant == "joint" else {"label": 1.0, "second": self.factor}

    @override
    def phase(self, moment: Moment) -> str:
        if self.variant == "joint":
            return "all"
        place = moment.step % (self.label_steps + self.mapping_steps)
        return "label" if place < self.label_steps else "second"

    @override
    def skips(self, batch: Batch, moment: Moment) -> bool:
        return self.phase(moment) == "second" and not bool(batch.irrelevant.any())

    @override
    def check(self, classifier: Classifier, example: Tensor) -> None:
        mapped_layer(classifier, mapping=self.variant != "without")

    @override
    def loss(self, classifier: Classifier, batch: Batch, moment: Moment) -> Loss:
        phase = self.phase(moment)
        if phase == "label":
            label = functional.cross_entropy(classifier(batch.images), batch.labels)
            return Loss(label, {"label": label.detach()})
        layer = mapped_layer(classifier, mapping=self.variant != "without")
        with evaluation_mode(classifier), torch.no_grad():
            wanted = _features(classifier, layer, masked_images(batch))[0]
        if phase == "all":
            own, logits = _features(classifier, layer, batch.images)
            label = functional.cross_entropy(logits, batch.labels)
            return weighted(label, _divergence(wanted, layer(own), batch), self.weight)
        with evaluation_mode(classifier), torch.set_grad_enabled(self.variant == "without"):
            own = _features(classifier, layer, batch.images)[0]
        found = own if self.variant == "without" else layer(own.detach())
        explanation = _divergence(wanted, found, batch)
        return Loss(explanation, {"explanation": explanation.detach()})


def with_mapping(classifier: Classifier) -> Classifier:
    """Return a copy whose last layer is preceded by a linear one, which begins as the identity."""
    network = deepcopy(classifier.network)
    name = backbones.last_linear(network)
    last = backbones.linear(network, name)
    size = last.in_features
    mapping = nn.Linear(size, size, bias=last.bias is not None).to(last.weight)
    with torch.no_grad():
        nn.init.eye_(mapping.weight)
        if mapping.bias is not None:
            mapping.bias.zero_()
    both = nn.Sequential()
    both.add_module(_MAPPING, mapping)
    both.add_module(_LAST, last)
    network.set_submodule(name, both)
    return Classifier(classifier.spec, network).to(last.weight)


def folded(classifier: Classifier) -> Classifier:
    """Return a classifier of `with_mapping` with the mapping multiplied into the last layer."""
    network = deepcopy(classifier.network)
    name = backbones.last_linear(network).removesuffix(f".{_LAST}")
    both = network.get_submodule(name)
    mapping, last = both.get_submodule(_MAPPING), both.get_submodule(_LAST)
    if not isinstance(mapping, nn.Linear) or not isinstance(last, nn.Linear):
        raise TrainingError(f"{name} is not a mapping before a last layer")
    with torch.no_grad():
        if last.bias is not None and mapping.bias is not None:
            last.bias.add_(last.weight @ mapping.bias)
        last.weight.copy_(last.weight @ mapping.weight)
    network.set_submodule(name, last)
    return Classifier(classifier.spec, network).to(last.weight)


def mapped_layer(classifier: Classifier, *, mapping: bool) -> nn.Module:
    """Return the layer whose input is f(x): m, or the last layer where there is no m.

    Raises:
        TrainingError: If the classifier has no mapping.
    """
    name = backbones.last_linear(classifier.network)
    if not mapping:
        return classifier.network.get_submodule(name)
    parent = name.removesuffix(f".{_LAST}")
    if parent == name:
        raise TrainingError(
            f"{classifier.spec.architecture} has no mapping layer: train it by the objective "
            "two_stage_mapping, which puts one in"
        )
    return classifier.network.get_submodule(f"{parent}.{_MAPPING}")


def _features(classifier: Classifier, layer: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return f(x), the input of a layer, and the logits."""
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    try:
        logits = classifier(images)
    finally:
        handle.remove()
    return seen[-1], logits


def _divergence(wanted: Tensor, found: Tensor, batch: Batch) -> Tensor:
    """Return the mean of KL(softmax wanted ‖ softmax found) over the batch's annotated rows."""
    each = functional.kl_div(
        found.log_softmax(1), wanted.log_softmax(1), reduction="none", log_target=True
    ).sum(1)
    return (each * batch.annotated).mean()
