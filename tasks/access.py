"""What RabbitMQ lets this project do: tried, so that nobody else notices."""

# Note [A message that is always refused]
# Whether a user may write to an exchange, and by which names, RabbitMQ says only to who publishes. It looks at that
# first, and at the message's properties afterwards (rabbit_channel.erl, basic.publish): one whose `expiration` is no
# number is refused in any case, and gets into no queue.

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from time import monotonic, sleep

from amqp.basic_message import Message
from amqp.exceptions import AccessRefused, PreconditionFailed
from kombu.messaging import Producer

from django_events_sourcing.conf import Settings
from django_events_sourcing.exceptions import PublishError
from django_events_sourcing.tasks.errors import is_over_its_name, publish_error
from django_events_sourcing.tasks.messages import messages_of
from django_events_sourcing.tasks.rabbitmq import PUBLISH_TIMEOUT, rabbitmq_of

__all__ = ["TemporaryQueue", "server_version", "temporary_queue", "try_to_publish"]

# Between two looks into a queue, in seconds.
_POLL = 0.002


def server_version(settings: Settings) -> str:
    """Connect to RabbitMQ; returns its version, empty where it doesn't say.

    Raises:
        ConfigurationError: As ``rabbitmq_of``.
        PublishError: It can't be reached. The text says where that was, and what to do.
    """
    with _producer(settings) as producer:
        properties = getattr(producer.connection.connection, "server_properties", {})
        return str(properties.get("version", ""))


def try_to_publish(settings: Settings, service: str, names: Collection[str]) -> list[PublishError]:
    """Declare a service's exchange, as a worker does before the first event, and try to publish by these names.

    Nothing is published: see Note [A message that is always refused].

    Args:
        settings: As for ``RabbitMQ`` and ``Messages``, whose errors it raises.
        service: The service.
        names: Names of its events.

    Returns:
        Of each name that may not be used, why.

    Raises:
        PublishError: RabbitMQ can't be reached, the exchange can't be declared, or nothing may be published there.
    """
    exchange = messages_of(settings).exchange_of(service)
    problems: list[PublishError] = []
    with _producer(settings, exchange.name) as producer:
        exchange(producer.channel).declare()  # type: ignore[no-untyped-call]
        for name in names:
            try:
                _publish_in_vain(producer, exchange.name, name)
            except AccessRefused as exc:
                if not is_over_its_name(exc):
                    raise
                problems.append(publish_error(exc, exchange.name))
    return problems


def _publish_in_vain(producer: Producer, exchange: str, name: str) -> None:
    """Have RabbitMQ refuse a message.

    Raises:
        amqp.exceptions.AMQPError: It does so, but not because of the message.
    """
    channel = producer.connection.channel()  # the refusal closes it
    channel.basic_publish(Message("", expiration="never"), exchange, name)
    try:
        producer.connection.drain_events(timeout=PUBLISH_TIMEOUT)
    except PreconditionFailed as exc:
        if "expiration" not in str(exc):
            raise


class TemporaryQueue:
    """A queue of one's own, which nothing is bound to: it gets what is sent to it by name.

    Args:
        producer: On its channel the queue was made.
        name: The queue's.
    """

    def __init__(self, producer: Producer, name: str) -> None:
        self._channel = producer.channel
        self.name = name

    def wait_for(self, message_id: str, within: float) -> bool:
        """Whether a message of that id arrives within so many seconds."""
        ends = monotonic() + within
        while True:
            message = self._channel.basic_get(self.name, no_ack=True)
            if message is not None and message.properties.get("message_id") == message_id:
                return True
            if message is None:
                if monotonic() >= ends:
                    return False
                sleep(_POLL)


@contextmanager
def temporary_queue(settings: Settings) -> Iterator[TemporaryQueue]:
    """Within it there is a queue that goes with its connection.

    Raises:
        ConfigurationError: As ``rabbitmq_of``.
        PublishError: RabbitMQ can't be reached, or the user may make or read no queue.
    """
    with _producer(settings) as producer:
        name = producer.channel.queue_declare("", exclusive=True, auto_delete=True).queue
        queue = TemporaryQueue(producer, name)
        queue.wait_for("", 0)  # it may not be read
        try:
            yield queue
        finally:
            producer.channel.queue_delete(name)


@contextmanager
def _producer(settings: Settings, exchange: str = "") -> Iterator[Producer]:
    rabbitmq = rabbitmq_of(settings)
    try:
        with rabbitmq.producer(confirms=False) as producer:
            yield producer
    except rabbitmq.errors as exc:
        raise publish_error(exc, exchange) from exc
