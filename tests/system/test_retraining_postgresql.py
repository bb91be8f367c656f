"""The runner with its record and its durable steps on PostgreSQL, killed on the way."""

import tempfile
from pathlib import Path

import pytest
import sqlalchemy as sa

from services.settings import Settings
from tests import stores
from tests.lamps import Loop, champion, plan

pytestmark = [pytest.mark.system, pytest.mark.slow]


def test_a_retraining_goes_on_after_its_runner_was_killed(tmp_path: Path) -> None:
    if (reason := stores.missing_postgresql()) is not None:
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="rightly-pg-") as folder:
        Path(folder).chmod(0o755)
        with stores.postgresql(Path(folder) / "pg") as url:
            champion(tmp_path)
            loop = Loop(
                Settings(
                    home=tmp_path,
                    change_control=plan(tmp_path),
                    recording="off",
                    retraining_store=url,
                    workflow_store=url,
                )
            )
            try:
                loop.ask("r1", epochs=20)
                loop.start()
                loop.until("r1", lambda found: found.step == "train")
                loop.kill()
                loop.start()
                ended = loop.until("r1", lambda found: found.ended, seconds=900.0)
            finally:
                loop.kill()
            with loop.rows.engine.begin() as connection:
                done = connection.execute(
                    sa.text("SELECT status FROM dbos.workflow_status WHERE workflow_uuid = 'r1'")
                ).scalar()
            loop.rows.engine.dispose()

    assert ended.status == "promoted", ended.reason
    assert done in {"SUCCESS", "PENDING"}  # ours is the record; DBOS writes its own a moment later
    assert not (tmp_path / "workflows.db").exists()
    assert not (tmp_path / "retrainings.db").exists()
