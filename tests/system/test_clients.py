"""Somebody else's client of the Open Inference Protocol, and ours, against a real server."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from services.client import Client, RefusedError
from services.pictures.png import compressed
from tests import graphs
from tests.served import MODEL

pytestmark = [
    pytest.mark.system,
    # geventhttpclient closes its pool when it is collected.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
PAGE = Path(__file__).parents[2] / "docs/how-to/clients.md"
RED, BLUE = graphs.patch("red", 4, 8), graphs.patch("blue", 4, 8)


def tensor(name: str, values: np.ndarray, kind: str, *, binary: bool) -> triton.InferInput:
    made = triton.InferInput(name, list(values.shape), kind)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


@pytest.fixture
def peer(server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        yield client


@pytest.fixture
def ours(server) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


def test_tritons_client_asks_before_it_infers(peer) -> None:
    assert peer.is_server_live()
    assert peer.is_server_ready()
    assert peer.is_model_ready(MODEL)
    assert not peer.is_model_ready("nobody")
    assert "binary_tensor_data" in peer.get_server_metadata()["extensions"]
    told = peer.get_model_metadata(MODEL)
    assert {"probabilities", "label", "heatmap", "prediction_id"} == {
        each["name"] for each in told["outputs"]
    }


@pytest.mark.parametrize("binary", [True, False])
def test_tritons_client_gets_what_ours_gets(peer, ours, binary) -> None:
    pixels = tensor("image", np.stack([RED, BLUE]), "UINT8", binary=binary)
    wanted = [
        triton.InferRequestedOutput(name, binary_data=binary)
        for name in ("probabilities", "label", "heatmap", "prediction_id")
    ]
    found = peer.infer(MODEL, [pixels], outputs=wanted, request_id="mine")
    red = ours.predict(compressed(RED), model=MODEL, top_k=3)
    again = ours.answer(str(found.as_numpy("prediction_id")[0], "utf-8")) if binary else None

    assert "mine" == found.get_response()["id"]
    labels = [each.decode() if binary else each for each in found.as_numpy("label")]
    assert ["red", "blue"] == labels
    shares = {each.index: each.probability for each in red.classes}
    assert [shares[index] for index in range(3)] == pytest.approx(
        found.as_numpy("probabilities")[0], abs=1e-6
    )
    assert np.array(red.explanation.grid) == pytest.approx(found.as_numpy("heatmap")[0], abs=1e-6)
    if again is not None:
        assert "red" == again.classes[0].label, "an answer like any other: it is in the trail"


def test_files_and_regions_travel_as_bytes(peer) -> None:
    files = np.array([compressed(RED)], object)
    region = np.zeros((1, 16, 16), bool)
    region[0, 4:8, 8:12] = True
    inputs = [
        tensor("image", files, "BYTES", binary=True),
        tensor("region", region, "BOOL", binary=True),
    ]
    found = peer.infer(MODEL, inputs, parameters={"explainer": "gradcam", "target": "red"})

    assert b"red" == found.as_numpy("label")[0]


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        ([("picture", np.stack([RED]), "UINT8")], [], "no input 'picture'"),
        ([("image", np.stack([RED])[..., :2], "UINT8")], [], "has shape"),
        ([("image", np.stack([RED]).astype(np.float32), "FP32")], [], "is FP32"),
        ([("image", np.array([b"no picture"], object), "BYTES")], [], "PNG"),
        ([("image", np.stack([RED]), "UINT8")], ["logits"], "no output 'logits'"),
    ],
)
def test_tritons_client_reads_what_was_wrong(peer, inputs, outputs, said) -> None:
    sent = [tensor(name, values, kind, binary=True) for name, values, kind in inputs]
    wanted = [triton.InferRequestedOutput(name) for name in outputs] or None
    with pytest.raises(InferenceServerException, match=said):
        peer.infer(MODEL, sent, outputs=wanted)


def test_only_the_version_that_answers_can_be_asked(peer) -> None:
    pixels = tensor("image", np.stack([RED]), "UINT8", binary=True)

    assert "1" == peer.infer(MODEL, [pixels], model_version="1").get_response()["model_version"]
    with pytest.raises(InferenceServerException, match="version 1 does"):
        peer.infer(MODEL, [pixels], model_version="2")


def test_our_client_tells_the_truth_later(ours) -> None:
    answer = ours.predict(compressed(RED))
    region = np.zeros((16, 16), np.uint8)
    region[4:8, 8:12] = 255

    assert "red" == answer.classes[0].label
    assert ours.label(answer.prediction_id, "red").event_id
    assert ours.region(answer.prediction_id, compressed(region)).event_id
    assert ours.review(answer.prediction_id, "right-reason").event_id
    assert answer.prediction_id == ours.answer(answer.prediction_id).prediction_id


def test_our_client_looks_at_models(ours) -> None:
    assert MODEL in {each.name for each in ours.models().items}
    assert 1 == ours.model(MODEL).champion
    assert [2, 1] == [each.version for each in ours.versions(MODEL).items]
    assert ours.verdict(MODEL).sentence


def test_our_client_asks_for_a_retraining_and_follows_it(ours) -> None:
    asked = ours.retrain(MODEL, "to see", idempotency_key="once")
    again = ours.retrain(MODEL, "to see", idempotency_key="once")
    ours.cancel(asked.retraining_id)
    last = list(ours.follow(asked.retraining_id, seconds=0.01))[-1]

    assert asked.retraining_id == again.retraining_id
    assert "cancelled" == last.status


def test_our_client_says_what_the_server_refused(ours) -> None:
    with pytest.raises(RefusedError, match="no model 'nobody'") as refused:
        ours.predict(compressed(RED), model="nobody")
    assert 404 == refused.value.status
    with pytest.raises(RefusedError) as refused:
        ours.predict(compressed(RED), model=MODEL, top_k=0)
    assert ["top_k"] == [each["field"] for each in refused.value.errors]
    with pytest.raises(RefusedError, match="no audit store yet") as refused:
        ours.acknowledge("0" * 26, "seen")
    assert 503 == refused.value.status


def test_the_page_about_clients_is_true(server, tmp_path, monkeypatch) -> None:
    """Every block of docs/how-to/clients.md runs as it stands, against this server."""
    (tmp_path / "photo.png").write_bytes(compressed(RED))
    region = np.zeros((16, 16), np.uint8)
    region[4:8, 8:12] = 255
    (tmp_path / "where.png").write_bytes(compressed(region))
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    text = "\n".join(blocks).replace("http://localhost:3000", server.url)
    text = text.replace("localhost:3000", f"127.0.0.1:{server.port}")

    exec(compile(text, str(PAGE), "exec"), {})  # noqa: S102 - the page's own code
    named = {name for name in vars(Client) if not name.startswith("_") and name != "close"}
    assert {name for name in named if f".{name}(" not in text} == set(), "every method is shown"
