"""The trace that something happens in, by OpenTelemetry's API; where that isn't installed there is none."""

try:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    _propagator = None
else:
    _propagator = TraceContextTextMapPropagator()

__all__ = ["TRACE_CONTEXT", "trace_context"]

#: The names that W3C's Trace Context gives to what names a span: https://www.w3.org/TR/trace-context/
TRACE_CONTEXT = ("traceparent", "tracestate")


def trace_context() -> dict[str, str]:
    """The span that this thread or task is in, by ``TRACE_CONTEXT``; empty outside of any."""
    carrier: dict[str, str] = {}
    if _propagator is not None:
        _propagator.inject(carrier)
    return carrier
