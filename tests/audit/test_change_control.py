"""The plan is read strictly and refuses what lies outside it, naming the rule."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from audit import change_control
from audit.change_control import DEFAULT, ChangePlan
from audit.errors import OutsidePlanError, PlanError
from audit.policy import PastRequest

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def changed(folder: Path, old: str, new: str) -> Path:
    text = DEFAULT.read_text()
    assert old in text
    path = folder / "plan.toml"
    path.write_text(text.replace(old, new))
    return path


def plan(folder: Path, *changes: tuple[str, str]) -> ChangePlan:
    text = DEFAULT.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "plan.toml"
    path.write_text(text)
    return change_control.load(path)


def test_the_default_plan_can_be_read_and_every_edit_changes_its_digest(tmp_path: Path) -> None:
    default = change_control.load()
    other = change_control.load(changed(tmp_path, 'by = "rule"', 'by = "two"'))

    assert default.digest.startswith("sha256:")
    assert default.digest != other.digest
    assert (default.approval.persons, other.approval.persons) == (0, 2)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('by = "rule"', 'by = "nobody"', "approval.by must be one of rule, one, two"),
        ("accuracy = 0.02", "acuracy = 0.02", "margins: acuracy"),
        ("fewest_annotated = 2 ", "# ", "data: fewest_annotated is missing"),
        ("watch_minutes = 60.0", "watch_minutes = -1", "promotion.watch_minutes"),
        ("recall = 0.02", 'recall = "a little"', "margins.recall must be of type float"),
        ("excess = 0.02", "excess = 7.0", "margin excess is 7.0"),
        ("[frequency]", "[frequencies]", "look at frequencies, frequency"),
        ("teachers = []", 'teachers = ["clean@1"]', "data.teachers is out of range"),
        ("weights = true", "weights = 1", "may_change.weights must be of type bool"),
        ("[data]", "[data", "cannot be read as a change-control plan"),
    ],
)
def test_a_plan_with_a_mistake_is_not_half_read(
    tmp_path: Path, old: str, new: str, named: str
) -> None:
    with pytest.raises(PlanError, match=named.replace("[", r"\[")):
        change_control.load(changed(tmp_path, old, new))


def test_what_the_plan_allows_is_admitted() -> None:
    change_control.load().admit(
        objective="rrr", hyperparameters={"weight": 1.0}, requests=(), now=NOW
    )


@pytest.mark.parametrize(
    ("changes", "request_", "named"),
    [
        ([], {"objective": "isnet"}, "may_change.objective"),
        ([], {"hyperparameters": {"device": "cuda"}}, "may_change.hyperparameters"),
        ([("weights = true", "weights = false")], {}, "may_change.weights"),
        ([("cool_down_hours = 0.0", "cool_down_hours = 24.0")], {}, "until 2026-03-01T23:00"),
        ([("most_per_30_days = 60", "most_per_30_days = 1")], {}, "frequency.most_per_30_days"),
    ],
)
def test_a_request_outside_the_plan_is_refused(
    tmp_path: Path, changes: list[tuple[str, str]], request_: dict, named: str
) -> None:
    asked = {"objective": "rrr", "hyperparameters": {}} | request_
    past = [PastRequest("r1", NOW - timedelta(hours=1), settled=True)]

    with pytest.raises(OutsidePlanError, match=named):
        plan(tmp_path, *changes).admit(requests=past, now=NOW, **asked)


def test_another_network_or_other_classes_are_refused() -> None:
    before = {"architecture": "small_cnn", "head": "linear", "classes": ("a", "b")}
    allowed = change_control.load()

    allowed.admit_classifier(before, dict(before))
    with pytest.raises(OutsidePlanError, match=r"may_change\.architecture"):
        allowed.admit_classifier(before, before | {"architecture": "resnet18"})
    with pytest.raises(OutsidePlanError, match=r"may_change\.classes"):
        allowed.admit_classifier(before, before | {"classes": ("b", "a")})


def test_data_outside_the_plan_are_refused(tmp_path: Path) -> None:
    strict = plan(
        tmp_path, ('sources = ["base", "labels", "regions", "reviews"]', 'sources = ["base"]')
    )
    with pytest.raises(OutsidePlanError, match=r"rows from labels \(data.sources\)"):
        strict.admit_data(sources={"base": 10, "labels": 1}, annotated=10, actors={})

    default = change_control.load()
    default.admit_data(sources={"base": 10}, annotated=10, actors={"ann": 3, "bob": 3})
    with pytest.raises(OutsidePlanError, match=r"data\.fewest_annotated"):
        default.admit_data(sources={"base": 10}, annotated=1, actors={})
    with pytest.raises(OutsidePlanError, match="ann had a hand in 4 of 5 rows"):
        default.admit_data(sources={"regions": 5}, annotated=5, actors={"ann": 4, "bob": 1})


def test_by_default_too_little_evidence_withdraws() -> None:
    plan = change_control.load()

    assert ("withdraw", "withdraw") == (plan.shadow.when_quiet, plan.canary.when_quiet)
    assert plan.shadow.requests * plan.canary.requests > 0


def test_a_plan_may_ask_for_a_person_where_heatmaps_fall(tmp_path) -> None:
    text = change_control.DEFAULT.read_text()
    assert change_control.load().approval.persons_for(conflict=True) == 0
    own = tmp_path / "plan.toml"
    own.write_text(text.replace('when_heatmaps_fall = "rule"', 'when_heatmaps_fall = "one"'))
    approval = change_control.load(own).approval

    assert approval.persons_for(conflict=True) == 1
    assert approval.persons_for(conflict=False) == 0
    own.write_text(
        text.replace('by = "rule"', 'by = "two"').replace(
            'when_heatmaps_fall = "rule"', 'when_heatmaps_fall = "one"'
        )
    )
    assert change_control.load(own).approval.persons_for(conflict=True) == 2


def test_a_plan_without_a_word_about_silence_still_ends_it(tmp_path) -> None:
    """Plans of earlier versions have no such rule."""
    own = tmp_path / "plan.toml"
    text = change_control.DEFAULT.read_text()
    own.write_text("\n".join(e for e in text.splitlines() if "silence_seconds" not in e))
    plan = change_control.load(own)

    assert 0 < plan.shadow.limits.silence_seconds < 3600
    assert 0 < plan.canary.limits.silence_seconds < 3600


def test_a_plan_without_a_word_about_auto_has_a_tournament(tmp_path) -> None:
    text = change_control.DEFAULT.read_text()
    section = text[text.index("[auto]") : text.index("[frequency]")]
    own = tmp_path / "plan.toml"
    own.write_text(text.replace(section, ""))

    assert change_control.load(own).auto.minutes == 10.0
    own.write_text(text.replace("minutes = 10.0", "minutes = -1.0"))
    with pytest.raises(PlanError, match=r"auto\.minutes is out of range"):
        change_control.load(own)
