"""The alert rules and the dashboard, tried on a real Prometheus."""

import http.server
import json
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY, generate_latest

from audit.watch.watching import Promise, Watching
from services import telemetry
from services.auditing.gauges import Gauges
from tests.entries import prediction

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus"
DASHBOARDS = {
    path.stem: json.loads(path.read_text()) for path in (DEPLOY / "grafana/dashboards").glob("*")
}
PROVISIONED = yaml.safe_load(
    (DEPLOY / "grafana/provisioning/dashboards/rightly.yaml").read_text()
)["providers"][0]
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool (Debian package prometheus) is missing"
)
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus (Debian package) is missing"
)
# Each breaks a promise of the rules; the tests of the rules must notice.
MUTANTS = {
    "no evidence gate": (
        "recall_count:increase1h >= 50\n        for",
        "recall_count:increase1h >= 0\n        for",
    ),
    "classes pooled": (
        "sum by (model, class, source) (rate(audit_activation_recall_sum",
        "sum by (model, source) (rate(audit_activation_recall_sum",
    ),
    "a warning alarms": (
        'audit_drift_state{model!~".*drill.*"}) >= 2',
        'audit_drift_state{model!~".*drill.*"}) >= 1',
    ),
    "a drill alarms": ('{model!~".*drill.*"}', ""),
    "absence is fine": ("or absent(audit_last_evaluated_timestamp_seconds)", ""),
    "a dead auditor is fine": ("> 900", "> 90000"),
    "an overdue drill is fine": (
        "(audit_drill_due_timestamp_seconds) > 3600",
        "(audit_drill_due_timestamp_seconds) > 36000",
    ),
    "a drill is overdue at once": (
        "(audit_drill_due_timestamp_seconds) > 3600",
        "(audit_drill_due_timestamp_seconds) > 0",
    ),
    "a restored store is fine": ("(audit_store_restored) > 0", "(audit_store_restored) > 1"),
    "nobody follows, and it is fine": (
        "timestamp_seconds) > 120\n",
        "timestamp_seconds) > 9000\n",
    ),
    "a silent drill is fine": ("(audit_drill_success) == 0", "(audit_drill_success) == 2"),
    "threshold moved": ("mean1h < 0.5", "mean1h < 0.25"),
    "no region counts as none": (
        "\n          or 0 * sum by (model) (rate(audit_records_total[6h]))",
        "",
    ),
}


def promtool(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *map(str, words)], check=False, capture_output=True, text=True
    )


@needs_promtool
def test_the_rules_are_valid_and_pass_their_tests() -> None:
    assert promtool("check", "rules", RULES / "rules.yml").returncode == 0
    done = promtool("test", "rules", RULES / "rules.test.yml")

    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutated_rule_fails(tmp_path: Path, name: str) -> None:
    before, after = MUTANTS[name]
    rules = (RULES / "rules.yml").read_text()
    assert before in rules
    (tmp_path / "rules.yml").write_text(rules.replace(before, after, 1))
    shutil.copy(RULES / "rules.test.yml", tmp_path)

    assert promtool("check", "rules", tmp_path / "rules.yml").returncode == 0
    assert promtool("test", "rules", tmp_path / "rules.test.yml").returncode != 0


@needs_promtool
def test_the_scrape_configuration_is_valid(tmp_path: Path) -> None:
    shutil.copytree(RULES, tmp_path / "prometheus")

    assert promtool("check", "config", tmp_path / "prometheus/prometheus.yml").returncode == 0


def expressions(board: Mapping[str, Any]) -> list[str]:
    """Every expression of a dashboard's panels, with its variables filled in."""
    found = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return [each.replace("$model", ".*") for each in found]


def annotations() -> set[str]:
    return {each["expr"] for board in DASHBOARDS.values() for each in board["annotations"]["list"]}


