"""Shares of verdicts over all answers, from reviews that were chosen: against the whole truth."""

from datetime import timedelta

import numpy as np
import pytest

from audit import records, report
from audit.report import Span
from tests import entries, stores
from tests.entries import START


def test_weighting_undoes_the_choice(store: stores.Store) -> None:
    rng = np.random.default_rng(5)
    wrong = rng.random(600) < 0.2
    inclusion = np.where(wrong, 0.8, 0.2)  # wrong reasons are chosen four times as often
    stratum = np.where(rng.random(600) < 0.1, "random", "chosen")
    taken = (rng.random(600) < inclusion) | (stratum == "random")
    store.add(*[entries.prediction(number) for number in range(600)])
    store.add(
        *[
            records.ReviewEvent(
                entries.identifier(9000 + number),
                START + timedelta(seconds=number),
                entries.identifier(number),
                "wrong-reason" if wrong[number] else "right-reason",
                "ada",
                stratum=str(stratum[number]),
                inclusion=float(0.1 + 0.9 * inclusion[number]),
            )
            for number in np.flatnonzero(taken).tolist()
        ]
    )
    with store.ledger.engine.begin() as connection:
        found = report.reviewed(connection, Span("digits"))
        none = report.reviewed(connection, Span("digits", version=7))
    by_name = {each.verdict: each for each in found}
    weighted = by_name["wrong-reason"].weighted

    assert [] == none
    assert abs(wrong[taken].mean() - wrong.mean()) > 0.1
    assert weighted.low <= wrong.mean() <= weighted.high
    assert wrong.mean() == pytest.approx(weighted.value, abs=0.05)
    drawn = stratum == "random"
    assert wrong[drawn].mean() == pytest.approx(by_name["wrong-reason"].random.value)
    assert 1.0 == pytest.approx(sum(each.weighted.value for each in found))
