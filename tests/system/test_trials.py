"""A version on trial, over HTTP."""

from io import BytesIO

import pytest
from PIL import Image

from models import samples
from models.samples import Sample
from services import clock
from tests import graphs, served

RED = graphs.patch("red", 4, 8)


def png(pixels) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def server(tmp_path_factory):  # noqa: ANN201 - as in conftest
    home = tmp_path_factory.mktemp("trials")
    registry = served.registry_of_colours(home, 40.0, 20.0)
    files = graphs.write_version(home / "made" / "sampled", gain=10.0)
    region = RED[:, :, 0] > RED[:, :, 1]
    samples.write(files, [Sample(RED, "red", region), Sample(RED, "red")])
    registry.add(served.MODEL, files, now=clock.now())
    with served.serve(home, registry) as running:
        yield running


def trial(server, version: int, *parts: tuple[str, bytes | str]) -> served.Reply:
    path = f"/v1/models/{served.MODEL}/versions/{version}/trials"
    return server.post_form(path, ("image", png(RED)), *parts)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_each_version_answers_for_itself(server, version) -> None:
    answer = trial(server, version).json()

    assert version == answer["model"]["version"]
    assert "red" == answer["classes"][0]["label"]
    assert "prediction_id" not in answer
    assert answer["image"].startswith("data:image/png;base64,")


def test_a_smaller_gain_is_less_sure(server) -> None:
    first, second, third = (
        trial(server, version).json()["classes"][0]["probability"] for version in (1, 2, 3)
    )

    assert first > second > third


def test_a_region_is_measured(server) -> None:
    region = png(RED[:, :, 0] > RED[:, :, 1])
    audit = trial(server, 2, ("region", region)).json()["audit"]

    assert 1 / 16 == audit["chance"]
    assert 1.0 == audit["relevance_mass"]


def test_a_trial_is_not_counted_but_noted(server) -> None:
    before = server.ask("GET", "/metrics").body.count(b"rightly_predictions_total{")
    trial(server, 2)
    journal = b"".join(each.read_bytes() for each in server.settings.journal.iterdir())

    assert before == server.ask("GET", "/metrics").body.count(b"rightly_predictions_total{")
    assert b'"kind":"prediction"' not in journal
    assert b'"actor":"trial"' in journal


@pytest.mark.parametrize(
    ("version", "parts", "status"), [(9, (), 404), (2, (("target", "7"),), 422)]
)
def test_what_cannot_be_tried_is_refused(server, version, parts, status) -> None:
    assert status == trial(server, version, *parts).status


def test_samples_travel_with_their_version(server) -> None:
    folder = f"/v1/models/{served.MODEL}/versions/3/samples"

    assert png(RED)[:8] == server.ask("GET", f"{folder}/0/image.png").body[:8]
    assert 200 == server.ask("GET", f"{folder}/0/region.png").status
    assert 404 == server.ask("GET", f"{folder}/1/region.png").status
    assert 404 == server.ask("GET", f"{folder}/2/image.png").status


def test_another_site_cannot_ask_for_a_change(server) -> None:
    path = f"/v1/models/{served.MODEL}/promotions"
    body = b'{"version": 2, "reason": "because"}'
    reply = server.ask(
        "POST", path, body, content_type="application/json", sec_fetch_site="cross-site"
    )

    assert 403 == reply.status
    assert 1 == server.ask("GET", f"/v1/models/{served.MODEL}").json()["champion"]
