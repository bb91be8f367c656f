"""Spans of a request: what it waited for and where its time went.

Off unless an address of a collector is set, or log lines need trace ids; then each request is one
trace, continued from the caller's `traceparent`, with the spans queue, decode, predict, explain,
record and ship below it. The present span is kept apart from OpenTelemetry's own context, where
BentoML keeps spans of its own that nobody samples.

References:
    W3C Trace Context, Recommendation 2021-11-23, https://www.w3.org/TR/trace-context/.
"""

import contextvars
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:  # half a tenth of a second, for whoever has asked for it
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

Result = TypeVar("Result")
Value = str | int | float | bool | Sequence[str]
NAME: Final = "rightly"
_FIRST_ERROR: Final = 500


@dataclass(frozen=True, slots=True)
class _Present:
    """The span that new ones are children of, and the request's own."""

    span: "Span"
    request: "Span"


@dataclass(slots=True)
class _Started:
    """What `start` made; None before."""

    tracer: "Tracer | None" = None
    provider: "TracerProvider | None" = None


_STARTED: Final = _Started()
_PRESENT: Final = contextvars.ContextVar[_Present | None]("rightly-span", default=None)


def start(address: str, *, ids: bool = False, exporter: "SpanExporter | None" = None) -> None:
    """Begin to trace this process's requests, if anybody wants to know.

    Args:
        address: Of a collector that speaks OTLP over HTTP, for example http://localhost:4318;
            "" sends nothing anywhere.
        ids: Whether requests get trace ids even so, for log lines.
        exporter: Takes the spans instead of the collector.
    """
    if not (address or ids or exporter):
        return
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415  # as above
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider(resource=Resource({"service.name": NAME}), shutdown_on_exit=False)
    if exporter is None and address:
        exporter = _collector(address)
    if exporter is not None:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    _STARTED.provider, _STARTED.tracer = provider, provider.get_tracer(NAME)


def stop() -> None:
    """Send what is left, and trace no more."""
    if _STARTED.provider is not None:
        _STARTED.provider.shutdown()
    _STARTED.provider = _STARTED.tracer = None


@contextmanager
def request(method: str, headers: Iterable[tuple[bytes, bytes]]) -> Iterator[None]:
    """Trace a request while the block runs; `finished` says what became of it."""
    if _STARTED.tracer is None:
        yield
        return
    from opentelemetry.trace import SpanKind  # noqa: PLC0415  # loaded already
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
        TraceContextTextMapPropagator,
    )

    names = (b"traceparent", b"tracestate")
    carrier = {key.decode(): value.decode("latin-1") for key, value in headers if key in names}
    from opentelemetry.context import Context  # noqa: PLC0415

    caller = TraceContextTextMapPropagator().extract(carrier, context=Context())
    span = _STARTED.tracer.start_span(method, context=caller, kind=SpanKind.SERVER)
    token = _PRESENT.set(_Present(span, span))
    try:
        yield
    finally:
        _PRESENT.reset(token)
        span.end()


def finished(method: str, route: str | None, status: int) -> None:
    """Say what the present request was and how it was answered."""
    present = _PRESENT.get()
    if present is None:
        return
    from opentelemetry.trace import StatusCode  # noqa: PLC0415  # loaded already

    present.request.update_name(f"{method} {route or '(unknown)'}")
    tell({"http.request.method": method, "http.route": route or "", "http.status_code": status})
    if status >= _FIRST_ERROR:
        present.request.set_status(StatusCode.ERROR)


def tell(attributes: dict[str, Value]) -> None:
    """Write attributes on the present request's span."""
    present = _PRESENT.get()
    if present is not None:
        present.request.set_attributes(attributes)


@contextmanager
def span(name: str) -> Iterator[None]:
    """Trace the block as a span below the present one; nothing outside of a request."""
    end = begin(name, enter=True)
    try:
        yield
    finally:
        end()


def begin(name: str, *, enter: bool = False) -> Callable[[], None]:
    """Begin a span below the present one; return what ends it, from whichever thread.

    Args:
        name: Of the span.
        enter: Whether spans that begin in this context from now on are below it.
    """
    present = _PRESENT.get()
    if present is None or _STARTED.tracer is None:
        return _nothing
    from opentelemetry.context import Context  # noqa: PLC0415  # loaded already
    from opentelemetry.trace import set_span_in_context  # noqa: PLC0415

    made = _STARTED.tracer.start_span(name, context=set_span_in_context(present.span, Context()))
    if not enter:
        return made.end
    token = _PRESENT.set(_Present(made, present.request))

    def end() -> None:
        _PRESENT.reset(token)
        made.end()

    return end


def carried(work: Callable[[], Result]) -> Callable[[], Result]:
    """Return `work` as another thread must run it, so that its spans belong to this request."""
    if _PRESENT.get() is None:
        return work
    context = contextvars.copy_context()
    return lambda: context.run(work)


def identifiers() -> tuple[str, str] | None:
    """Return the present trace and span ids, in hexadecimal as W3C writes them."""
    present = _PRESENT.get()
    if present is None:
        return None
    found = present.span.get_span_context()
    return f"{found.trace_id:032x}", f"{found.span_id:016x}"


def _nothing() -> None:
    """End what never began."""


def _collector(address: str) -> "SpanExporter":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415  # an extra
        OTLPSpanExporter,
    )

    return OTLPSpanExporter(endpoint=f"{address.rstrip('/')}/v1/traces")
