"""Who learns without the shortcut wins, judged on rows that all have it."""

import json
from dataclasses import asdict, replace
from math import inf, nan
from pathlib import Path

import numpy as np
import pytest

from models import architectures
from models.errors import TrainingError
from models.training.image_sets import ImageSet
from services.retraining import files
from services.retraining.files import Folder
from services.retraining.jobs import child, progress, tournament
from services.retraining.jobs.tournament import Figures, Judged

SPEC = architectures.default_spec("small_cnn", ("dark", "bright"), height=24, width=24)


def figures(accuracy: float, elsewhere: float, **more: float) -> Figures:
    given = dict.fromkeys(("painted", "blurred", "exchanged", "reversed"), elsewhere)
    return Figures(**{"accuracy": accuracy, **given, "flips": 0.1, "calibration": 0.0, **more})


def biased(count: int, seed: int) -> ImageSet:
    """The middle tells the class in most rows; the border, which must not matter, in all."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = draw.integers(60, 140, (count, 24, 24, 3)) + 100 * labels[:, None, None, None]
    middle = draw.integers(60, 140, (count, 12, 12, 3)) + 60 * labels[:, None, None, None]
    images[:, 6:18, 6:18] = middle
    relevant = np.zeros((count, 24, 24), bool)
    relevant[:, 6:18, 6:18] = True
    names = tuple(f"{seed}/{number}" for number in range(count))
    return ImageSet(
        images.astype(np.uint8), labels.astype(np.int64), SPEC.classes, names, relevant=relevant
    )


def asked(here: Folder, *objectives: tuple[str, dict], minutes: float = 10.0) -> Folder:
    training = {"epochs": 12, "batch_size": 8, "learning_rate": 3e-3, "criterion": "last"}
    common = {"good": "", "bad": "", "teacher": None, "weights": ""}
    entrants = [{"objective": name, "options": given, **common} for name, given in objectives]
    here.write_json("recipe.json", {
        "spec": asdict(SPEC), "objective": "rrr", "options": {"weight": 1.0}, **common,
        "training": training, "begins_with": "", "champion_weights": "-",
        "tournament": {"minutes": minutes, "entrants": entrants},
    })  # fmt: skip
    here.write_set("training", biased(96, 1))
    here.write_set("validation", biased(40, 2))
    return here


def test_who_does_not_need_the_shortcut_wins_and_learns_in_full(tmp_path: Path) -> None:
    other = ("counterexamples", {"fill": "other"})
    here = asked(Folder(tmp_path), ("erm", {}), other, ("nonsense", {}))

    assert child._train(here, 1, lambda: False) == 0
    held, recipe = here.read_json(files.TOURNAMENT), here.read_json("recipe.json")
    erm, counter, failed = held["entrants"]

    assert (recipe["objective"], recipe["options"]) == other
    assert "tournament" not in recipe
    assert [each["won"] for each in held["entrants"]] == [False, True, False]
    assert counter["rungs"][-1]["flips"] < 0.3 < erm["rungs"][0]["flips"]
    assert erm["rungs"][0]["accuracy"] > 0.9
    assert "nonsense" in failed["rungs"][0]["failed"]
    assert "of ERM" in held["reason"]
    lines = progress.lines(here.attempt(1) / progress.FILE)
    assert [each["epoch"] for each in lines] == [*range(1, 13)]
    assert progress.lines(here.attempt(1) / progress.TOURNAMENT)  # it was seen to move


def test_without_time_the_ranking_decides(tmp_path: Path) -> None:
    here = asked(Folder(tmp_path), ("erm", {}), minutes=0.0)
    assert child._train(here, 1, lambda: False) == 0

    assert here.read_json("recipe.json")["objective"] == "rrr"
    assert "the ranking decides" in here.read_json(files.TOURNAMENT)["reason"]


def test_a_tournament_that_is_stopped_decides_nothing(tmp_path: Path) -> None:
    here = asked(Folder(tmp_path), ("erm", {}))
    stopped = 75

    assert child._train(here, 1, lambda: True) == stopped
    assert "tournament" in here.read_json("recipe.json")
    assert not (tmp_path / files.TOURNAMENT).exists()


def test_the_better_half_learns_longer() -> None:
    scores = [0.5, 0.9, 0.7, 0.8, 0.6]
    asked_for: list[tuple[int, int]] = []

    def learn(entrant: int, epochs: int) -> Figures:
        asked_for.append((entrant, epochs))
        if entrant == 4:
            raise TrainingError("it cannot")
        return figures(scores[entrant], scores[entrant])

    judged = tournament.hold(5, (2, 4), learn, rows=10, told=lambda _: None)

    assert asked_for == [(0, 2), (1, 2), (2, 2), (3, 2), (4, 2), (1, 4), (2, 4), (3, 4)]
    assert tournament.winner(judged) == 1
    assert [each.failed for each in judged if each.entrant == 4] == ["it cannot"]
    # Taken up again, nothing is judged twice.
    asked_for.clear()
    again = tournament.hold(5, (2, 4), learn, known=judged[:6], rows=10, told=lambda _: None)
    assert (asked_for, again) == ([(2, 4), (3, 4)], judged)


def test_rungs_are_shares_of_the_epochs_with_updates_enough() -> None:
    assert tournament.lengths(20, 100) == [5, 10]
    assert tournament.lengths(20, 10) == [15, 20]
    assert tournament.lengths(1, 1) == [1, 1]


def test_an_interrupted_rung_counts_only_with_the_best_of_the_one_before() -> None:
    first = [Judged(n, 0, 2, 10, figures(s, s)) for n, s in enumerate((0.5, 0.9, 0.8))]

    assert tournament.winner([*first, Judged(2, 1, 4, 10, figures(0.99, 0.99))]) == 1
    assert tournament.winner([*first, Judged(1, 1, 4, 10, figures(0.95, 0.95))]) == 1
    assert tournament.winner([Judged(0, 0, 2, 10, None, "no")]) is None
    assert Judged(0, 0, 2, 10, None, "no").score == -inf


def test_erm_wins_where_nothing_else_is_better() -> None:
    judged = [Judged(0, 0, 2, 10, figures(0.9, 0.9)), Judged(1, 0, 2, 10, figures(0.6, 0.6))]
    won = tournament.winner(judged)
    entrants = [
        {"objective": "erm", "options": {}},
        {"objective": "rrr", "options": {"weight": 1}},
    ]

    assert won == 0
    assert tournament.reason(entrants, judged, won).startswith("erm won among 2 ways to learn")


def test_figures_are_plain_and_what_is_undefined_is_null() -> None:
    shown = Judged(0, 0, 2, 10, figures(0.9, 0.8, reversed=nan)).to_json()

    assert json.loads(json.dumps(shown))["reversed"] is None
    assert shown["score"] == pytest.approx((0.9 + 3 * 0.8) / 4, abs=1e-4)
    assert figures(0.9, 0.8, calibration=0.2).score < figures(0.9, 0.8).score


def test_only_rows_with_a_mask_are_judged_and_large_sets_are_cut() -> None:
    rows = biased(6, 0)
    marked = replace(rows, annotated=np.array([True, False] * 3))

    assert len(tournament.masked(marked)) == 3
    assert len(tournament.subset(rows)) == 6
    assert len(tournament.subset(rows.take(np.arange(6).repeat(400)))) == 2000
