"""The promises of the retraining benchmark: each kept once and missed once."""

from types import SimpleNamespace

import pytest


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The benchmark's modules, imported as the script imports them."""
    monkeypatch.syspath_prepend("benchmarks")
    from relearning import tables, targets  # noqa: PLC0415 - importable only with the path above

    return SimpleNamespace(tables=tables, judged=targets.judged)


def cell(
    task: str, method: str, *, tests: dict[str, float], worst: float, **more: float
) -> dict[str, object]:
    judged = {name: {"accuracy": value} for name, value in tests.items()}
    judged["random"] |= {"worst_class": worst, "worst_group": worst}
    return {
        "task": task,
        "method": method,
        "tests": judged,
        "seconds": 1.0,
        "seconds_per_step": 0.1,
        "flip_rate": 0.1,
        **more,
    }


CASES = {
    "A-digits": (
        [("trained without the cue", 0.97, 0.97, 0.9, {}), ("ERM", 0.97, 0.84, 0.5, {})],
        ("RRR", 0.96, 0.96, 0.9, {}),
        ("RRR", 0.96, 0.94, 0.9, {}),
    ),
    "B": (
        [("ERM", 1.0, 0.2, 0.1, {})],
        ("Counterexamples, flat", 0.99, 0.98, 0.96, {}),
        ("Counterexamples, flat", 0.99, 0.98, 0.94, {}),
    ),
    "C": (
        [("ERM", 1.0, 0.2, 0.1, {})],
        ("TEA", 0.986, 0.985, 0.97, {"agreement": 0.99}),
        ("TEA", 0.999, 0.985, 0.97, {"agreement": 0.99}),
    ),
    "D-objects": (
        [("ERM", 0.99, 0.83, 0.66, {})],
        ("RRR", 0.98, 0.95, 0.9, {}),
        ("RRR", 0.96, 0.95, 0.9, {}),
    ),
    "D-isic": (
        [("ERM", 0.7, 0.6, 0.4, {"sticker_effect": 0.10})],
        ("RRR", 0.7, 0.6, 0.4, {"sticker_effect": -0.04}),
        ("RRR", 0.7, 0.6, 0.4, {"sticker_effect": 0.06}),
    ),
}


@pytest.mark.parametrize("task", CASES)
def test_a_promise_names_who_keeps_it_and_is_missed_otherwise(
    parts: SimpleNamespace, task: str
) -> None:
    bases, good, bad = CASES[task]
    for added, keepers in ((good, [good[0]]), (bad, [])):
        cells = [
            cell(task, name, tests={"correlated": told, "random": drawn}, worst=worst, **more)
            for name, told, drawn, worst, more in [*bases, added]
        ]
        ((promise, found),) = parts.judged({task: parts.tables.rows(cells, "random")})

        assert promise.startswith(f"{task}: ")
        assert found == keepers


def test_a_control_keeps_no_promise(parts: SimpleNamespace) -> None:
    tests = {"correlated": 0.99, "random": 0.99}
    cells = [
        cell("B", name, tests=tests, worst=0.98)
        for name in ("ERM", "ERM, decay 1", "RRR, displaced masks", "RRR, no masks", "GroupDRO")
    ]
    ((_, keepers),) = parts.judged({"B": parts.tables.rows(cells, "random")})

    assert keepers == []


def test_a_smaller_effect_is_not_bought_with_answers_in_exchanged_surroundings(
    parts: SimpleNamespace,
) -> None:
    cells = [
        cell("D-isic", "ERM", tests={"correlated": 0.7, "random": 0.5}, worst=0.1,
             sticker_effect=0.3),
        cell("D-isic", "RRR", tests={"correlated": 0.7, "random": 0.49}, worst=0.1,
             sticker_effect=0.0),
    ]  # fmt: skip
    ((_, keepers),) = parts.judged({"D-isic": parts.tables.rows(cells, "random")})

    assert keepers == []


def test_a_network_that_always_says_the_same_keeps_no_promise(parts: SimpleNamespace) -> None:
    cells = [
        cell("D-isic", "ERM", tests={"correlated": 0.56, "random": 0.5}, worst=0.1,
             sticker_effect=0.3),
        cell("D-isic", "RRR", tests={"correlated": 0.52, "random": 0.52}, worst=0.0,
             sticker_effect=0.0),
    ]  # fmt: skip
    ((_, keepers),) = parts.judged({"D-isic": parts.tables.rows(cells, "random")})

    assert keepers == []
