"""The pages of retrainings and what they read, over a record that no runner touches."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from audit.outcomes import Outcomes
from services import wiring
from services.console import gates, run, runs
from services.pictures import png
from services.retraining import comparing, reading, recommending
from services.retraining.files import Folder
from services.settings import Settings
from tests.served import MODEL, registry_of_colours
from tests.services.routes.test_retraining_routes import PATH, WISH, Client

CHECK = {
    "rule": "class accuracy",
    "subject": "red",
    "passed": False,
    "difference": {"value": -0.1, "low": -0.2, "high": 0.01, "observations": 60, "level": 0.9},
    "limit": -0.05,
    "reason": "class accuracy of red: -0.100 [-0.200, +0.010]; the lower bound must reach -0.050",
    "levels": [0.9, 0.8],
}
VERDICT = {
    "passed": False,
    "champion": "digits@1",
    "candidate": "digits@2",
    "observations": 60,
    "reasons": [CHECK["reason"]],
    "checks": [CHECK, CHECK | {"rule": "parity", "subject": "", "passed": True, "levels": None,
                               "difference": None, "limit": 1.0, "reason": "parity: <b>fine</b>"}],
}  # fmt: skip
EPOCH = {"epoch": 1, "epochs": 2, "share": 0.5, "terms": {"total": 2.0}, "seconds_left": 3.0}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    registry = registry_of_colours(tmp_path, 40.0, 20.0)
    chosen = Settings(home=tmp_path, registry=registry.root, device="cpu", default_model=MODEL)
    serving = wiring.connect(chosen)
    yield Client(serving)
    serving.pool.close()
    serving.recorder.close()
    serving.retrainings.engine.dispose()


def moved(client: Client, name: str, **change: object) -> None:
    rows = client.serving.retrainings
    found = rows.get(name)
    rows.move(name, expected=(found.status,), now=found.created_at, **change)


RUNG = {"rung": 0, "epochs": 3, "rows": 40, "score": 0.9, "accuracy": 0.95, "flips": 0.02}
TOURNAMENT = [
    {"objective": "rrr", "options": {"weight": 1.0}, "won": True, "rungs": [RUNG]},
    {"objective": "erm", "options": {}, "won": False, "rungs": []},
    {
        "objective": "counterexamples", "options": {"fill": "other"}, "won": False,
        "rungs": [{"rung": 0, "epochs": 3, "rows": 40, "failed": "the loss is nan"}],
    },
]  # fmt: skip


def evaluated(client: Client, status: str = "rejected") -> str:
    """A retraining whose candidate the gate refused, with everything that it leaves."""
    name = client.made()
    here = Folder(client.serving.settings.retrainings / name)
    here.write_json(
        "manifest.json",
        {
            "digest": "sha256:rows",
            "base": {"task": "D1-colour", "rows": 40},
            "units": [0, 0, 1],
            "collected": [
                {
                    "row": "01M80HS6HRPWT473RNTMBT4ZAM",
                    "model": "digits@1",
                    "label": "<i>red</i>",
                    "labelled_by": "ada",
                    "region_by": "",
                    "verdict": "right-reason",
                }
            ],
            "left_out": {"no image kept": 3},
            "quarantined": [{"row": "01M80HS6HRPWT473RNTMBT4ZAN", "reason": "no image kept"}],
        },
    )
    recipe = {"objective": "rrr", "options": {"weight": 1.0}, "training": {"epochs": 2}}
    here.write_json("recipe.json", {**recipe, "weights": ""})
    sides = {
        side: {
            "label": label,
            "probability": 0.9,
            "right": label == "red",
            "relevance_mass": None,
            "activation_recall": 0.5,
            "grid": [[0.0, 1.0]],
        }
        for side, label in (("champion", "blue"), ("candidate", "red"))
    }
    pair = {"why": "mended", "label": "red", "group": "even", "region": False, **sides}
    counts = {"rows": 60, "both": 50, "mended": 8, "broken": 1, "neither": 1}
    here.write_json("comparison.json", {"counts": counts, "pairs": [pair]})
    (here.path / "comparison").mkdir()
    (here.path / "comparison" / "00.png").write_bytes(png.compressed(np.zeros((4, 4, 3), "u1")))
    attempt = here.attempt(1)
    attempt.mkdir()
    lines = [EPOCH, EPOCH | {"epoch": 2, "share": 1.0}]
    (attempt / "progress.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    facts = {"champion": 1, "candidate": 2, "objective": "rrr", "choice": "rows have a region",
             "dataset": "sha256:rows", "rows": {"base": 40, "reviews": 1}, "verdict": VERDICT,
             "tournament": TOURNAMENT, "export_attempt": 1}  # fmt: skip
    moved(client, name, status="running", step="evaluate", attempt=1, facts=facts)
    moved(client, name, status=status, step="ended" if status == "rejected" else "approve")
    return name


def test_no_run_yet_says_what_to_do(client: Client) -> None:
    shown = client.ask("GET", "/runs").text

    assert "No retraining yet" in shown
    assert f"rightly retrain {MODEL}" in shown


def test_a_run_is_listed_with_who_asked_and_links_to_its_page(client: Client) -> None:
    name = client.made()
    shown = client.ask("GET", "/runs").text

    assert f'href="/runs/{name}"' in shown
    assert "waits for the runner" in shown
    assert "an alarm" in shown
    assert f'href="/runs/{name}"' in client.ask("GET", "/").text


@pytest.mark.parametrize("status", ["rejected", "awaiting_approval"])
def test_a_run_page_shows_verdict_data_and_pairs_escaped(client: Client, status: str) -> None:
    name = evaluated(client, status)
    shown = client.ask("GET", f"/runs/{name}").text

    assert "The gate refused version 2" in shown
    assert "−0.200 to +0.010" in shown
    assert "score 0.900 after 3 epochs, 95% right, of which 2% change" in shown
    assert "there was no time" in shown
    assert "the loss is nan" in shown
    told = client.ask("GET", f"/v1/retrainings/{name}").json()
    assert told["tournament"] == TOURNAMENT
    assert "No image kept" in shown
    assert "&lt;i&gt;red&lt;/i&gt;" in shown
    assert "<b>fine</b>" not in shown
    assert ("Approve version 2?" in shown) == (status == "awaiting_approval")
    assert ("by hand" in shown) == (status == "rejected")


def test_a_candidate_on_trial_shows_its_share_and_can_be_withdrawn(client: Client) -> None:
    name = evaluated(client)
    wish = {"version": 2, "phase": "canary", "share": 0.25, "reason": "a try", "actor": "ann"}
    begun = client.ask("POST", f"/v1/models/{MODEL}/rollouts", json=wish)
    shown = client.ask("GET", f"/runs/{name}").text
    said = {"reason": "enough", "actor": "ann"}
    ended = client.ask("POST", f"/v1/models/{MODEL}/withdrawals", json=said)

    assert (202, 200) == (begun.status_code, ended.status_code)
    assert "canary, 25 % of the requests" in shown
    assert "Withdraw version 2?" in shown
    assert "withdrawn by ann, enough" in client.ask("GET", f"/runs/{name}").text


@pytest.mark.parametrize(
    ("step", "facts", "done"),
    [
        ("queued", {}, 0),
        ("train", {}, 1),
        ("canary", {"trial": {"shadow": "went well"}}, 7),
        ("promote", {}, 6),
    ],
)
def test_the_way_shows_how_far_it_has_come(
    client: Client, step: str, facts: dict, done: int
) -> None:
    name = client.made()
    moved(client, name, status="running", step=step, facts=facts)
    shown = run.stages(client.serving.retrainings.get(name))

    assert done == sum(each.place == "done" for each in shown)
    assert (step != "queued") == any(each.place == "now" for each in shown)
    assert ("trial" in facts) == ("canary" in [each.name for each in shown])


def test_an_unknown_run_is_not_found(client: Client) -> None:
    for path in (f"/runs/{'0' * 26}", f"{PATH}/{'0' * 26}/stream"):
        assert 404 == client.ask("GET", path).status_code


def test_what_a_run_leaves_is_read_over_rest(client: Client) -> None:
    name = evaluated(client)
    path = f"{PATH}/{name}"
    data = client.ask("GET", f"{path}/dataset").json()
    pair = client.ask("GET", f"{path}/comparison").json()["pairs"][0]

    assert [1, 2] == [e["epoch"] for e in client.ask("GET", f"{path}/epochs").json()["items"]]
    assert ({"ada": 1}, {"right-reason": 1}, 2) == (
        data["people"],
        data["verdicts"],
        data["locked_units"],
    )
    assert ["no image kept"] == [each["reason"] for each in data["quarantined"]]
    assert ("mended", [[0.0, 1.0]]) == (pair["why"], pair["candidate"]["grid"])
    assert (
        "image/png" == client.ask("GET", f"{path}/comparison/0/image.png").headers["content-type"]
    )
    assert 404 == client.ask("GET", f"{path}/comparison/0/region.png").status_code
    assert 404 == client.ask("GET", f"{path}/comparison/7/image.png").status_code


def test_before_there_is_anything_it_is_not_found(client: Client) -> None:
    path = f"{PATH}/{client.made()}"

    assert [] == client.ask("GET", f"{path}/epochs").json()["items"]
    for name in ("dataset", "comparison"):
        assert 404 == client.ask("GET", f"{path}/{name}").status_code


def test_the_stream_tells_state_epochs_and_end(client: Client) -> None:
    text = client.ask("GET", f"{PATH}/{evaluated(client)}/stream").text
    events = [each.split("\n")[0].removeprefix("event: ") for each in text.strip().split("\n\n")]

    assert ["state", "epoch", "epoch", "end"] == events


def test_a_later_attempt_has_the_last_word_about_an_epoch(client: Client) -> None:
    name = evaluated(client)
    root = client.serving.settings.retrainings
    (root / name / "attempt-2").mkdir()
    again = json.dumps(EPOCH | {"epoch": 2, "terms": {"total": 1.0}})
    (root / name / "attempt-2" / "progress.jsonl").write_text(again + "\n")
    found = client.serving.retrainings
    at = found.get(name).created_at
    found.move(name, expected=("rejected",), attempt=2, now=at)

    assert [2.0, 1.0] == [e["terms"]["total"] for e in reading.epochs(root, found.get(name))]


def test_an_alarm_must_be_there_to_be_answered(client: Client) -> None:
    answer = client.ask("POST", PATH, json=WISH | {"alarm_id": "0" * 26})

    assert 503 == answer.status_code  # no auditor has made a store yet
    assert 422 == client.ask("POST", PATH, json=WISH | {"alarm_id": "../x"}).status_code


def test_refused_rules_stand_first_with_their_figures() -> None:
    (part, rows), (service, _) = gates.table(VERDICT)

    assert ("Right answers", "Service") == (part, service)
    assert ("class red", "0.900", "0.800", "−0.100", "−0.200 to +0.010", "at least −0.050") == (
        rows[0].name, rows[0].champion, rows[0].candidate, rows[0].difference, rows[0].interval,
        rows[0].margin,
    )  # fmt: skip
    assert 90 == gates.level(VERDICT)


def test_a_verdict_without_levels_is_shown_as_it_is() -> None:
    """Retrainings of an earlier version kept differences only."""
    old = {key: value for key, value in CHECK.items() if key != "levels"}

    assert "" == gates.table(VERDICT | {"checks": [old]})[0][1][0].champion


def outcomes(right: list[int]) -> Outcomes:
    labels = np.arange(len(right)) % 3
    decided = np.where(right, labels, (labels + 1) % 3)
    nothing = np.full(len(right), np.nan)
    return Outcomes(
        model="m", dataset="d", classes=("a", "b", "c"), group_names=("g",),
        units=np.arange(len(right)), labels=labels, groups=np.zeros(len(right), np.int64),
        probabilities=np.eye(3)[decided], flip=nothing, recall=nothing, recall_chance=nothing,
        mass=nothing, entropy=nothing,
    )  # fmt: skip


def test_pairs_are_drawn_by_class_and_by_what_changed() -> None:
    draw = np.random.default_rng(3)
    before, after = (draw.integers(0, 2, 60).tolist() for _ in range(2))
    chosen = comparing.choose(outcomes(before), outcomes(after), seed=1)
    everything = [row for rows in chosen.values() for row in rows]

    assert [10, 5, 5] == [len(rows) for rows in chosen.values()]
    assert len(set(everything)) == len(everything)
    assert {0, 1, 2} == {row % 3 for row in chosen["drawn"][:3]}
    assert all(after[row] and not before[row] for row in chosen["mended"])
    assert all(before[row] and not after[row] for row in chosen["broken"])


@pytest.mark.parametrize(
    ("measures", "with_region", "verdicts", "objective", "said"),
    [
        (
            {"reference": {"activation_recall": {"": [0.4, 0.1, 90]}}},
            0,
            {},
            "rrr",
            "the data that",
        ),
        ({}, 12, {}, "rrr", "12 recorded answers"),
        ({}, 0, {"right-reason": 2, "wrong-reason": 1}, "exbl", "2 are reviewed"),
        ({}, 0, {"right-reason": 2}, "auto", "nothing is known yet"),
    ],
)
def test_a_recipe_is_recommended_with_its_reason(
    measures: dict, with_region: int, verdicts: dict, objective: str, said: str
) -> None:
    found = recommending.recommend(measures, with_region=with_region, verdicts=verdicts)

    assert objective == found.objective
    assert said in found.reason


def test_every_status_and_step_has_its_words() -> None:
    from typing import get_args  # noqa: PLC0415 - of this test alone

    from services.retraining.rows import Status  # noqa: PLC0415

    assert set(get_args(Status)) <= runs.STATES.keys()
