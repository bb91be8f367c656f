"""The gateway as it is deployed: a real server, real sockets, the tiny classifier."""

import base64
import json
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from services.pictures.png import compressed
from tests import graphs
from tests.served import MODEL, form

pytestmark = pytest.mark.system

RED = compressed(graphs.patch("red", 4, 8))
PREDICTIONS = f"/v1/models/{MODEL}/predictions"


def region(rows: slice, columns: slice) -> bytes:
    marked = np.zeros((16, 16), np.uint8)
    marked[rows, columns] = 255
    return compressed(marked)


def test_an_image_is_answered_with_its_reason(server) -> None:
    reply = server.post_form("/predict", ("image", RED))
    answer = reply.json()

    assert reply.status == 200
    assert answer["classes"][0]["label"] == "red"
    assert answer["explanation"]["explainer"] == "gradcam"
    assert answer["explanation"]["shape"] == [4, 4]
    assert answer["explanation"]["grid"][1][2] == 1.0
    assert sum(map(sum, answer["explanation"]["grid"])) == 1.0
    assert answer["audit"] is None
    assert answer["model"] | {"digest": ""} == {"name": MODEL, "version": 1, "digest": ""}


def test_form_and_json_answer_alike(server) -> None:
    spoken = base64.b64encode(RED).decode()
    by_form = server.post_form("/predict", ("image", RED)).json()
    by_json = server.post_json("/predict", {"image": spoken}).json()
    elsewhere = server.post_json(PREDICTIONS, {"image": spoken}).json()["predictions"][0]

    assert by_form["classes"] == by_json["classes"] == elsewhere["classes"]
    assert by_form["explanation"] == by_json["explanation"] == elsewhere["explanation"]


def test_a_region_brings_the_audit_numbers(server) -> None:
    """The heatmap is one cell of sixteen; the region is that cell and its right neighbour."""
    fields = ("image", RED), ("region", region(slice(4, 8), slice(8, 16)))
    audit = server.post_form("/predict", *fields).json()["audit"]

    assert audit == {
        "region_source": "client",
        "activation_recall": 0.5,
        "relevance_mass": 1.0,
        "chance": 0.125,
    }


def test_many_images_are_answered_in_order_by_one_version(server) -> None:
    parts = [("image", compressed(graphs.patch(colour))) for colour in graphs.CLASSES]
    answers = server.post_form(PREDICTIONS, *parts).json()["predictions"]

    assert list(graphs.CLASSES) == [each["classes"][0]["label"] for each in answers]
    assert len({json.dumps(each["model"]) for each in answers}) == 1
    assert len({each["prediction_id"] for each in answers}) == 3


@pytest.mark.parametrize(
    "explainer",
    ["input_gradients", "gradient_x_input", "smoothgrad", "integrated_gradients", "lrp"],
)
def test_every_explainer_answers_in_pixels(server, explainer) -> None:
    fields = ("image", RED), ("explainer", explainer)
    explanation = server.post_form(PREDICTIONS, *fields).json()["predictions"][0]["explanation"]
    grid = np.array(explanation["grid"])

    assert (explainer, [16, 16]) == (explanation["explainer"], explanation["shape"])
    assert grid.min() == 0
    # This network weighs one colour against the others: its input gradients sum to 0 over them.
    assert grid.max() == (0 if explainer == "input_gradients" else 1)


def test_the_body_may_be_the_picture_itself(server) -> None:
    for kind in ("image/png", "application/octet-stream"):
        answer = server.ask("POST", "/predict?top_k=1", RED, content_type=kind)

        assert ["red"] == [each["label"] for each in answer.json()["classes"]]


def test_a_target_by_label_or_index_and_fewer_classes(server) -> None:
    by_label = server.post_form(
        "/predict", ("image", RED), ("target", "blue"), ("top_k", "1")
    ).json()
    by_index = server.post_json(
        "/predict", {"image": base64.b64encode(RED).decode(), "target": "2", "top_k": 1}
    ).json()

    assert by_label["explanation"] == by_index["explanation"]
    assert {"label": "blue", "index": 2} == by_label["explanation"]["target"]
    assert ["red"] == [each["label"] for each in by_label["classes"]]


