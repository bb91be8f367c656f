"""The guard around applications that behave as BentoML and FastAPI do."""

import asyncio
import json

import pytest
from starlette.responses import JSONResponse, PlainTextResponse

from services.access.principals import LOCAL, Principal, Role
from services.errors import problem
from services.settings import Settings
from services.web import origins
from services.web.guard import Application, Bounds, Guard, Message

BOUNDS = Bounds(body_bytes=1000, body_seconds=0.2, queue=2)


async def reads_all(scope, receive, send) -> None:
    """Answers the length of the body."""
    length, more = 0, True
    while more:
        message = await receive()
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    await PlainTextResponse(str(length))(scope, receive, send)


async def swallows(scope, receive, send) -> None:
    """Turns every error into its own 500, as BentoML does."""
    try:
        await reads_all(scope, receive, send)
    except Exception:  # noqa: BLE001 - that is what it does
        await JSONResponse({"error": "hidden"}, 500)(scope, receive, send)


def answering(response) -> Application:
    async def application(scope, receive, send) -> None:
        await response(scope, receive, send)

    return application


async def never(_scope, _receive, _send) -> None:
    raise AssertionError("this application should not have been reached")


async def ask(
    guard, path="/", *, method="POST", chunks=(b"",), headers=(), pause=0.0
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Return status, headers and body."""
    sent, waiting = [], list(chunks)

    async def receive() -> Message:
        if not waiting:
            await asyncio.sleep(3600)
        await asyncio.sleep(pause)
        chunk = waiting.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(waiting)}

    async def send(message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
    await guard(scope, receive, send)
    starts = [each for each in sent if each["type"] == "http.response.start"]
    assert len(starts) == 1
    body = b"".join(each.get("body", b"") for each in sent)
    return starts[0]["status"], dict(starts[0]["headers"]), body


def guarded(rest=never, native=never, bounds=BOUNDS) -> Guard:
    return Guard(
        native,
        frozenset({"/predict"}),
        rest,
        bounds,
        door=lambda _: LOCAL,
        dress=lambda _, answer: answer,
    )


def test_known_paths_go_to_bentoml_and_all_others_to_rest() -> None:
    guard = guarded(answering(PlainTextResponse("rest")), answering(PlainTextResponse("native")))

    assert asyncio.run(ask(guard, "/predict"))[2] == b"native"
    assert asyncio.run(ask(guard, "/predict/"))[2] == b"rest"
    assert asyncio.run(ask(guard, "/metrics/../predict"))[2] == b"rest"


@pytest.mark.parametrize("application", [reads_all, swallows])
@pytest.mark.parametrize("chunks", [[b"x" * 1001], [b"x" * 600, b"x" * 600], [b"x"] * 1001])
def test_a_body_over_the_limit_is_413_however_it_comes(application, chunks) -> None:
    status, headers, body = asyncio.run(ask(guarded(application), chunks=chunks))

    assert (413, 413) == (status, json.loads(body)["status"])
    assert headers[b"content-type"] == b"application/problem+json"


def test_a_body_at_the_limit_passes() -> None:
    assert asyncio.run(ask(guarded(reads_all), chunks=[b"x" * 400, b"x" * 600]))[2] == b"1000"


@pytest.mark.parametrize("length", [b"1001", b"99999999999999999999", b"-1", b"many", b"1_0"])
def test_a_length_that_is_too_large_or_nonsense_is_413_before_the_body(length) -> None:
    status, _, _ = asyncio.run(ask(guarded(), headers=[(b"content-length", length)]))

    assert status == 413


@pytest.mark.parametrize("application", [reads_all, swallows])
def test_a_body_that_does_not_arrive_is_408(application) -> None:
    status, _, body = asyncio.run(ask(guarded(application), chunks=[b"x"] * 9, pause=0.04))

    assert status == 408
    assert "0.2 seconds" in json.loads(body)["detail"]


def test_more_requests_than_the_queue_holds_are_429_at_once() -> None:
    async def crowd() -> tuple:
        gate = asyncio.Event()

        async def waits(scope, receive, send) -> None:
            await gate.wait()
            await PlainTextResponse("done")(scope, receive, send)

        guard = guarded(waits)
        first = [asyncio.create_task(ask(guard)) for _ in range(2)]
        await asyncio.sleep(0)
        refused = await ask(guard)
        reading = asyncio.create_task(ask(guard, method="GET"))
        await asyncio.sleep(0)
        gate.set()
        answered = await asyncio.gather(*first, reading)
        return refused, answered, await ask(guard)

    refused, answered, later = asyncio.run(crowd())

    assert refused[0] == 429
    assert b"retry-after" in refused[1]
    assert [200, 200, 200] == [each[0] for each in answered]
    assert later[0] == 200


@pytest.mark.parametrize(
    ("response", "status", "detail"),
    [
        (JSONResponse([{"error": "a list"}], 409), 409, "a list"),
        (JSONResponse({"error": "an object"}, 503), 503, "an object"),
        (PlainTextResponse("Method Not Allowed", 405), 405, "Method Not Allowed"),
        (PlainTextResponse("", 500), 500, "Internal Server Error"),
        (JSONResponse("neither", 400), 400, '"neither"'),
        (
            JSONResponse(
                {"error": "1 error", "detail": [{"loc": ["top_k"], "msg": "too small"}]}, 400
            ),
            422,
            "top_k: too small",
        ),
    ],
)
def test_every_error_becomes_a_problem(response, status, detail) -> None:
    got, headers, body = asyncio.run(ask(guarded(answering(response))))

    assert (status, detail) == (got, json.loads(body)["detail"])
    assert headers[b"content-type"] == b"application/problem+json"
    assert int(headers[b"content-length"]) == len(body)


def test_a_problem_stays_as_it_is() -> None:
    response = problem(429, "wait", headers={"Retry-After": "7"})
    _, headers, body = asyncio.run(ask(guarded(answering(response))))

    assert body == response.body
    assert headers[b"retry-after"] == b"7"


def test_other_headers_of_an_error_are_kept() -> None:
    response = PlainTextResponse("no", 405, {"allow": "POST"})

    assert asyncio.run(ask(guarded(answering(response))))[1][b"allow"] == b"POST"


def test_an_accident_is_raised_again_for_the_log_and_frees_its_place() -> None:
    async def breaks(_scope, _receive, _send) -> None:
        raise ZeroDivisionError

    async def twice() -> None:
        guard = guarded(breaks)
        for _ in range(BOUNDS.queue + 1):
            with pytest.raises(ZeroDivisionError):
                await ask(guard)

    asyncio.run(twice())


def test_web_sockets_are_closed() -> None:
    sent = []

    async def send(message) -> None:
        sent.append(message["type"])

    asyncio.run(guarded()({"type": "websocket", "path": "/"}, never, send))

    assert ["websocket.close"] == sent


def test_put_and_post_alike_go_through_the_queue() -> None:
    async def run() -> list[int]:
        waiting = asyncio.Event()

        async def slow(scope, receive, send) -> None:
            await waiting.wait()
            await reads_all(scope, receive, send)

        guard = guarded(rest=slow, bounds=Bounds(body_bytes=1000, body_seconds=5.0, queue=2))
        asked = [asyncio.create_task(ask(guard, method=each)) for each in ("PUT", "POST")]
        await asyncio.sleep(0.01)
        refused = [(await ask(guard, method=each))[0] for each in ("PUT", "POST")]
        waiting.set()
        return refused + [(await each)[0] for each in asked]

    assert [429, 429, 200, 200] == asyncio.run(run())


def test_no_caller_takes_every_slot() -> None:
    """Of 32 slots two are for others; a second caller is let in where the first is refused."""

    async def run() -> tuple[list[int], int]:
        waiting = asyncio.Event()

        async def slow(scope, receive, send) -> None:
            await waiting.wait()
            await reads_all(scope, receive, send)

        people = {each: Principal(str(each), Role.CLIENT, "key") for each in (b"a", b"b")}
        guard = Guard(
            never,
            frozenset(),
            slow,
            Bounds(body_bytes=1000, body_seconds=5.0, queue=32),
            door=lambda scope: people[dict(scope["headers"])[b"who"]],
            dress=lambda _, answer: answer,
        )
        first = [asyncio.create_task(ask(guard, headers=[(b"who", b"a")])) for _ in range(32)]
        await asyncio.sleep(0.05)
        other = asyncio.create_task(ask(guard, headers=[(b"who", b"b")]))
        await asyncio.sleep(0.05)
        waiting.set()
        return sorted([(await each)[0] for each in first]), (await other)[0]

    assert ([200] * 30 + [429] * 2, 200) == asyncio.run(run())


def test_a_name_that_is_not_ours_is_refused() -> None:
    guard = Guard(
        never,
        frozenset(),
        reads_all,
        BOUNDS,
        door=lambda _: LOCAL,
        dress=lambda _, answer: answer,
        welcome=origins.welcome(Settings(hosts="rightly.example")),
    )

    async def status(host: bytes) -> int:
        return (await ask(guard, headers=[(b"host", host)]))[0]

    assert asyncio.run(status(b"localhost:3000")) == 200
    assert asyncio.run(status(b"evil.example:3000")) == 421
