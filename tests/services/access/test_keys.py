"""API keys: shown once, kept as digests, counted at once."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from services.access.keys import Keys
from services.access.principals import Role
from services.access.returning import safe
from services.access.throttle import MOST_ADDRESSES, Throttle
from services.commands import cli
from services.errors import ConflictError, RequestError

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture
def keys(tmp_path) -> Keys:
    return Keys(tmp_path / "keys.json")


def test_a_key_is_kept_nowhere_and_found_by_its_digest(keys) -> None:
    made = keys.add("ada", Role.REVIEWER, now=NOW)
    text = keys.path.read_text()
    held = keys.held(made)

    assert made.split("_", 2)[2] not in text
    assert held is not None
    assert ("ada", "reviewer") == (held.name, held.role)
    assert 0o600 == stat.S_IMODE(keys.path.stat().st_mode)


def test_another_worker_sees_what_was_added_and_revoked(keys) -> None:
    other = Keys(keys.path)
    assert other.held("rightly_000000000000_" + "A" * 43) is None
    made = keys.add("ada", Role.VIEWER, now=NOW)
    assert other.held(made) is not None
    keys.revoke(made.split("_")[1], now=NOW)

    assert other.held(made) is None
    assert ["2026-11-22T00:00:00.000000Z"] == [each.revoked_at for each in other.everything()]


def test_keys_made_at_the_same_time_are_all_there(keys) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: keys.add(f"p{n}", Role.VIEWER, now=NOW), range(24)))

    assert {f"p{n}" for n in range(24)} == {keys.held(each).name for each in made}


@pytest.mark.parametrize("name", ["", " ", " ada", "a\nb", "a\0b", "x" * 129])
def test_a_name_that_cannot_stand_in_the_trail_is_refused(keys, name) -> None:
    with pytest.raises(RequestError, match="1 to 128"):
        keys.add(name, Role.VIEWER, now=NOW)


def test_a_key_is_revoked_once(keys) -> None:
    made = keys.add("ada", Role.VIEWER, now=NOW).split("_")[1]
    keys.revoke(made, now=NOW)

    with pytest.raises(ConflictError, match="was revoked"):
        keys.revoke(made, now=NOW)
    with pytest.raises(RequestError, match="no key"):
        keys.revoke("none", now=NOW)


def test_the_commands_add_list_and_revoke(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("RIGHTLY_HOME", str(tmp_path))
    run = CliRunner().invoke
    assert "no key yet" in run(cli.app, ["keys", "list"]).output
    made = run(cli.app, ["keys", "add", "ada", "--role", "approver"]).stdout.strip()
    listed = json.loads(run(cli.app, ["keys", "list", "--json"]).stdout)
    ended = run(cli.app, ["keys", "revoke", made.split("_")[1]])

    assert [("ada", "approver", "")] == [(k["name"], k["role"], k["revoked_at"]) for k in listed]
    assert made.split("_", 2)[2] not in json.dumps(listed)
    assert 0 == ended.exit_code
    assert Keys(tmp_path / "keys.json").held(made) is None
    assert 1 == run(cli.app, ["keys", "add", "eve", "--role", "king"]).exit_code


def test_a_window_slides_and_memory_is_bounded() -> None:
    throttle = Throttle(most=3, seconds=10.0)

    assert [None, None, None, 7.0] == [throttle.failed("a", float(now)) for now in range(4)]
    assert throttle.failed("b", 3.0) is None
    assert throttle.failed("a", 10.5) is None
    for number in range(MOST_ADDRESSES + 5):
        throttle.failed(str(number), 11.0)
    assert MOST_ADDRESSES == len(throttle._failures)


@given(st.text(max_size=40))
def test_the_way_back_is_always_a_path_here(target) -> None:
    found = safe(target)

    assert found in {"/", target}
    assert found.startswith("/")
    assert not found.startswith(("//", "/\\"))
