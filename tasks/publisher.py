"""Publishing to RabbitMQ, on the parts that nameko's standalone event dispatcher is made of."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from amqp.exceptions import AMQPError, ChannelError, MessageNacked, NotFound, PreconditionFailed, ResourceLocked
from amqp.exceptions import ConnectionError as AMQPConnectionError
from kombu.connection import Connection
from kombu.entity import Exchange
from kombu.exceptions import EncodeError, KombuError
from kombu.messaging import Producer
from kombu.pools import producers
from nameko import serialization
from nameko.constants import PERSISTENT
from nameko.exceptions import ConfigurationError as NamekoConfigurationError
from nameko.standalone.events import get_event_exchange

from django_events_sourcing.conf import Settings
from django_events_sourcing.events import Event
from django_events_sourcing.exceptions import ConfigurationError, EventRefused, PublishError
from django_events_sourcing.uris import uri_problem

__all__ = [
    "FRAME_FAULTS",
    "PUBLISH_TIMEOUT",
    "Messages",
    "event_dispatcher",
    "has_queue",
    "messages_of",
    "publish_error",
]

#: How long RabbitMQ may take to answer, in seconds: suspended, or with a memory or disk alarm, it never does.
PUBLISH_TIMEOUT = 10.0

# kombu's own retries are off: waiting is ours (``retry``), and the retry connects anew.
_ONE_ATTEMPT = {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0}

#: Codes by which RabbitMQ closes a connection over what one frame held: FRAME_ERROR, SYNTAX_ERROR, COMMAND_INVALID,
#: UNEXPECTED_FRAME.
FRAME_FAULTS = frozenset({501, 502, 503, 505})

_EXCHANGE_DECLARE = (40, 10)
_BASIC_PUBLISH = (60, 40)
_NO_ROUTE = 312


# RabbitMQ's default exchange, which takes a message to the queue that the routing key names.
_NO_EXCHANGE = Exchange("", type="direct")  # type: ignore[no-untyped-call]


class Messages:
    """Events as nameko's event dispatcher would publish them.

    Args:
        settings: For ``NAMEKO_CONFIG``, honoured whole, and ``MANDATORY``.

    Raises:
        ConfigurationError: The AMQP URI is not set or malformed, or nameko's serializer can't be found.
    """

    def __init__(self, settings: Settings) -> None:
        # A frame that raises holds no configuration: pages and trackers of errors show its variables.
        if problem := uri_problem(settings.nameko_config.get("AMQP_URI")):
            raise ConfigurationError(f"AMQP_URI or NAMEKO_CONFIG['AMQP_URI'] {problem}.")
        self._config = config = settings.nameko_config
        self._mandatory = settings.mandatory
        try:
            self._serializer, _ = serialization.setup(config)
        except (NamekoConfigurationError, ImportError) as exc:
            raise ConfigurationError(f"NAMEKO_CONFIG's 'serializer' or 'SERIALIZERS': {exc}") from exc
        #: Whether the text of an event's body is published as it stands in the log.
        self.stored_as_is = self._serializer == "json" and "json" not in config.get("SERIALIZERS", {})
        self._exchanges: dict[str, Exchange] = {}
        self._connections = {confirms: _connection(config, confirms=confirms) for confirms in (False, True)}
        connection = self._connections[True]
        #: What publishing raises when the broker or the way to it is in trouble; with a virtual transport, its own too.
        self.errors: tuple[type[Exception], ...] = (
            *(AMQPError, KombuError, MessageNacked, OSError),
            *connection.connection_errors,
            *connection.channel_errors,
        )

    def exchange(self, event: Event, replay_to: str | None = None) -> Exchange:
        """The exchange that the event is published to: RabbitMQ's own, if it is replayed to one queue."""
        if replay_to:
            return _NO_EXCHANGE
        exchange = self._exchanges.get(event.service)
        if exchange is None:
            exchange = self._exchanges[event.service] = get_event_exchange(event.service, self._config)
        return exchange

    def arguments(self, event: Event, replay_to: str | None = None) -> dict[str, Any]:
        """What kombu's ``Producer.publish`` takes beside the exchange.

        Args:
            event: The event.
            replay_to: None, or if it is replayed: the name of the only queue it is for, or empty.
        """
        if self.stored_as_is:
            body = {"body": event.body, "content_type": "application/json", "content_encoding": "utf-8"}
        else:
            body = {"body": event.data, "serializer": self._serializer}
        way = {"routing_key": replay_to or event.name, "mandatory": bool(replay_to) or self._mandatory}
        return {**way, **body, **_properties(event, is_replayed=replay_to is not None)}

    @contextmanager
    def producer(self, *, confirms: bool) -> Iterator[Producer]:
        """A connected producer of nameko's pool, none of whose waits is unbounded.

        Args:
            confirms: Whether each ``publish`` waits for its confirm.
        """
        with producers[self._connections[confirms]].acquire(block=True) as producer:
            connection = producer.connection
            try:
                connection.ensure_connection(**_ONE_ATTEMPT)
                if connection.transport.driver_type == "amqp":
                    # amqp has no timeout for the answers to opening a channel and declaring; its read_timeout is
                    # ignored there (it goes on reading).
                    connection.connection.transport.sock.settimeout(PUBLISH_TIMEOUT)
                yield producer
            except BaseException:
                connection.collect()  # in what state it is nobody knows, and the pool would give it to the next event
                raise