def test_an_overlay_is_a_picture(server) -> None:
    fields = ("image", RED), ("overlay", "png")
    drawn = server.post_form("/predict", *fields).json()["explanation"]["overlay"]
    picture = Image.open(BytesIO(base64.b64decode(drawn.partition(",")[2])))

    assert (224, 224) == picture.size


def test_an_answer_is_found_again_at_once(server) -> None:
    fields = ("image", RED), ("region", region(slice(4, 8), slice(8, 16))), ("subject", "somebody")
    answer = server.post_form("/predict", *fields).json()
    place = f"/v1/predictions/{answer['prediction_id']}"
    found = server.ask("GET", place).json()
    image = Image.open(BytesIO(server.ask("GET", f"{place}/image.png").body))
    heatmap = server.ask("GET", f"{place}/heatmap.png")
    alone = Image.open(BytesIO(server.ask("GET", f"{place}/heatmap.png?background=none").body))

    assert {key: found[key] for key in ("model", "classes", "audit")} == {
        key: answer[key] for key in ("model", "classes", "audit")
    }
    assert np.array(found["explanation"]["grid"]) == pytest.approx(
        np.array(answer["explanation"]["grid"]), abs=1 / 510
    )
    assert (np.asarray(image) == graphs.patch("red", 4, 8)).all()
    assert heatmap.headers["content-type"] == "image/png"
    assert alone.mode == "RGBA"


def test_an_unknown_answer_is_404(server) -> None:
    assert server.ask("GET", "/v1/predictions/0123456789ABCDEFGHJKMNPQRS").status == 404
    assert server.ask("GET", "/v1/predictions/../../etc/passwd").status == 404
    assert server.ask("GET", "/v1/predictions/0").status == 422


def test_health_names_versions_and_providers(server) -> None:
    ready = server.ask("GET", "/readyz").json()

    assert ready["ready"] is True
    assert [(MODEL, 1, ["CPUExecutionProvider"])] == [
        (each["name"], each["version"], each["providers"]) for each in ready["models"]
    ]


def test_the_registry_is_listed_in_pages(server) -> None:
    first = server.ask("GET", f"/v1/models/{MODEL}/versions?limit=1").json()
    second = server.ask(
        "GET", f"/v1/models/{MODEL}/versions?limit=1&cursor={first['next']}"
    ).json()
    card = server.ask("GET", f"/v1/models/{MODEL}/versions/1").json()

    assert [2] == [each["version"] for each in first["items"]]
    assert [1] == [each["version"] for each in second["items"]]
    assert second["next"] is None
    assert card == second["items"][0]
    assert card["champion"] is True
    assert list(graphs.CLASSES) == card["card"]["spec"]["classes"]
    assert MODEL in [each["name"] for each in server.ask("GET", "/v1/models").json()["items"]]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("GET", "/predict", 405),
        ("DELETE", "/v1/models", 405),
        ("GET", "/docs.json", 404),
        ("GET", "/v1/models/nobody", 404),
        ("GET", f"/v1/models/{MODEL}/versions/99", 404),
        ("GET", f"/v1/models/{MODEL}/versions/zero", 422),
        ("POST", "/predict", 415),
        ("POST", f"/v1/models/{MODEL}/promotions", 422),
    ],
)
def test_every_error_has_one_shape(server, method, path, status) -> None:
    reply = server.ask(method, path)

    assert status == reply.status
    assert reply.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail"} <= reply.json().keys()
    assert status == reply.json()["status"]


