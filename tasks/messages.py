"""Events as the messages that nameko's event dispatcher would publish."""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from kombu.entity import Exchange
from nameko import serialization
from nameko.constants import PERSISTENT
from nameko.exceptions import ConfigurationError as NamekoConfigurationError
from nameko.standalone.events import get_event_exchange

from django_events_sourcing.conf import Settings
from django_events_sourcing.events import Event
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.tracing import TRACE_CONTEXT

__all__ = ["Messages", "messages_of"]

# RabbitMQ's default exchange, which takes a message to the queue that the routing key names.
_NO_EXCHANGE = Exchange("", type="direct")  # type: ignore[no-untyped-call]


class Messages:
    """Makes messages of events.

    Args:
        settings: For ``NAMEKO_CONFIG``, honoured whole, and ``MANDATORY``.

    Attributes:
        mandatory: Whether an event that no queue takes is a failure.
        stored_as_is: Whether the text of an event's body is published as it stands in the log.

    Raises:
        ConfigurationError: nameko's serializer can't be found.
    """

    def __init__(self, settings: Settings) -> None:
        self._config = config = settings.nameko_config
        self.mandatory = settings.mandatory
        try:
            self._serializer, _ = serialization.setup(config)
        except (NamekoConfigurationError, ImportError) as exc:
            raise ConfigurationError(f"NAMEKO_CONFIG's 'serializer' or 'SERIALIZERS': {exc}") from exc
        self.stored_as_is = self._serializer == "json" and "json" not in config.get("SERIALIZERS", {})
        self._exchanges: dict[str, Exchange] = {}

    def exchange(self, event: Event, replay_to: str | None = None) -> Exchange:
        """The exchange that the event is published to: RabbitMQ's own, if it is replayed to one queue."""
        return _NO_EXCHANGE if replay_to else self.exchange_of(event.service)

    def exchange_of(self, service: str) -> Exchange:
        """The exchange that all events of the service are published to."""
        exchange = self._exchanges.get(service)
        if exchange is None:
            exchange = self._exchanges[service] = get_event_exchange(service, self._config)
        return exchange

    def arguments(
        self, event: Event, replay_to: str | None = None, trace: Mapping[str, str] = MappingProxyType({})
    ) -> dict[str, Any]:
        """What kombu's ``Producer.publish`` takes beside the exchange.

        Args:
            event: The event.
            replay_to: None, or if it is replayed: the name of the only queue it is for, or empty.
            trace: By ``TRACE_CONTEXT``, what it carries in place of what the event has.
        """
        if self.stored_as_is:
            body = {"body": event.body, "content_type": "application/json", "content_encoding": "utf-8"}
        else:
            body = {"body": event.data, "serializer": self._serializer}
        # Whether or not it is a failure, what no queue takes is to be known of.
        way = {"routing_key": self.routing_key(event, replay_to), "mandatory": True}
        return {**way, **body, **_properties(event, trace, is_replayed=replay_to is not None)}

    @staticmethod
    def routing_key(event: Event, replay_to: str | None = None) -> str:
        """What the event is routed by: its name, or the queue that it is replayed to."""
        return replay_to or event.name


@lru_cache(maxsize=1)
def messages_of(settings: Settings) -> Messages:
    """Those of the settings; raises as ``Messages``."""
    return Messages(settings)


def _properties(event: Event, trace: Mapping[str, str], *, is_replayed: bool) -> dict[str, Any]:
    event_id = str(event.id)
    context = {
        **event.headers,
        **trace,
        "call_id_stack": [*event.headers.get("call_id_stack", ()), f"{event.service}.{event.name}.{event_id}"],
        "event_id": event_id,
        "event_time": event.time.isoformat(),
        "event_object": event.object,
    }
    if event.sequence is not None:
        context["event_sequence"] = event.sequence
    if is_replayed:
        context["event_replayed"] = True
    return {
        "message_id": event_id,
        "type": event.name,
        "app_id": event.service,
        "timestamp": int(event.time.timestamp()),
        "delivery_mode": PERSISTENT,
        "headers": {
            **{f"nameko.{key}": value for key, value in context.items()},
            **{key: context[key] for key in TRACE_CONTEXT if key in context},  # where other readers look for it
        },
    }
