"""What an explanation costs beside the prediction, and beside what others would use.

    python benchmarks/explaining.py [--quick] [--json FILE]

Every row is measured in the same process with two threads, all contestants in turn in every round;
figures are medians, judged as ratios. "Prediction" is the same network exported by the same
emitter without any explanation, and every graph is run as the server runs it (`models.sessions`).
The peers run the same network in torch: captum is given the class to explain, so that it need not
predict first; pytorch-grad-cam predicts and explains in one call, as ours does. Weights are fresh,
with batch-normalisation statistics of random images: pretrained ones would take as long. LRP is
left out of the second graph and measured by itself.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import flat
import numpy as np
import torch
from captum.attr import LayerGradCam, Saliency
from pytorch_grad_cam import GradCAM

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from models import architectures
from models.architectures import Classifier
from models.explainers import lrp
from models.graph import assembly
from models.sessions import GraphSession

NETWORKS = ("mobilenet_v2", "resnet18", "resnet50", "efficientnet_b0")
BATCHES = (1, 8)
THREADS = 2
SIZE = 224
CLASSES = 1000

Run = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Target:
    """A promise about one ratio of every row.

    Attributes:
        measure: Name of the ratio.
        limit: What was promised.
        at_most: Whether the ratio must be at most the limit; at least otherwise.
    """

    measure: str
    limit: float
    at_most: bool

    def met(self, value: float) -> bool:
        """Tell whether a ratio keeps the promise."""
        return value <= self.limit if self.at_most else value >= self.limit


TARGETS = (
    Target("cam_cost", 1.05, at_most=True),
    Target("gradient_cost", 2.5, at_most=True),
    Target("cam_over_grad_cam", 4.0, at_most=False),
    Target("cam_over_captum", 3.0, at_most=False),
    Target("gradient_over_captum", 2.0, at_most=False),
)


def main() -> int:
    """Measure, print the table, and answer whether every target is met."""
    parser = argparse.ArgumentParser(description="What an explanation costs.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, under two minutes")
    flat.add_argument(parser)
    asked = parser.parse_args()
    torch.set_num_threads(THREADS)
    print(
        f"{'network':16} {'batch':>5} {'prediction':>11}"
        + "".join(f" {target.measure:>20}" for target in TARGETS)
        + f" {'lrp_cost':>9}"
    )
    figures: dict[str, float] = {}
    for name in NETWORKS:
        for batch, medians in measure(name, rounds=3 if asked.quick else 15).items():
            ratios = judge(medians)
            figures |= {f"{name}.{batch}.{key}": value for key, value in ratios.items()}
            show(name, batch, medians, ratios)
    missed = misses(figures)
    print("\nall targets met" if not missed else "\nnot met: " + ", ".join(missed))
    flat.write(asked.json, figures)
    return 1 if missed else 0


def measure(name: str, *, rounds: int) -> dict[int, dict[str, float]]:
    """Return per batch size the median seconds of each contestant."""
    classifier = lively(name)
    graphs = {
        "prediction": assembly.bare(classifier),
        "cam": assembly.predict(classifier),
        "gradient": assembly.explain(classifier, relevance=False),
    }
    if lrp.covers(classifier):
        graphs["lrp"] = assembly.explain(classifier)
    sessions = {
        key: GraphSession(model.SerializeToString(), device="cpu", threads=THREADS)
        for key, model in graphs.items()
    }
    found = {}
    for batch in BATCHES:
        pixels = np.random.default_rng(batch).integers(
            0, 256, (batch, SIZE, SIZE, 3), dtype=np.uint8
        )
        contestants = {key: graph_run(each, pixels) for key, each in sessions.items()}
        contestants |= peer_runs(classifier, pixels)
        found[batch] = interleaved(contestants, rounds)
    return found


def lively(name: str) -> Classifier:
    """Return a classifier in eval mode whose activations are neither zero nor without bound."""
    torch.manual_seed(0)
    spec = architectures.default_spec(name, [str(each) for each in range(CLASSES)], height=SIZE)
    classifier = architectures.build(spec)
    with torch.no_grad():
        for _ in range(3):
            classifier(torch.rand(4, 3, SIZE, SIZE))
    return classifier.eval()


def graph_run(graph: GraphSession, pixels: np.ndarray) -> Run:
    """Return one call of a graph, its inputs ready."""
    wanted = {each.name: each.type for each in graph.session.get_inputs()}
    feed = {
        name: np.full(len(pixels), -1)
        if name == "target"
        else pixels.astype(np.uint8 if "uint8" in kind else np.float32)
        for name, kind in wanted.items()
    }
    return lambda: graph.run(None, feed)


def peer_runs(classifier: Classifier, pixels: np.ndarray) -> dict[str, Run]:
    """Return one call of each peer, its inputs ready, the class known to captum."""
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float() / 255
    with torch.no_grad():
        decided = classifier(images).argmax(1)
    layer = classifier.network.get_submodule(classifier.spec.target_layer)
    layer_grad_cam = LayerGradCam(classifier, layer)
    saliency = Saliency(classifier)

    def grad_cam() -> object:
        with GradCAM(model=classifier, target_layers=[layer]) as explainer:
            return explainer(input_tensor=images, targets=None)

    return {
        "captum_cam": lambda: layer_grad_cam.attribute(images, decided),
        "captum_gradient": lambda: saliency.attribute(
            images.clone().requires_grad_(), decided, abs=False
        ),
        "grad_cam": grad_cam,
    }


def interleaved(contestants: Mapping[str, Run], rounds: int) -> dict[str, float]:
    """Return the median seconds of each contestant, all run in turn in every round."""
    for run in contestants.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in seconds.items()}


def judge(medians: Mapping[str, float]) -> dict[str, float]:
    """Return the ratios that the targets are about, and the plain milliseconds."""
    ratios = {
        "cam_cost": medians["cam"] / medians["prediction"],
        "gradient_cost": medians["gradient"] / medians["prediction"],
        "cam_over_grad_cam": medians["grad_cam"] / medians["cam"],
        "cam_over_captum": medians["captum_cam"] / medians["cam"],
        "gradient_over_captum": medians["captum_gradient"] / medians["gradient"],
    }
    if "lrp" in medians:
        ratios["lrp_cost"] = medians["lrp"] / medians["prediction"]
    return ratios | {f"{name}_ms": 1000 * value for name, value in medians.items()}


def show(name: str, batch: int, medians: Mapping[str, float], ratios: Mapping[str, float]) -> None:
    """Print one row; a star marks a ratio that misses its target."""
    cells = [
        f" {ratios[each.measure]:>19.2f}{' ' if each.met(ratios[each.measure]) else '*'}"
        for each in TARGETS
    ]
    relevance = f" {ratios['lrp_cost']:>9.2f}" if "lrp_cost" in ratios else f" {'-':>9}"
    print(
        f"{name:16} {batch:>5} {1000 * medians['prediction']:>8.1f} ms"
        + "".join(cells)
        + relevance,
        flush=True,
    )


def misses(figures: Mapping[str, float]) -> Sequence[str]:
    """Return one phrase per ratio that misses its target."""
    limits = {target.measure: target for target in TARGETS}
    return [
        f"{key} {value:.2f} ({'≤' if target.at_most else '≥'} {target.limit})"
        for key, value in figures.items()
        if (target := limits.get(key.rpartition(".")[2])) and not target.met(value)
    ]


if __name__ == "__main__":
    raise SystemExit(main())
