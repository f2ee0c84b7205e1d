"""Publishing to RabbitMQ, by nameko's own publisher."""

from collections.abc import Callable
from typing import Any

from amqp.exceptions import AMQPError, ChannelError, MessageNacked, NotFound
from kombu.exceptions import EncodeError, KombuError
from nameko import serialization
from nameko.amqp.publish import Publisher, UndeliverableMessage
from nameko.standalone.events import get_event_exchange

from django_events_sourcing.conf import Settings
from django_events_sourcing.events import Event
from django_events_sourcing.exceptions import ConfigurationError, EventRefused, PublishError

__all__ = ["PUBLISH_TIMEOUT", "event_dispatcher"]

#: How long a confirm may take, in seconds. A suspended RabbitMQ, or one with a memory or disk alarm, sends none.
PUBLISH_TIMEOUT = 10.0

# kombu connects again at once, and once, where a pooled connection has died meanwhile; to wait is our own retry's part.
_RECONNECT = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}

_BASIC_PUBLISH = (60, 40)


def event_dispatcher(settings: Settings) -> Callable[[Event], None]:
    """nameko's standalone event dispatcher, for events of ours.

    ``nameko.standalone.events.event_dispatcher`` itself takes no ``TRANSPORT_OPTIONS``, declares no exchange (so that
    the first event of all is lost) and may wait for ever; the rest is done as there, on nameko's ``Publisher``.

    Args:
        settings: For ``NAMEKO_CONFIG``, honoured whole, and ``MANDATORY``.

    Returns:
        A function that publishes an event and returns when the broker has confirmed it. It raises ``EventRefused`` if
        the broker refused this event by itself, else ``PublishError``; within some 30 seconds, if the broker hangs.

    Raises:
        ConfigurationError: The AMQP URI is not set.
        nameko.exceptions.ConfigurationError: ``NAMEKO_CONFIG["serializer"]`` is unknown.
    """
    config = settings.nameko_config
    if not config.get("AMQP_URI"):
        raise ConfigurationError("Neither AMQP_URI nor NAMEKO_CONFIG['AMQP_URI'] is set.")
    serializer, _ = serialization.setup(config)
    publisher = Publisher(
        config["AMQP_URI"],
        serializer=serializer,
        mandatory=settings.mandatory,
        ssl=config.get("AMQP_SSL"),
        login_method=config.get("LOGIN_METHOD"),
        retry_policy=_RECONNECT,
        timeout=PUBLISH_TIMEOUT,
        confirm_timeout=PUBLISH_TIMEOUT,
    )
    # On the instance: nameko's dict is shared by the class, and its publish() writes into it.
    publisher.transport_options = {**_RECONNECT, **config.get("TRANSPORT_OPTIONS", {})}
    stored_as_is = serializer == "json" and "json" not in config.get("SERIALIZERS", {})

    def dispatch(event: Event) -> None:
        exchange = get_event_exchange(event.service, config)
        body: dict[str, Any] = {"payload": event.data}
        if stored_as_is:
            body = {"payload": event.body, "content_type": "application/json", "content_encoding": "utf-8"}
        try:
            publisher.publish(
                exchange=exchange, routing_key=event.name, declare=[exchange], **body, **_properties(event)
            )
        except (AMQPError, KombuError, MessageNacked, OSError, UndeliverableMessage) as exc:
            raise _publish_error(exc, exchange.name) from exc

    return dispatch


def _properties(event: Event) -> dict[str, Any]:
    context = {
        **event.headers,
        "call_id_stack": [f"{event.service}.{event.name}.{event.id}"],
        "event_id": str(event.id),
        "event_time": event.time.isoformat(),
        "event_object": event.object,
    }
    return {
        "message_id": str(event.id),
        "type": event.name,
        "app_id": event.service,
        "timestamp": int(event.time.timestamp()),
        "headers": {f"nameko.{key}": value for key, value in context.items()},
    }


def _publish_error(exc: Exception, exchange: str) -> PublishError:
    if isinstance(exc, UndeliverableMessage):
        return EventRefused(f"no queue is bound to {exchange} for it, and MANDATORY is set")
    if isinstance(exc, EncodeError):
        return EventRefused(f"NAMEKO_CONFIG['serializer'] can't encode it: {exc}")
    if isinstance(exc, NotFound):
        return PublishError(
            f"{exc}: RabbitMQ has no exchange {exchange}. Without DECLARE_EVENT_EXCHANGES = False in NAMEKO_CONFIG it "
            "is declared before the first event."
        )
    if isinstance(exc, ChannelError):
        if exc.method_sig == _BASIC_PUBLISH:
            return EventRefused(str(exc))
        return PublishError(
            f"{exc}: the exchange {exchange} could not be declared. If it exists with other arguments, set "
            "AUTO_DELETE_EVENT_EXCHANGES (version 0.8.0 of this library declared it True) or DECLARE_EVENT_EXCHANGES "
            "in NAMEKO_CONFIG, or delete the exchange."
        )
    return PublishError(f"{type(exc).__name__}: {exc}")
