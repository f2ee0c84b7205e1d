"""A channel of RabbitMQ's that confirms what is published over it."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from amqp.exceptions import RecoverableConnectionError
from kombu.common import maybe_declare
from kombu.entity import Exchange
from kombu.messaging import Producer

from django_events_sourcing.tasks.frames import encoded
from django_events_sourcing.tasks.rabbitmq import PUBLISH_TIMEOUT

__all__ = ["Channel", "listening"]

# How many bytes to write at a time.
_AT_ONCE = 65_536

# On amqp's channel in confirm mode: the delivery tag of the last message.
_TAG = "_django_events_sourcing_tag"


@contextmanager
def listening(channel: Any, **listeners: Callable[..., None]) -> Iterator[None]:
    """Have functions called for what RabbitMQ sends: ``basic_ack``, ``basic_nack``, ``basic_return``.

    Args:
        channel: kombu's. On its virtual transports nothing is sent.
        listeners: The functions, by what they are for.
    """
    events = getattr(channel, "events", defaultdict(set))
    for name, listener in listeners.items():
        events[name].add(listener)
    try:
        yield
    finally:
        for name, listener in listeners.items():
            events[name].discard(listener)


class Channel:
    """A producer's channel, for one use: messages wait in it until there are many, or ``flush`` is called.

    Args:
        producer: Whose channel it is.

    Attributes:
        connection: The producer's.
        confirms: Whether it does; on kombu's virtual transports, to have published is to have arrived.
    """

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self.connection = producer.connection
        self._channel = producer.channel
        self._buffer: list[bytes] = []
        self._buffered = 0
        self.confirms = hasattr(self._channel, "confirm_select")
        if self.confirms and _TAG not in vars(self._channel):
            self._channel.confirm_select()
            vars(self._channel)[_TAG] = 0

    def declare(self, exchange: Exchange) -> None:
        """Have RabbitMQ make the exchange, where it has none of that name."""
        maybe_declare(exchange, self._channel)  # type: ignore[no-untyped-call]

    def publish(self, exchange: Exchange, message: dict[str, Any], *, as_frames: bool) -> int:
        """Publish a message, soon.

        Args:
            exchange: Where to.
            message: What ``Messages.arguments`` gives.
            as_frames: Whether ``frames`` may make its bytes.

        Returns:
            Its delivery tag, by which it is confirmed; 0 if it will not be.

        Raises:
            EncodeError, ValueError, TypeError, struct.error: No message can be made of it.
        """
        frames = None
        if self.confirms and as_frames:
            frames = encoded(self._channel.channel_id, self._connection().frame_max, exchange.name, message)
        if frames is None:
            self.flush()
            self._producer.publish(exchange=exchange, timeout=PUBLISH_TIMEOUT, **message)  # type: ignore[no-untyped-call]
        else:
            self._buffer.append(frames)
            self._buffered += len(frames)
        if not self.confirms:
            return 0
        vars(self._channel)[_TAG] += 1
        tag: int = vars(self._channel)[_TAG]
        return tag

    def flush_if_full(self) -> None:
        """Write what waits, if it is much."""
        if self._buffered >= _AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._buffer:
            frames = b"".join(self._buffer)
            self._buffer, self._buffered = [], 0
            self._connection().transport.write(frames)

    def wait(self, seconds: float) -> None:
        """Until RabbitMQ sends something.

        Raises:
            TimeoutError: It has not within so many seconds.
        """
        self.connection.drain_events(timeout=seconds)

    def _connection(self) -> Any:
        """amqp's, where it is not closed."""
        connection = self._channel.connection
        if connection is None or connection.transport is None:
            raise RecoverableConnectionError("the connection is closed already")
        return connection