def rule_expressions() -> list[str]:
    text = (RULES / "rules.yml").read_text()
    return re.findall(r"record: (\S+)", text)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_whole(name: str) -> None:
    board = DASHBOARDS[name]
    panels = board["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels) >= 6
    assert all(panel["title"] and panel["gridPos"]["w"] <= 24 for panel in panels)
    assert {panel["type"] for panel in panels} <= {"timeseries", "stat", "table"}
    assert all("$" not in each for each in expressions(board))
    assert board["title"].endswith("?"), "one dashboard per question"
    assert board["uid"] == f"rightly-{name}"


def test_there_is_a_dashboard_per_question_and_grafana_finds_it() -> None:
    folder = PROVISIONED["options"]["path"]
    mounted = [each.split(":") for each in COMPOSE["grafana"]["volumes"]]

    assert {"reasons", "drift", "service", "versions"} == set(DASHBOARDS)
    assert ["./grafana/dashboards", folder, "ro"] in mounted
    assert ["./grafana/provisioning", "/etc/grafana/provisioning", "ro"] in mounted
    home = COMPOSE["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert f"{folder}/reasons.json" == home


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_fits_grafanas_own_schema(name: str) -> None:
    """What the schema's types do not know is dropped, so nothing may be missing afterwards."""
    schema = pytest.importorskip("grafana_foundation_sdk.models.dashboard")
    encoder = pytest.importorskip("grafana_foundation_sdk.cog.encoder")
    read = schema.Dashboard.from_json(DASHBOARDS[name])
    kept = json.loads(encoder.JSONEncoder(sort_keys=True).encode(read))

    # The data source's own words for an annotation are its business.
    assert list(lost(DASHBOARDS[name], kept)) == ["annotations.list.0.titleFormat"]


def lost(given: object, kept: object, path: str = "") -> Iterator[str]:
    """What is not the same in `kept`."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            yield from lost(value, kept.get(key, lost), f"{path}.{key}")
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, (value, other) in enumerate(zip(given, kept, strict=True)):
            yield from lost(value, other, f"{path}.{number}")
    elif given != kept:
        yield path.removeprefix(".")


def test_that_the_check_above_can_fail() -> None:
    schema = pytest.importorskip("grafana_foundation_sdk.models.dashboard")
    encoder = pytest.importorskip("grafana_foundation_sdk.cog.encoder")
    wrong = {"title": "a", "pannels": [], "schemaVersion": 39}
    kept = json.loads(encoder.JSONEncoder().encode(schema.Dashboard.from_json(wrong)))

    assert list(lost(wrong, kept)) == ["pannels"]


def exposition(gauges: Gauges) -> bytes:
    return generate_latest(REGISTRY) + generate_latest(gauges.registry)


def filled_gauges() -> Gauges:
    """The auditor's gauges with a watched series that has an alarm."""

    class Nothing:
        def reference(self, _series: object) -> None:
            return None

        def strangeness(self, _model: str, _version: int) -> None:
            return None

    watching = Watching(Promise(), Nothing())
    for number in range(60):
        low = replace(prediction(number), stream="drill", measures={"activation_recall": 0.05})
        watching.answered(low)
    gauges = Gauges()
    gauges.show_series(watching)
    gauges.pending.set(0)
    gauges.drilled.labels("digits").set(time.time())
    gauges.broken.set(0)
    gauges.suspicion.labels("digits", "1", "3").set(0.7)
    return gauges


def moved_versions() -> None:
    """What a worker says while a candidate is on trial."""
    with telemetry.stage("predict"):
        telemetry.ACTIVE.set(1)
    telemetry.VERSION.labels("digits").set(1)
    telemetry.SWAPS.labels("digits", "taken").inc()
    telemetry.SHADOW_DROPPED.labels("digits").inc()
    telemetry.on_trial("digits", 2, "canary", 0.1)
    telemetry.candidate_answered("digits", "canary", "agreed")
    telemetry.candidate_took("digits", "canary", 0.02)


@pytest.fixture(scope="module")
def scraped() -> Iterator[str]:
    """The address of a server with the series of a worker and an auditor, all moving."""
    gauges = filled_gauges()

    class Metrics(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            for _ in range(20):
                telemetry.audited(
                    "digits", "3", "client", {"activation_recall": 0.2, "relevance_mass": 0.3}
                )
            telemetry.RECORDS.labels("digits", "true").inc(20)
            telemetry.PREDICTIONS.labels("digits", "gradcam").inc(20)
            telemetry.answered("/predict", "POST", 200, 0.01)
            moved_versions()
            gauges.flips.labels("digits", "client").observe(0.5)
            gauges.ingested.inc(20)
            gauges.evaluated.set(time.time())
            body = exposition(gauges)
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the tests quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metrics)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def prometheus(scraped: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real Prometheus that scrapes it and evaluates the rules every second."""
    folder = tmp_path_factory.mktemp("prometheus")
    shutil.copy(RULES / "rules.yml", folder)
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        "rule_files: [rules.yml]\n"
        f'scrape_configs: [{{job_name: rightly, static_configs: [{{targets: ["{scraped}"]}}]}}]\n'
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
    yield address
    process.terminate()
    process.wait(20)


def query(address: str, expression: str) -> list[dict]:
    asked = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"http://{address}/api/v1/query?{asked}") as answer:
        reply = json.loads(answer.read())
    assert reply["status"] == "success"
    return reply["data"]["result"]


@needs_prometheus
@pytest.mark.system
def test_every_expression_finds_something_in_a_real_prometheus(prometheus: str) -> None:
    """Every panel, every recorded series; the annotation is only evaluated: nothing changes."""
    panels = [each for board in DASHBOARDS.values() for each in expressions(board)]
    wanted = [*dict.fromkeys(panels), *rule_expressions()]
    deadline, missing = time.monotonic() + 45, wanted
    while missing and time.monotonic() < deadline:
        time.sleep(1)
        try:
            missing = [each for each in missing if not query(prometheus, each)]
        except OSError:  # still starting
            continue
    for each in annotations():
        query(prometheus, each)

    assert [] == missing


@needs_prometheus
@pytest.mark.system
def test_that_a_series_that_is_not_there_finds_nothing(prometheus: str) -> None:
    assert [] == query(prometheus, "rightly_no_such_series")
