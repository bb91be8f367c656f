"""One request is one trace, whichever threads it crosses; and a log line leads to it."""

import http.server
import io
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from services import logs, settings, tracing
from services.access import opening
from services.settings import SettingsError
from tests import graphs, served

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra `tracing`")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def collected() -> Iterator[tuple[str, list[bytes]]]:
    """The address of a collector of our own, and what was sent to it."""
    got: list[bytes] = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["content-length"])))
            assert self.path == "/v1/traces"
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep the tests quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", got
    server.shutdown()
    server.server_close()
    thread.join()


def png_of(image: NDArray[np.uint8]) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, "PNG")
    return sink.getvalue()


def spans_in(bodies: list[bytes]) -> dict[str, dict]:
    """Name → what a collector knows of each span."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415
        ExportTraceServiceRequest,
    )

    found = {}
    for body in bodies:
        for each in ExportTraceServiceRequest.FromString(body).resource_spans:
            for span in each.scope_spans[0].spans:
                found[span.name] = {
                    "trace": span.trace_id.hex(),
                    "id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "seconds": (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                    "attributes": {item.key: item.value for item in span.attributes},
                }
    return found


@pytest.mark.system
def test_a_request_is_one_trace_with_its_log_line(
    tmp_path: Path, collected: tuple[str, list[bytes]]
) -> None:
    address, got = collected
    registry = served.registry_of_colours(tmp_path)
    body, kind = served.form(
        ("image", png_of(graphs.patch("red"))), ("explainer", "input_gradients")
    )
    with served.serve(tmp_path, registry, traces=address, log="json") as server:
        reply = server.ask("POST", "/predict", body, content_type=kind, traceparent=PARENT)
        answer = reply.json()
    # Stopping the server sends what is left.
    end = time.monotonic() + 30
    while "POST /predict" not in (spans := spans_in(got)) and time.monotonic() < end:
        time.sleep(0.1)
    lines = [each for each in server.log.read_text().splitlines() if each.startswith("{")]
    (line,) = [told for told in map(json.loads, lines) if told.get("logger") == "rightly.answers"]

    root = spans["POST /predict"]
    below = {"queue", "decode", "predict", "explain", "record", "ship"}
    assert below <= set(spans)
    assert {TRACE} == {spans[name]["trace"] for name in below} | {root["trace"]}
    assert {root["id"]} == {spans[name]["parent"] for name in below}
    assert "00f067aa0ba902b7" == root["parent"]
    (said,) = root["attributes"]["rightly.prediction_id"].array_value.values
    assert answer["prediction_id"] == said.string_value == line["prediction_id"]
    assert TRACE == line["trace_id"]
    assert ("digits", 1, "input_gradients") == (line["model"], line["version"], line["explainer"])
    assert all(spans[name]["seconds"] <= root["seconds"] for name in below)
    assert {"POST /predict", *below} == set(spans), "who asks whether it lives is not traced"


def test_without_an_address_nothing_is_loaded_and_nothing_is_sent() -> None:
    code = (
        "import sys\nfrom services import tracing\ntracing.start('')\n"
        "with tracing.request('GET', []), tracing.span('decode'):\n"
        "    tracing.finished('GET', '/', 200)\n"
        "print(tracing.identifiers(), 'opentelemetry.sdk.trace' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert "None False" == done.stdout.strip()


@pytest.fixture
def traced() -> Iterator[None]:
    tracing.start("", ids=True)
    yield
    tracing.stop()


@pytest.mark.usefixtures("traced")
def test_a_line_belongs_to_its_request_even_where_nothing_is_sent() -> None:
    record = logging.makeLogRecord({"name": "rightly.x", "levelname": "INFO", "msg": "hello"})
    with tracing.request("GET", [(b"traceparent", PARENT.encode())]):
        inside = json.loads(logs.Lines().format(record))
        elsewhere: list[object] = []
        thread = threading.Thread(
            target=tracing.carried(lambda: elsewhere.append(tracing.identifiers()))
        )
        thread.start()
        thread.join()
        ids = tracing.identifiers()
    outside = json.loads(logs.Lines().format(record))

    assert (TRACE, "hello", "info") == (inside["trace_id"], inside["message"], inside["level"])
    assert [ids] == elsewhere
    assert "trace_id" not in outside


@pytest.mark.usefixtures("traced")
def test_a_request_with_a_broken_parent_begins_a_trace_of_its_own() -> None:
    for sent in (b"junk", b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01", b"\xff\xfe"):
        with tracing.request("GET", [(b"traceparent", sent)]):
            found = tracing.identifiers()
            assert found is not None
            assert found[0] not in {TRACE, "0" * 32}


def test_an_exception_is_in_its_line() -> None:
    error = ValueError("of no use")
    record = logging.makeLogRecord({"msg": "broke", "exc_info": (ValueError, error, None)})
    line = json.loads(logs.Lines().format(record))

    assert "ValueError: of no use" in line["exception"]


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="traces"):
        settings.load({"RIGHTLY_TRACES": "collector:4318"})
    opening.check(settings.load({"RIGHTLY_TRACES": "http://localhost:4318"}))
