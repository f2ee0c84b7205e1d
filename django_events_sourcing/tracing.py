"""Traces in the form of W3C's Trace Context, by OpenTelemetry's API; where that isn't installed there are none."""

from collections.abc import Mapping
from typing import Any

try:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    _propagator: Any = None
else:
    _propagator = TraceContextTextMapPropagator()

__all__ = ["TRACE_CONTEXT", "context_of", "trace_context"]

#: The names that W3C's Trace Context gives to what names a span: https://www.w3.org/TR/trace-context/
TRACE_CONTEXT = ("traceparent", "tracestate")


def trace_context(context: Any = None) -> dict[str, str]:
    """A span, by ``TRACE_CONTEXT``; empty outside of any.

    Args:
        context: OpenTelemetry's, which the span is in; None for that of this thread or task.
    """
    carrier: dict[str, str] = {}
    if _propagator is not None:
        _propagator.inject(carrier, context)
    return carrier


def context_of(headers: Mapping[str, Any]) -> Any:
    """OpenTelemetry's, whose API must be there, with the span that is named by ``TRACE_CONTEXT``, if one is.

    Args:
        headers: An event's.
    """
    carried = {key: headers[key] for key in TRACE_CONTEXT if isinstance(headers.get(key), str)}
    return _propagator.extract(carried, Context())
