"""Spans of OpenTelemetry's for what is published: one for each attempt.

Their names and attributes are those of its conventions for RabbitMQ, as ``OTEL_SEMCONV_STABILITY_OPT_IN`` asks for:
without it those of version 1.24, which instrumentations go on with until newer ones are stable; for ``messaging`` the
newer ones; for ``messaging/dup`` both. https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/
"""

# Note [What a message carries of its trace]
# The context of the span that saved, unchanged, so that whoever handles the event goes on in that trace, a worker
# without a tracer in between or not. The span of the attempt has a link to it: it may come days later, and again. As a
# child (``PUBLISH_SPAN``) it stands between the two, so that the message carries its own context; as it does where the
# save was in no span. Its kind is PRODUCER in any case, as its counterpart's is CONSUMER.
#
# What the project has its tracer do is no reason not to publish: its errors are logged.

import logging
import os
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType, TracebackType
from typing import Any, Self

from kombu.connection import Connection

from django_events_sourcing import __version__
from django_events_sourcing.conf import Settings
from django_events_sourcing.events import Event
from django_events_sourcing.logs import log_once
from django_events_sourcing.texts import without_passwords
from django_events_sourcing.tracing import context_of, trace_context

try:
    from opentelemetry import trace
    from opentelemetry.context import Context
except ImportError:
    _has_api = False
else:
    _has_api = True

__all__ = ["PublishSpan", "PublishSpans"]

logger = logging.getLogger(__name__)


class PublishSpan:
    """Of an attempt to publish an event; as a context manager it ends with the error that leaves it.

    Args:
        span: OpenTelemetry's; None for none.
        context: As the attribute.

    Attributes:
        context: By ``TRACE_CONTEXT``, what the message carries in place of what the event has; mostly nothing.
    """

    def __init__(self, span: Any = None, context: Mapping[str, str] = MappingProxyType({})) -> None:
        self._span = span
        self.context = context

    def end(self, error: BaseException | None = None) -> None:
        """It is confirmed; or it failed."""
        if self._span is None:
            return
        try:
            if error is not None:
                self._span.set_attribute("error.type", _full_name(type(error)))
                self._span.set_status(trace.Status(trace.StatusCode.ERROR, without_passwords(error)))
            self._span.end()
        except Exception as exc:  # noqa: BLE001 - whatever it is, the event is published
            _log_trouble(exc)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.end(error)


_NO_SPAN = PublishSpan()


class PublishSpans:
    """Begins spans, if this process has a tracer.

    Args:
        settings: For ``PUBLISH_SPAN``.
    """

    def __init__(self, settings: Settings) -> None:
        self._tracer = _tracer()
        self._is_child = settings.publish_span == "child"
        self._opt_in = os.environ.get("OTEL_SEMCONV_STABILITY_OPT_IN", "")

    def begin(self, connection: Connection, event: Event, exchange: str, routing_key: str) -> PublishSpan:
        """The span of an attempt that begins now.

        Args:
            connection: The one that is published over.
            event: What is published.
            exchange: The exchange's name; empty for RabbitMQ's own.
            routing_key: By which it is published.
        """
        if self._tracer is None:
            return _NO_SPAN
        try:
            return self._begin(connection, event, exchange, routing_key)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the event is published
            _log_trouble(exc)
            return _NO_SPAN

    def _begin(self, connection: Connection, event: Event, exchange: str, routing_key: str) -> PublishSpan:
        saving = context_of(event.headers)
        saving_context = trace.get_current_span(saving).get_span_context()
        is_linked = saving_context.is_valid and not self._is_child
        name, attributes = _described(exchange, routing_key, self._opt_in)
        span = self._tracer.start_span(
            name,
            context=saving if saving_context.is_valid and self._is_child else None,
            kind=trace.SpanKind.PRODUCER,
            attributes={
                **attributes,
                "messaging.message.id": str(event.id),
                "server.address": connection.hostname,
                "server.port": connection.port,
            },
            links=[trace.Link(saving_context)] if is_linked else [],
        )
        return PublishSpan(span, {} if is_linked else trace_context(trace.set_span_in_context(span, Context())))


def _tracer() -> Any:
    """That of the project's tracer provider, if it has set one by now."""
    provider = trace.get_tracer_provider() if _has_api else None
    if provider is None or isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return None
    return _tracer_of(provider)


@lru_cache(maxsize=1)
def _tracer_of(provider: Any) -> Any:
    return provider.get_tracer("django_events_sourcing", __version__)


@lru_cache
def _described(exchange: str, routing_key: str, opt_in: str) -> tuple[str, dict[str, str]]:
    """Name and attributes of a span, by the conventions that are opted for."""
    opted = {"messaging", "messaging/dup"}.intersection(each.strip() for each in opt_in.split(","))
    attributes = {"messaging.system": "rabbitmq", "messaging.rabbitmq.destination.routing_key": routing_key}
    if opted != {"messaging"}:
        name, attributes["messaging.destination.name"] = f"{exchange or routing_key} publish", exchange
        attributes["messaging.operation"] = "publish"
    if opted:
        destination = f"{exchange}:{routing_key}" if exchange else routing_key
        name, attributes["messaging.destination.name"] = f"publish {destination}", destination
        attributes |= {"messaging.operation.name": "publish", "messaging.operation.type": "send"}
    return name, attributes


def _full_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _log_trouble(exc: Exception) -> None:
    problem = f"Events are published without spans: the tracer failed. {type(exc).__name__}: {exc}"
    log_once(logger, logging.WARNING, ("tracer", type(exc).__name__), problem)
