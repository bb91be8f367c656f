"""What readyz and the overview tell of faults that are really there."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from services import clock
from services.answering.health import FOLLOWED_WITHIN
from services.records.presence import Showing
from tests import stores
from tests.guarded import BROWSER, Site, site
from tests.served import MODEL


@pytest.fixture
def healthy(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        stores.make(made.serving.settings.store, tmp_path).ledger.engine.dispose()
        for name in ("auditor", "runner"):
            Showing(tmp_path, name).show({}, now=clock.now())
        made.serving.champions.refresh()
        yield made


def told(made: Site) -> list[str]:
    reply = made.ask("GET", "/readyz")
    assert reply.status_code == 200, reply.text
    return [each["kind"] for each in reply.json()["troubles"]]


def test_a_whole_installation_has_no_troubles(healthy: Site) -> None:
    assert [] == told(healthy)
    assert 'role="alert"' not in healthy.ask("GET", "/overview/models", headers=BROWSER).text


def test_a_worker_that_cannot_write_or_follow_is_not_ready_until_it_can(
    healthy: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = healthy.serving.settings.journal
    journal.rmdir() if journal.exists() else None
    journal.write_bytes(b"a file where the folder belongs")
    body = {"actor": "ann", "reason": "a test", "version": 2}
    healthy.ask("POST", f"/v1/models/{MODEL}/promotions", json=body)
    reply = healthy.ask("GET", "/readyz")
    assert 503 == reply.status_code
    assert "cannot be written down" in reply.json()["detail"]
    assert "1" == reply.headers["retry-after"]
    journal.unlink()
    assert [] == told(healthy)

    stopped = clock.now() - FOLLOWED_WITHIN - timedelta(seconds=9)
    monkeypatch.setattr(healthy.serving.champions, "_followed", stopped)
    reply = healthy.ask("GET", "/readyz")
    assert 503 == reply.status_code
    assert "promotions and rollbacks do not arrive" in reply.json()["detail"]


def test_a_corrupt_pointer_and_what_fails_beside_the_gateway_are_told(healthy: Site) -> None:
    (healthy.serving.registry.root / MODEL / "champion.json").write_bytes(b"{")
    healthy.serving.champions.refresh()
    home = healthy.serving.settings.home
    Showing(home, "auditor").show({"source w1": "altered"}, now=clock.now())
    Showing(home, "runner").show({"the trial of m": "no plan"}, now=clock.now())

    assert ["version", "journal", "runner"] == told(healthy)
    text = healthy.ask("GET", "/readyz").text
    assert str(home) not in text  # whoever asks needs no key


def test_an_unreachable_store_is_503_and_none_yet_is_404(tmp_path: Path) -> None:
    unknown = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
    with site(tmp_path) as made:
        assert 404 == made.ask("GET", f"/v1/predictions/{unknown}").status_code
        made.serving.store.close()
        (tmp_path / "audit.db").write_bytes(b"no database at all" * 500)
        reply = made.ask("GET", f"/v1/predictions/{unknown}")
        assert (503, "1") == (reply.status_code, reply.headers["retry-after"])
        assert "the audit store does not answer" in reply.json()["detail"]
        assert "store" in told(made)

        page = made.ask("GET", "/", headers=BROWSER)
        assert 200 == page.status_code
        assert "The audit store does not answer" in page.text
        assert "Nobody watches" in page.text
