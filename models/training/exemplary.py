"""eXBL: explanations near one good and far from one bad exemplary explanation.

References:
    Hagos, Curran, Mac Namee (2023), Learning from exemplary explanations, arXiv:2307.06026.
    E_i = X_i·CAM(X_i) is `explanation_of`, with the sign that the CAM has; equation 4 (AR) is
    `activation_recalls`; 5 and 6 choose C_good and C_bad (`by_recall`); 7-9 are the loss, with m
    as `margin`. Each E is scaled to unit length (ours): unscaled, distances are so small that
    their margin of 1 is always active, and only the direction of the gradient is left of the
    hinge. Here the margin is raised until nine rows in ten are active at first. Their rate is
    1e-4; a refinement at the rate of the first training unlearns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from models.architectures import Classifier
from models.errors import TrainingError
from models.explainers.base import heatmap
from models.explainers.gradcam import gradcam
from models.modes import evaluation_mode
from models.training.batches import batch_of, batches
from models.training.image_sets import ImageSet
from models.training.objectives import Batch, Loss, Moment, Objective, fit_mask, weighted

Verdict = Literal["right reason", "wrong reason"]
_TINY = 1e-12
_ALIVE = 0.05  # of the median row's largest evidence
_PAIR = 2
_ACTIVE = 0.9  # share of the rows that the hinge moves at first
_LOOKED_AT = 2048  # rows that the margin is taken from


class Exemplar(NamedTuple):
    """One exemplary explanation with its provenance.

    Attributes:
        identifier: The image's name in its set.
        row: Its position in the set.
        recall: Its Activation Recall, equation 4, of the heatmap (Grad-CAM after ReLU over its
            maximum) and the region as the share of each cell of the map.
        explanation: E at unit length, [h, w].
        chosen_by: "recall", or the reviewer's name.
    """

    identifier: str
    row: int
    recall: float
    explanation: Tensor
    chosen_by: str = "recall"


@dataclass
class ExemplaryLearning(Objective):
    """L = CE + λ · mean_n max(‖E_n - C_good‖ - ‖E_n - C_bad‖ + m, 0), CAM of the true class.

    Only two annotated images are needed, so every row takes part, with or without a region. A
    refinement: begin with a trained classifier. Before training the exemplars are those that a
    reviewer named, or else are chosen by recall among the annotated rows; a set without a region
    is then refused. Explanations are those of the classifier that training begins with, which has
    to answer both exemplars rightly, and to find evidence for it.

    Attributes:
        weight: λ.
        margin: m on distances in [0, 2], at least; `in_force` is what it was raised to.
        good_image: Image whose evidence a reviewer called right; "" chooses by recall.
        bad_image: Image whose evidence a reviewer called wrong; "" chooses by recall.
        reviewer: Who chose them.
        good: C_good; None chooses it.
        bad: C_bad; None chooses it.
    """

    weight: float = 1.0
    margin: float = 1.0
    good_image: str = ""
    bad_image: str = ""
    reviewer: str = "reviewer"
    good: Exemplar | None = field(default=None, repr=False)
    bad: Exemplar | None = field(default=None, repr=False)
    in_force: float = field(default=0.0, init=False, repr=False)
    name: ClassVar[str] = "exbl"

    @override
    def begin(self, classifier: Classifier, training: ImageSet) -> None:
        if self.good is None or self.bad is None:
            self.good, self.bad = self._chosen(classifier, training)
        self.in_force = max(self.margin, _margin(classifier, training, self.good, self.bad))

    def _chosen(self, classifier: Classifier, training: ImageSet) -> tuple[Exemplar, Exemplar]:
        if bool(self.good_image) != bool(self.bad_image):
            raise TrainingError("exbl needs both good_image and bad_image, or neither")
        if self.good_image:
            good, bad = (
                named(classifier, training, image, self.reviewer)
                for image in (self.good_image, self.bad_image)
            )
            return good, bad
        return by_recall(ranked(classifier, training))

    @override
    def loss(self, classifier: Classifier, batch: Batch, moment: Moment) -> Loss:
        if self.good is None or self.bad is None:
            raise TrainingError("eXBL has no exemplars yet: call begin first")
        forward = classifier.trace(batch.images)
        cam = gradcam(
            classifier, batch.images, batch.labels, forward=forward, create_graph=True
        ).attribution
        shown = explanation_of(batch.images, cam)
        near = _distance(shown, self.good.explanation.to(shown))
        far = _distance(shown, self.bad.explanation.to(shown))
        penalty = torch.relu(near - far + self.in_force).mean()
        label = functional.cross_entropy(forward.logits, batch.labels)
        return weighted(label, penalty, self.weight)

    @override
    def state(self) -> dict[str, Tensor]:
        if self.good is None or self.bad is None:
            return {}
        explanations = {"good": self.good.explanation, "bad": self.bad.explanation}
        return {**explanations, "margin": torch.tensor(self.in_force)}

    @override
    def restore(self, state: Mapping[str, Tensor]) -> None:
        if self.good is not None and self.bad is not None:
            self.good = self.good._replace(explanation=state["good"])
            self.bad = self.bad._replace(explanation=state["bad"])
            self.in_force = float(state["margin"])


def explanation_of(images: Tensor, cam: Tensor) -> Tensor:
    """Return E: the grey image on the map's grid times the map as it is, at unit length.

    Evidence against the class stays negative: a map scaled to [0, 1] would count it as evidence.

    Args:
        images: [N, C, H, W].
        cam: Raw Grad-CAM, [N, h, w].
    """
    grey = functional.adaptive_avg_pool2d(
        images.mean(1, keepdim=True), (cam.shape[1], cam.shape[2])
    )[:, 0]
    product = grey * cam
    length = ((product**2).sum((1, 2)) + _TINY**2).sqrt()
    return product / length[:, None, None]


def activation_recalls(cam: Tensor, region: Tensor) -> Tensor:
    """Return AR = Σ(CAM·A) / ΣA per image [N], CAM after ReLU divided by its maximum.

    Args:
        cam: Raw Grad-CAM, [N, h, w].
        region: Bool [N, H, W]; an image without a region has no recall and gets NaN.
    """
    share = fit_mask(region, (cam.shape[1], cam.shape[2])).to(cam.dtype)
    covered = (heatmap(cam) * share).sum((1, 2))
    return covered / share.sum((1, 2))


def ranked(classifier: Classifier, rows: ImageSet, *, size: int = 256) -> list[Exemplar]:
    """Return every annotated row that may be an exemplar, highest Activation Recall first.

    It has to be answered rightly, and its map must not be dead: the largest evidence for the class
    is at least a twentieth of what it is in the median row. The recall of a dead map is near 0 and
    says nothing of where a network looks.

    Raises:
        TrainingError: If fewer than two rows may be one.
    """
    device = next(classifier.parameters()).device
    candidates, peaks = [], []
    with evaluation_mode(classifier):
        for batch in batches(rows, size, order=np.flatnonzero(rows.known).astype(np.int64)):
            here = batch.on(device)
            cam, logits = (each.detach() for each in gradcam(classifier, here.images, here.labels))
            recalls = activation_recalls(cam, here.relevant).cpu()
            shown = explanation_of(here.images, cam).cpu()
            right = (logits.argmax(1) == here.labels).cpu() & torch.isfinite(recalls)
            peaks += cam.relu().amax((1, 2))[right.to(device)].tolist()
            candidates += [
                Exemplar(rows.ids[int(batch.rows[each])], int(batch.rows[each]),
                         float(recalls[each]), shown[each])
                for each in torch.nonzero(right)[:, 0]
            ]  # fmt: skip
    least = _ALIVE * float(np.median(peaks)) if peaks else 0.0
    alive = [one for one, peak in zip(candidates, peaks, strict=True) if peak > least]
    if len(alive) < _PAIR:
        raise TrainingError(
            "eXBL needs at least two rows with a region that the classifier answers rightly, and "
            f"with evidence: of {int(rows.known.sum())} with a region, {len(candidates)} are "
            f"answered rightly and {len(alive)} have evidence. Begin with a trained classifier"
        )
    return sorted(alive, key=lambda each: each.recall, reverse=True)


def by_recall(candidates: Sequence[Exemplar]) -> tuple[Exemplar, Exemplar]:
    """Return the candidates of highest and lowest recall: equations 5 and 6."""
    return candidates[0], candidates[-1]


def by_reviewer(
    candidates: Sequence[Exemplar], verdicts: Mapping[str, Verdict], reviewer: str
) -> tuple[Exemplar, Exemplar]:
    """Return the best-ranked right-reason and the worst-ranked wrong-reason pick of a person.

    Args:
        candidates: Ranked by recall, highest first.
        verdicts: Image name → verdict, from a shortlist.
        reviewer: Who judged.

    Raises:
        TrainingError: If one of the two verdicts was given to no candidate.
    """
    good = [each for each in candidates if verdicts.get(each.identifier) == "right reason"]
    bad = [each for each in candidates if verdicts.get(each.identifier) == "wrong reason"]
    if not good or not bad:
        raise TrainingError(
            f"{reviewer} gave {len(good)} right-reason and {len(bad)} wrong-reason verdicts to "
            "candidates; one of each is needed"
        )
    return good[0]._replace(chosen_by=reviewer), bad[-1]._replace(chosen_by=reviewer)


def named(classifier: Classifier, rows: ImageSet, image: str, reviewer: str) -> Exemplar:
    """Return the explanation of the image that a reviewer named.

    Args:
        classifier: Whose explanation it is.
        rows: Where the image is looked for.
        image: A row's name in the set, or the end of its path in the manifest.
        reviewer: Who chose it.

    Raises:
        TrainingError: If no row or more than one has this name, or it cannot be an exemplar.
    """
    found = [
        row
        for row, name in enumerate(rows.ids)
        if image == name or f"/{name.removesuffix(')').replace('(', '/')}".endswith(f"/{image}")
    ]
    if len(found) != 1:
        some = ", ".join(rows.ids[:3])
        raise TrainingError(
            f"exbl: {image!r} is the name of {len(found)} rows of the training split, needed is "
            f"one; they are called {some} …"
        )
    return exemplar_of(classifier, rows, found[0], reviewer)


def exemplar_of(classifier: Classifier, rows: ImageSet, row: int, reviewer: str) -> Exemplar:
    """Return the explanation of one row as an exemplar.

    Args:
        classifier: Whose explanation it is.
        rows: The set.
        row: Position in it.
        reviewer: Who chose it.

    Raises:
        TrainingError: If the classifier answers it wrongly, or finds no evidence for its class.
    """
    batch = batch_of(rows, np.array([row], np.int64)).on(next(classifier.parameters()).device)
    with evaluation_mode(classifier):
        cam, logits = (each.detach() for each in gradcam(classifier, batch.images, batch.labels))
        recall = float(activation_recalls(cam, batch.relevant)[0])
        shown = explanation_of(batch.images, cam)[0].cpu()
    answer = int(logits.argmax(1)[0])
    if answer != rows.labels[row]:
        raise TrainingError(
            f"exbl: {rows.ids[row]} cannot be an exemplar: the classifier answers "
            f"{rows.classes[answer]}, it is {rows.classes[rows.labels[row]]}. Name one that is "
            "answered rightly"
        )
    if not bool((cam > 0).any()):
        raise TrainingError(
            f"exbl: {rows.ids[row]} cannot be an exemplar: its map shows no evidence for "
            f"{rows.classes[answer]}. Name another one"
        )
    return Exemplar(rows.ids[row], row, recall, shown, chosen_by=reviewer)


def active(
    classifier: Classifier, rows: ImageSet, good: Exemplar, bad: Exemplar, *, size: int = 256
) -> NDArray[np.float64]:
    """Return the margin from which each row's hinge is active: ‖E - C_bad‖ - ‖E - C_good‖, [M]."""
    device = next(classifier.parameters()).device
    found = []
    with evaluation_mode(classifier):
        for batch in batches(rows, size):
            here = batch.on(device)
            cam = gradcam(classifier, here.images, here.labels).attribution.detach()
            shown = explanation_of(here.images, cam)
            near = _distance(shown, good.explanation.to(shown))
            far = _distance(shown, bad.explanation.to(shown))
            found.append((far - near).cpu().double().numpy())
    return np.concatenate(found)


def _margin(classifier: Classifier, rows: ImageSet, good: Exemplar, bad: Exemplar) -> float:
    """Return the least margin at which `_ACTIVE` of the rows, or of some of them, are active."""
    some = rows if len(rows) <= _LOOKED_AT else rows.take(
        np.linspace(0, len(rows) - 1, _LOOKED_AT).astype(np.int64)
    )  # fmt: skip
    return float(np.quantile(active(classifier, some, good, bad), _ACTIVE)) + _TINY


def _distance(shown: Tensor, exemplar: Tensor) -> Tensor:
    """Return the L2 distance per image, with a gradient at zero."""
    return (((shown - exemplar) ** 2).sum((1, 2)) + _TINY).sqrt()
