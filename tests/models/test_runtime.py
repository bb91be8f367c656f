"""The runtime against the tiny classifier, whose every number can be worked out by hand."""

import dataclasses
import gc
import statistics
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from models import attributions, runtime
from models.errors import ExplainerError, GraphRejectedError, ImageError
from models.runtime import Session, Slot
from models.types import ModelRef
from tests import graphs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return graphs.write_version(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def session(folder: Path) -> Session:
    return Session.open(folder, device="cpu", threads=1)


def by_hand(image: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Activation [3, 4, 4] and logits [3] as the docstring of `tests.graphs` reads, in loops."""
    activation = np.zeros((3, graphs.GRID, graphs.GRID))
    for colour, row, column in np.ndindex(activation.shape):
        cell = image[row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] / 255
        others = [cell[..., each].mean() for each in range(3) if each != colour]
        activation[colour, row, column] = max(0, cell[..., colour].mean() - np.mean(others))
    return activation, graphs.GAIN * activation.mean(axis=(1, 2))


def log_probability(pixels: NDArray[np.float64], target: int) -> float:
    logits = by_hand(pixels)[1]
    return float(logits[target] - np.log(np.exp(logits).sum()))


def noise(seed: int, images: int = 1) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (images, graphs.SIDE, graphs.SIDE, 3), np.uint8)


@pytest.mark.parametrize("colour", graphs.CLASSES)
def test_predict_decides_for_the_patch_and_points_at_it(session: Session, colour: str) -> None:
    image = graphs.patch(colour, row=8, column=4)

    answer = session.predict(image[None])[0]

    assert graphs.CLASSES.index(colour) == answer.decided == answer.target
    assert (2, 1) == np.unravel_index(answer.heatmap.argmax(), answer.heatmap.shape)
    assert answer.heatmap.max() == 1
    assert np.count_nonzero(answer.heatmap) == 1


def test_predict_agrees_with_the_formulas(session: Session) -> None:
    for image, answer in zip(images := noise(1, 5), session.predict(images), strict=True):
        activation, logits = by_hand(image.astype(float))
        cam = activation[answer.target]

        assert logits == pytest.approx(answer.logits, abs=1e-4)
        assert activation.mean(axis=(1, 2)) == pytest.approx(answer.embedding, abs=1e-6)
        assert cam / cam.max() == pytest.approx(answer.heatmap, abs=1e-4)


def test_predict_explains_the_target_that_was_asked_for(session: Session) -> None:
    image = graphs.patch("red")

    asked = session.predict(np.stack([image, image]), [2, 0])

    assert [2, 0] == [each.target for each in asked]
    assert asked[0].heatmap.max() == 0, "nothing in the image speaks for blue: zeros stay zeros"
    assert asked[1].heatmap.max() == 1


def test_predict_splits_a_large_batch_without_changing_an_answer(session: Session) -> None:
    images = noise(2, runtime.LARGEST_BATCH * 2 + 3)

    together = session.predict(images)

    assert len(together) == len(images)
    for image, answer in zip(images, together, strict=True):
        assert np.array_equal(session.predict(image[None])[0].logits, answer.logits)


def test_predict_of_no_image_answers_nothing(session: Session) -> None:
    assert session.predict(noise(0, 0)) == []
    assert session.explain(noise(0, 0).astype(np.float32)) == []
    assert session.attribute(noise(0, 0), "smoothgrad") == []


def test_answers_cannot_be_changed(session: Session) -> None:
    answer = session.explain(noise(3).astype(np.float32))[0]

    with pytest.raises(dataclasses.FrozenInstanceError):
        answer.prediction.target = 1  # type: ignore[misc]
    for array in (answer.gradient, answer.relevance, answer.prediction.heatmap):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 16, 16, 3), np.float32),
        np.zeros((1, 8, 16, 3), np.uint8),
        np.zeros((16, 16, 3), np.uint8),
        np.zeros((1, 3, 16, 16), np.uint8),
    ],
)
def test_predict_refuses_other_images(session: Session, images: NDArray[np.generic]) -> None:
    with pytest.raises(ImageError, match="needed are uint8 images"):
        session.predict(images)


@pytest.mark.parametrize("targets", [[3], [-1], [0, 1], []])
def test_predict_refuses_a_target_that_is_no_class(session: Session, targets: list[int]) -> None:
    with pytest.raises(ExplainerError, match=r"targets in 0\.\.2"):
        session.predict(noise(0), targets)


def test_the_gradient_agrees_with_finite_differences(session: Session) -> None:
    pixels = noise(4).astype(np.float64)
    answer = session.explain(pixels.astype(np.float32))[0]
    target = answer.prediction.target
    for row, column, colour in [(0, 0, 0), (5, 9, 1), (15, 15, 2), (7, 3, 0)]:
        shifted = pixels.repeat(2, axis=0)
        shifted[:, row, column, colour] += (1e-3, -1e-3)
        slope = (log_probability(shifted[0], target) - log_probability(shifted[1], target)) / 2e-3

        assert slope == pytest.approx(answer.gradient[row, column, colour], rel=1e-3, abs=1e-7)


def test_explain_answers_what_predict_answers(session: Session) -> None:
    images = noise(5, 3)

    for one, two in zip(
        session.predict(images), session.explain(images.astype(np.float32)), strict=True
    ):
        assert np.array_equal(one.probabilities, two.prediction.probabilities)
        assert np.array_equal(one.heatmap, two.prediction.heatmap)


def test_lrp_conserves_the_logit(session: Session) -> None:
    image = noise(6)
    answer = session.predict(image)[0]

    relevance = session.attribute(image, "lrp")[0].values

    assert answer.logits[answer.target] == pytest.approx(relevance.sum(), rel=1e-4)


def test_gradient_x_input_is_the_product(session: Session) -> None:
    image = noise(7)
    gradient = session.explain(image.astype(np.float32))[0].gradient

    found = session.attribute(image, "gradient_x_input")[0]

    assert (gradient * image[0]).sum(axis=-1) == pytest.approx(found.values, rel=1e-5)
    assert found.explainer == "gradient_x_input/1"


@pytest.mark.parametrize("baseline", [0.0, 127.5])
def test_integrated_gradients_sum_to_the_difference(session: Session, baseline: float) -> None:
    """Completeness, equation 3 of Sundararajan et al. 2017."""
    image = noise(8)
    method = attributions.IntegratedGradients(steps=256, baseline=baseline)

    found = session.attribute(image, method)[0]
    start = log_probability(np.full(image.shape[1:], baseline), found.target)
    end = log_probability(image[0].astype(float), found.target)

    assert end - start == pytest.approx(found.values.sum(), abs=0.02 * abs(end - start) + 1e-3)


def test_smoothgrad_is_the_mean_over_noisy_copies(session: Session) -> None:
    image = noise(9)
    method = attributions.SmoothGrad(samples=3, sigma=0.2, seed=5)
    found = session.attribute(image, method)[0]

    rng = np.random.default_rng(5)
    copies = [
        image.astype(np.float32) + rng.standard_normal(image.shape[1:], np.float32) * (255 * 0.2)
        for _ in range(3)
    ]
    gradients = [session.explain(each, [found.target])[0].gradient for each in copies]

    assert np.mean(gradients, axis=0).sum(axis=-1) == pytest.approx(found.values, abs=1e-6)


def test_smoothgrad_without_noise_is_the_gradient(session: Session) -> None:
    image = noise(10)

    still = session.attribute(image, attributions.SmoothGrad(samples=2, sigma=0.0))[0].values

    assert session.attribute(image, "input_gradients")[0].values == pytest.approx(still)


@pytest.mark.parametrize("name", ["gradcam", *attributions.METHODS])
def test_an_attribution_does_not_depend_on_its_neighbours(session: Session, name: str) -> None:
    images = noise(11, 3)

    together = session.attribute(images, name)

    for image, found in zip(images, together, strict=True):
        alone = session.attribute(image[None], name)[0]
        assert alone.target == found.target
        assert np.array_equal(alone.values, found.values)
        assert not found.values.flags.writeable


def test_attribute_names_the_explainers_there_are(session: Session, tmp_path: Path) -> None:
    without = Session.open(graphs.write_version(tmp_path, lrp=False), device="cpu", threads=1)

    assert "lrp" in session.explainers
    assert "lrp" not in without.explainers
    assert without.explain(noise(0).astype(np.float32))[0].relevance is None
    for asked, opened in [("lrp", without), ("anchors", session)]:
        with pytest.raises(ExplainerError, match="there are gradcam"):
            opened.attribute(noise(0), asked)


@pytest.mark.parametrize(
    "wrong",
    [
        {"samples": 0},
        {"sigma": -0.1},
    ],
)
def test_smoothgrad_refuses_numbers_without_meaning(wrong: dict[str, float]) -> None:
    with pytest.raises(ExplainerError):
        attributions.SmoothGrad(**wrong)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"baseline": 256.0}])
def test_integrated_gradients_refuse_numbers_without_meaning(wrong: dict[str, float]) -> None:
    with pytest.raises(ExplainerError):
        attributions.IntegratedGradients(**wrong)


def test_open_refuses_graphs_of_two_classifiers(tmp_path: Path) -> None:
    graphs.write_version(tmp_path)
    other = graphs.build("explain", classes=("cyan", "magenta", "yellow"))
    (tmp_path / "explain.onnx").write_bytes(other.SerializeToString())

    with pytest.raises(GraphRejectedError, match="different classifiers"):
        Session.open(tmp_path, device="cpu")


def ignores_target(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "Where":
            node.input[2] = "decided"


def no_softmax(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "Softmax":
            node.CopyFrom(helper.make_node("Sigmoid", ["logits"], ["probabilities"]))


def unknown_operator(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "Softmax":
            node.CopyFrom(helper.make_node("Softmoose", ["logits"], ["probabilities"]))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (ignores_target, "ignores `target`"),
        (no_softmax, "sum to one"),
        (unknown_operator, "does not accept"),
    ],
)
def test_open_refuses_a_graph_that_answers_nonsense(change, reason: str, tmp_path: Path) -> None:
    graphs.write_version(tmp_path)
    model = graphs.build("predict")
    change(model)
    (tmp_path / "predict.onnx").write_bytes(model.SerializeToString())

    with pytest.raises(GraphRejectedError, match=reason):
        Session.open(tmp_path, device="cpu")


def test_a_graph_that_changed_since_the_check_is_not_loaded(tmp_path: Path) -> None:
    """`explain.onnx` is loaded late, yet only as it was when the version was opened."""
    opened = Session.open(graphs.write_version(tmp_path), device="cpu", threads=1)
    graphs.write_version(tmp_path, gain=1.0)

    with pytest.raises(GraphRejectedError, match="has changed"):
        opened.explain(noise(0).astype(np.float32))


def ref(version: int) -> ModelRef:
    return ModelRef("tiny", version, f"sha256:{version:064x}")


class Waiting(Session):
    """A session whose prediction lasts until it is told to go on."""

    def __init__(self, inner: Session) -> None:
        self.inner = inner
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def predict(self, images, targets=None):  # noqa: ANN201 - as its base
        self.entered.set()
        assert self.go_on.wait(10)
        return self.inner.predict(images, targets)


def test_a_request_in_flight_ends_on_the_version_it_began_with(session: Session) -> None:
    old = Waiting(session)
    slot = Slot(old, ref(1))
    answers = []

    def request() -> None:
        served = slot.current
        answers.append((served.ref.version, served.session.predict(graphs.patch("red")[None])))

    running = threading.Thread(target=request)
    running.start()
    assert old.entered.wait(10)

    replaced = slot.swap(session, ref(2))
    request()
    assert [2] == [version for version, _ in answers], "new requests see the new version at once"
    assert replaced.ref == ref(1)
    old.go_on.set()
    running.join()
    assert [2, 1] == [version for version, _ in answers], "the old one ended where it began"

    released = weakref.ref(old)
    del old, replaced, running
    gc.collect()
    assert released() is None, "nothing keeps the old session once it is idle"


def test_no_request_fails_or_mixes_versions_while_sessions_are_swapped(
    folder: Path, tmp_path: Path
) -> None:
    """Each version has its own gain, so its logits tell which session computed them."""
    gains = {1: graphs.GAIN, 2: graphs.GAIN / 2}
    weak = graphs.write_version(tmp_path, gain=gains[2])
    sessions = {
        1: Session.open(folder, device="cpu", threads=1),
        2: Session.open(weak, device="cpu", threads=1),
    }
    image = graphs.patch("green")[None]
    expected = {version: sessions[version].predict(image)[0].logits[1] for version in gains}
    slot = Slot(sessions[1], ref(1))
    stop = threading.Event()
    counts: list[int] = []
    wrong: list[int] = []
    seconds: list[float] = []

    def requests() -> None:
        count = 0
        while not stop.is_set():
            served = slot.current
            if served.session.predict(image)[0].logits[1] != expected[served.ref.version]:
                wrong.append(served.ref.version)
            count += 1
        counts.append(count)

    threads = [threading.Thread(target=requests) for _ in range(4)]
    for thread in threads:
        thread.start()
    for swap in range(100):
        version = 2 - swap % 2
        began = time.perf_counter()
        slot.swap(sessions[version], ref(version))
        seconds.append(time.perf_counter() - began)
        stop.wait(0.005)
    stop.set()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert len(counts) == 4
    assert sum(counts) > 100
    assert statistics.median(seconds) < 1e-3


def loaded_after(statement: str) -> set[str]:
    code = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_the_runtime_does_not_load_torch(folder: Path) -> None:
    imports = "from pathlib import Path; from models.runtime import Session"

    assert "torch" not in loaded_after(f"{imports}; Session.open(Path({str(folder)!r}))")
    assert "torch" in loaded_after("import torch"), "the check above can fail"
