"""A thousand hostile requests, in parallel, against a real server."""

import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import pytest

from services.pictures.png import compressed
from tests import graphs
from tests.hostile import attacks
from tests.served import MODEL, Reply, resident_bytes

pytestmark = [pytest.mark.system, pytest.mark.slow]

ATTACKS, SEED = 1000, 20261121
PATHS = ("/predict", f"/v1/models/{MODEL}/predictions")


def test_a_thousand_hostile_requests_are_answered_or_refused(server, record_property) -> None:
    """Only 2xx and 4xx, one shape of errors, bounded memory, and the server answers as before."""
    red = compressed(graphs.patch("red"))
    before = server.post_form("/predict", ("image", red)).json()["classes"]
    for attack in attacks(60, SEED + 1):  # so that what is loaded once is not counted as growth
        server.ask("POST", PATHS[0], attack.body, content_type=attack.kind)
    memory = resident_bytes(server)

    def strike(numbered) -> tuple[str, Reply, float]:
        number, attack = numbered
        start = perf_counter()
        reply = server.ask("POST", PATHS[number % 2], attack.body, content_type=attack.kind)
        return attack.name, reply, perf_counter() - start

    with ThreadPoolExecutor(4) as attackers:
        outcomes = list(attackers.map(strike, enumerate(attacks(ATTACKS, SEED))))

    statuses = Counter(reply.status for _, reply, _ in outcomes)
    slowest = max(outcomes, key=lambda each: each[2])
    grown = resident_bytes(server) - memory
    record_property("statuses", dict(statuses))
    record_property("slowest", (slowest[0], round(slowest[2], 3)))
    record_property("grown_bytes", grown)
    figures = f"slowest {slowest[0]} {slowest[2]:.3f} s, {grown / 1e6:.0f} MB more"
    sys.stdout.write(f"{dict(statuses)}, {figures}\n")

    assert [] == [(name, reply) for name, reply, _ in outcomes if not 200 <= reply.status < 500]
    assert [] == [
        (name, reply)
        for name, reply, _ in outcomes
        if reply.status >= 400 and reply.headers["content-type"] != "application/problem+json"
    ]
    assert statuses[200] > 100
    assert grown < 150_000_000
    assert server.process.poll() is None
    assert server.post_form("/predict", ("image", red)).json()["classes"] == before
