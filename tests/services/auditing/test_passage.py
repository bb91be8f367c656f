"""A clock that jumps erases nothing, says so, and stops nothing for good."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from audit import records
from audit.canonical import Packed
from audit.store import erasure, queries, tables
from services.auditing.fire_drills import FireDrills
from services.auditing.ingestion import Ingestion
from services.auditing.passage import AWAY, TOLERANCE, Passage
from services.settings import Settings
from tests.auditors import WAITING, answered, drain, intact, make, rows, stream, write
from tests.entries import START, identifier

DAY = timedelta(days=1)
MINUTE = 60.0


@dataclass
class Clocks:
    """An auditor, the time of day, and the seconds since the machine started."""

    folder: Path
    wall: datetime = START
    seconds: float = 1000.0
    work: Ingestion = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        retention = erasure.Retention(images=DAY)
        self.work = make(
            self.folder, retention=retention, plan=WAITING, ticks=lambda: self.seconds
        )
        self.work.prepare(now=self.wall)

    def restart(self) -> None:
        self.work.ledger.engine.dispose()
        self.start()

    def pass_(self, span: timedelta, *, steps: int = 1) -> None:
        """Let time pass, with a step of the auditor now and then."""
        for _ in range(steps):
            self.wall += span / steps
            self.seconds += (span / steps).total_seconds()
            drain(self.work, now=self.wall)

    def jump(self, span: timedelta) -> None:
        self.wall += span
        drain(self.work, now=self.wall)

    @property
    def images(self) -> int:
        return sum(row.image is not None for row in rows(self.work, tables.predictions))

    def jumps(self) -> list[str]:
        with self.work.ledger.engine.begin() as connection:
            found = [event for _, event in queries.replay(connection)]
        actions = [each for each in found if isinstance(each, records.ActionEvent)]
        return [each.details["moved_seconds"] for each in actions if each.action == "clock"]


@pytest.fixture
def clocks(tmp_path) -> Iterator[Clocks]:
    made = Clocks(tmp_path)
    pictured = [replace(each, image=f"{number:064x}") for number, each in enumerate(stream(5))]
    write(tmp_path, *pictured)
    drain(made.work, now=START)
    yield made
    made.work.ledger.engine.dispose()


def test_a_jump_of_400_days_for_six_seconds_erases_nothing(clocks: Clocks) -> None:
    clocks.pass_(timedelta(hours=2), steps=3)
    clocks.jump(400 * DAY)
    clocks.pass_(timedelta(seconds=6), steps=6)
    clocks.jump(-400 * DAY)
    clocks.pass_(timedelta(hours=20), steps=30)

    assert clocks.images == 5
    assert ["34560000", "-34560000"] == clocks.jumps()
    assert intact(clocks.work)


def test_a_start_within_a_jump_erases_nothing(clocks: Clocks) -> None:
    clocks.wall += 400 * DAY
    clocks.restart()
    clocks.pass_(timedelta(hours=2), steps=3)
    clocks.jump(-400 * DAY)
    clocks.pass_(timedelta(hours=2), steps=3)

    assert clocks.images == 5


def test_what_is_old_expires_when_time_has_passed(clocks: Clocks) -> None:
    clocks.pass_(23 * timedelta(hours=1), steps=30)
    assert clocks.images == 5
    clocks.pass_(timedelta(hours=3), steps=30)

    assert clocks.images == 0
    assert [] == clocks.jumps()
    assert intact(clocks.work)


def test_an_auditor_that_was_away_some_days_looks_twice(clocks: Clocks) -> None:
    clocks.wall += 3 * DAY
    clocks.restart()
    clocks.pass_(timedelta(minutes=9), steps=3)
    assert clocks.images == 5
    clocks.pass_(timedelta(minutes=2))

    assert clocks.images == 0


def test_after_a_jump_a_plausible_day_must_pass(clocks: Clocks) -> None:
    clocks.jump(3 * DAY)
    clocks.pass_(timedelta(hours=23), steps=30)
    assert clocks.images == 5
    clocks.pass_(timedelta(hours=2), steps=3)

    assert clocks.images == 0


def test_the_image_itself_goes_when_it_expires(tmp_path) -> None:
    clocks = Clocks(tmp_path)
    address = "cd" * 32
    png = Packed.of(np.frombuffer(b"png", np.uint8), "|u1")
    picture = records.ImageRecord(identifier(1), START, address, png)
    write(tmp_path, picture, answered(1, 0.5, image=address))
    drain(clocks.work, now=START)
    assert clocks.work.images.read(address)
    clocks.pass_(timedelta(days=2), steps=60)

    assert clocks.work.images.read(address) is None
    clocks.work.ledger.engine.dispose()


def test_one_look_expires_a_share_and_the_next_the_rest(clocks: Clocks, monkeypatch) -> None:
    monkeypatch.setattr(erasure, "AT_ONCE", 2)
    clocks.wall += 3 * DAY
    clocks.restart()
    left = []
    for _ in range(4):
        clocks.pass_(timedelta(minutes=61), steps=6)
        left.append(clocks.images)

    assert [3, 1, 0, 0] == left
    reasons = [
        event.reason
        for _, event in queries.replay(clocks.work.ledger.engine.connect())
        if isinstance(event, records.ErasureEvent)
    ]
    assert 3 * ["retention: images"] == reasons


def test_a_share_of_many_expires_at_once(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(erasure, "AT_ONCE", 2)
    monkeypatch.setattr(erasure, "SHARE", 0.5)
    clocks = Clocks(tmp_path)
    write(
        tmp_path,
        *(replace(each, image=f"{number:064x}") for number, each in enumerate(stream(20))),
    )
    drain(clocks.work, now=START)
    clocks.wall += 3 * DAY
    clocks.restart()
    clocks.pass_(timedelta(minutes=11))

    assert clocks.images == 10
    clocks.work.ledger.engine.dispose()


def test_the_policy_looks_again_after_the_clock_went_back(clocks: Clocks) -> None:
    clocks.work._decided = clocks.wall + 400 * DAY
    clocks.pass_(timedelta(seconds=1))

    assert clocks.work._decided == clocks.wall


@pytest.mark.parametrize(
    ("before", "seconds", "trusted"),
    [
        (None, 600.0, True),
        (None, 599.0, False),
        (START - AWAY, 600.0, True),
        (START - AWAY - DAY, 600.0, False),
        (START - AWAY - DAY, 24 * 60 * MINUTE, True),
        (START + TOLERANCE, 600.0, True),
        (START + 2 * TOLERANCE, 600.0, False),
    ],
)
def test_how_long_it_takes_to_be_believed(
    before: datetime | None, seconds: float, *, trusted: bool
) -> None:
    passage = Passage()
    passage.begin(before, START, 50.0)

    assert passage.trusted(50.0 + seconds) is trusted


def test_a_clock_that_is_being_adjusted_has_not_jumped() -> None:
    passage = Passage()
    passage.begin(START, START, 0.0)
    wall, ticks = START, 0.0
    for _ in range(100):
        wall, ticks = wall + timedelta(minutes=61), ticks + 60.5 * MINUTE
        assert passage.look(wall, ticks) is None


def test_a_clock_that_creeps_within_the_hour_has_jumped() -> None:
    passage = Passage()
    passage.begin(START, START, 0.0)
    moved = [
        passage.look(START + timedelta(seconds=50 * number), 10.0 * number)
        for number in range(1, 4)
    ]

    assert [None, timedelta(seconds=80)] == moved[:2]


@pytest.mark.parametrize("hours", [-400 * 24, -1, 23, 25])
def test_a_drill_is_due_although_the_clock_went_back(tmp_path, hours: int) -> None:
    held = START - timedelta(hours=hours)
    drills = FireDrills(
        Settings(home=tmp_path), DAY, START + 400 * DAY, lambda: START, lambda: {"digits": held}
    )
    drills._is_due("digits")  # from here the auditor knows that the clock went back
    drills.now = lambda: START + timedelta(minutes=6)

    assert drills._is_due("digits") is (hours != 23)