def _connection(config: Mapping[str, Any], *, confirms: bool) -> Connection:
    """What nameko's ``get_producer`` makes anew for each message, and asks its pools by."""
    options = {**_ONE_ATTEMPT, **config.get("TRANSPORT_OPTIONS", {}), "confirm_publish": confirms}
    return Connection(  # type: ignore[no-untyped-call]
        config["AMQP_URI"],
        transport_options=options,
        ssl=config.get("AMQP_SSL"),
        login_method=config.get("LOGIN_METHOD"),
    )


@lru_cache(maxsize=1)
def messages_of(settings: Settings) -> Messages:
    """Those of the settings; raises as ``Messages``."""
    return Messages(settings)


def event_dispatcher(settings: Settings) -> Callable[[Event], None]:
    """nameko's standalone event dispatcher, for events of ours.

    It publishes what ``nameko.standalone.events.event_dispatcher`` would, on the same pooled producers, with publisher
    confirms. That one itself won't do: it takes no ``TRANSPORT_OPTIONS``, declares no exchange, so that the first event
    of all is lost, and waits for a hung RabbitMQ for ever.

    Args:
        settings: As for ``Messages``, whose errors it raises.

    Returns:
        A function that publishes an event and returns when the broker has confirmed it. It raises ``EventRefused`` if
        the broker refused this event by itself, else ``PublishError``; within a minute, if the broker hangs.
    """
    messages = messages_of(settings)

    def dispatch(event: Event) -> None:
        exchange = messages.exchange(event)
        try:
            with messages.producer(confirms=True) as producer:
                producer.publish(  # type: ignore[no-untyped-call]
                    exchange=exchange,
                    declare=[exchange],
                    timeout=PUBLISH_TIMEOUT,
                    confirm_timeout=PUBLISH_TIMEOUT,
                    **messages.arguments(event),
                )
        except messages.errors as exc:
            raise publish_error(exc, exchange.name) from exc

    return dispatch


def has_queue(settings: Settings, name: str) -> bool:
    """Whether RabbitMQ has a queue of that name.

    Raises:
        ConfigurationError: As ``Messages``.
        PublishError: RabbitMQ can't be asked.
    """
    messages = messages_of(settings)
    try:
        with messages.producer(confirms=False) as producer:
            producer.channel.queue_declare(name, passive=True)
    except NotFound:
        return False
    except ResourceLocked:  # it is some connection's own
        return True
    except messages.errors as exc:
        raise PublishError(f"RabbitMQ can't be asked for the queue {name!r}. {type(exc).__name__}: {exc}") from exc
    return True


def _properties(event: Event, *, is_replayed: bool) -> dict[str, Any]:
    event_id = str(event.id)
    context = {
        **event.headers,
        "call_id_stack": [f"{event.service}.{event.name}.{event_id}"],
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
        "headers": {f"nameko.{key}": value for key, value in context.items()},
    }


def publish_error(exc: Exception, exchange: str) -> PublishError:
    """What ``exc`` means: ``EventRefused`` if it is the event's own fault.

    Args:
        exc: What amqp or kombu raised while one event was on its way to the exchange named ``exchange``.
        exchange: Its name.
    """
    if own_fault := _own_fault(exc, exchange):
        return EventRefused(own_fault)
    if isinstance(exc, NotFound):
        return PublishError(
            f"{exc}: RabbitMQ has no exchange {exchange}. Without DECLARE_EVENT_EXCHANGES = False in NAMEKO_CONFIG it "
            "is declared before the first event."
        )
    if isinstance(exc, ChannelError) and exc.method_sig == _EXCHANGE_DECLARE:
        return PublishError(
            f"{exc}: the exchange {exchange} could not be declared. If it exists with other arguments, set "
            "AUTO_DELETE_EVENT_EXCHANGES (version 0.8.0 of this library declared it True) or "
            "DECLARE_EVENT_EXCHANGES in NAMEKO_CONFIG, or delete the exchange."
        )
    return PublishError(f"{type(exc).__name__}: {exc}")


def _own_fault(exc: Exception, exchange: str) -> str | None:
    if isinstance(exc, EncodeError):
        return f"NAMEKO_CONFIG['serializer'] can't encode it: {exc}"
    if isinstance(exc, ChannelError) and exc.reply_code == _NO_ROUTE:
        if not exchange:
            return "the queue that it is replayed to does not exist"
        return f"no queue is bound to {exchange} for it, and MANDATORY is set"
    is_too_large = isinstance(exc, PreconditionFailed) and exc.method_sig == _BASIC_PUBLISH
    is_odd_frame = isinstance(exc, AMQPConnectionError) and exc.reply_code in FRAME_FAULTS  # its headers are too long
    return str(exc) if is_too_large or is_odd_frame else None