@pytest.mark.parametrize("path", ["/predict", PREDICTIONS])
@pytest.mark.parametrize(
    ("parts", "status", "word"),
    [
        ([("image", RED), ("image", RED), ("region", region(slice(0, 4), slice(0, 4)))], None, ""),
        ([("image", RED), ("unheard_of", "1")], 422, "unheard_of"),
        ([("image", RED), ("top_k", "none")], 422, "top_k"),
        ([("image", RED), ("target", "purple")], 422, "purple"),
        ([("image", RED), ("explainer", "horoscope")], 422, "explainer"),
        ([("image", RED), ("region", RED[:40])], 422, "PNG"),
        ([("region", RED)], 422, "image is missing"),
        ([("image", b"")], 415, "PNG, JPEG"),
        ([("image", "http://169.254.169.254/latest/meta-data/")], 415, "file part"),
        ([("image", RED), ("region", "http://127.0.0.1:1/")], 415, "file part"),
    ],
)
def test_a_wrong_form_is_refused_with_the_reason(server, path, parts, status, word) -> None:
    reply = server.post_form(path, *parts)

    assert reply.status in ((413, 422) if status is None else (status,))
    assert word in reply.json()["detail"]


def test_an_address_as_urlencoded_form_is_refused(server) -> None:
    """BentoML would fetch it: CVE-2025-54381 and what its deny list lets through."""
    kind = "application/x-www-form-urlencoded"
    reply = server.ask("POST", "/predict", b"image=http://100.64.0.1/", content_type=kind)

    assert reply.status == 415


def test_pickle_is_refused(server) -> None:
    kind = "application/vnd.bentoml+pickle"

    assert server.ask("POST", "/predict", b"\x80\x04N.", content_type=kind).status == 415


def test_a_body_over_the_limit_is_refused(server) -> None:
    body, kind = form(("image", bytes(2_100_000)))

    assert server.ask("POST", "/predict", body, content_type=kind).status == 413
    assert server.ask("POST", PREDICTIONS, body, content_type=kind).status == 413


def test_bentomls_own_client_works(server) -> None:
    """In a process of its own: the client leaves a temporary folder to the garbage collector."""
    path = server.log.parent / "red.png"
    path.write_bytes(RED)
    code = (
        "import bentoml, json, pathlib, sys\n"
        "with bentoml.SyncHTTPClient(sys.argv[1]) as client:\n"
        "    wish = {'image': pathlib.Path(sys.argv[2]), 'explainer': 'lrp', 'top_k': 2}\n"
        "    print(json.dumps(client.predict(**wish)))\n"
    )
    command = [sys.executable, "-c", code, server.url, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    answer = json.loads(done.stdout)

    assert answer["classes"][0]["label"] == "red"
    assert answer["explanation"]["explainer"] == "lrp"


def test_unknown_paths_do_not_grow_the_metrics(server) -> None:
    def lines() -> int:
        return len(server.ask("GET", "/metrics").body.splitlines())

    server.ask("GET", "/first")
    before = lines()
    for number in range(100):
        server.ask("GET", f"/never/heard/{number}")
        server.ask("GET", f"/v1/predictions/0123456789ABCDEFGHJKMNP{number:03d}")
        server.ask("BREW", f"/v1/models/{number}")
    after = lines()

    assert after - before < 80


def test_predictions_are_counted(server) -> None:
    marked = region(slice(4, 8), slice(8, 16))
    server.post_form("/predict", ("image", RED), ("region", marked))
    metrics = server.ask("GET", "/metrics").body.decode()

    assert f'rightly_predictions_total{{explainer="gradcam",model="{MODEL}"}}' in metrics
    assert f'rightly_champion_version{{model="{MODEL}"}} 1.0' in metrics
    measured = f'{{class="red",model="{MODEL}",role="champion",source="client"}}'
    assert f"audit_activation_recall_count{measured}" in metrics
    assert 'route="/predict"' in metrics


@pytest.mark.parametrize(
    "path", ["/", "/try", "/docs", "/assets/reference.js", "/assets/pages.css"]
)
def test_pages_need_no_other_host(server, path) -> None:
    reply = server.ask("GET", path)

    assert reply.status == 200
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert "nosniff" == reply.headers["x-content-type-options"]
    assert b"https://" not in reply.body
    assert b"unsafe" not in reply.headers["content-security-policy"].encode()
