"""Publishing one event and waiting for its confirm, as nameko's standalone event dispatcher does."""

from collections.abc import Callable
from time import time
from typing import Any

from amqp.exceptions import NotFound, ResourceLocked
from kombu.entity import Exchange

from django_events_sourcing.conf import Settings
from django_events_sourcing.events import Event
from django_events_sourcing.exceptions import EventRefused, PublishError
from django_events_sourcing.tasks.channel import listening
from django_events_sourcing.tasks.errors import is_over_its_name, may_have_idled, publish_error
from django_events_sourcing.tasks.messages import messages_of
from django_events_sourcing.tasks.rabbitmq import PUBLISH_TIMEOUT, rabbitmq_of
from django_events_sourcing.tasks.spans import PublishSpans
from django_events_sourcing.tasks.tallies import Count, Duration, worker_tallies
from django_events_sourcing.tasks.unrouted import tell_of_unrouted

__all__ = ["event_dispatcher", "has_queue"]


def event_dispatcher(settings: Settings) -> Callable[[Event], None]:
    """nameko's standalone event dispatcher, for events of ours.

    It publishes what ``nameko.standalone.events.event_dispatcher`` would, on the same pooled producers, with publisher
    confirms. That one itself won't do: it takes no ``TRANSPORT_OPTIONS``, declares no exchange, so that the first event
    of all is lost, and waits for a hung RabbitMQ for ever.

    Args:
        settings: As for ``RabbitMQ`` and ``Messages``, whose errors it raises.

    Returns:
        A function that publishes an event and returns when the broker has confirmed it. It raises ``EventRefused`` if
        the broker refused this event by itself, else ``PublishError``; within a minute, if the broker hangs.
    """
    rabbitmq, messages, spans = rabbitmq_of(settings), messages_of(settings), PublishSpans(settings)

    def publish(event: Event, exchange: Exchange) -> None:
        def on_return(exc: Exception, *_message: Any) -> None:
            if messages.mandatory:
                raise exc
            worker_tallies.count_one(Count.UNROUTED, event)
            tell_of_unrouted([(event.service, event.name)])

        with (
            rabbitmq.producer(confirms=True) as producer,
            listening(producer.channel, basic_return=on_return),
            spans.begin(producer.connection, event, exchange.name, messages.routing_key(event)) as span,
        ):
            producer.publish(  # type: ignore[no-untyped-call]
                exchange=exchange,
                declare=[exchange],
                timeout=PUBLISH_TIMEOUT,
                confirm_timeout=PUBLISH_TIMEOUT,
                **messages.arguments(event, trace=span.context),
            )
            span.end()

    def publish_even_if_it_idled(event: Event, exchange: Exchange) -> None:
        try:
            publish(event, exchange)
        except rabbitmq.errors as exc:
            if not may_have_idled(exc):
                raise
            publish(event, exchange)

    def dispatch(event: Event) -> None:
        exchange = messages.exchange(event)
        try:
            publish_even_if_it_idled(event, exchange)
        except rabbitmq.errors as exc:
            error = publish_error(exc, exchange.name)
            if is_over_its_name(exc) and rabbitmq.takes_others(event.service):
                error = EventRefused(str(error))
            raise error from exc
        rabbitmq.note_confirmed([event.service])
        worker_tallies.count_one(Count.PUBLISHED, event)
        worker_tallies.measure(Duration.DELAY, "", [time() - event.time.timestamp()])

    return dispatch


def has_queue(settings: Settings, name: str) -> bool:
    """Whether RabbitMQ has a queue of that name.

    Raises:
        ConfigurationError: As ``RabbitMQ``.
        PublishError: RabbitMQ can't be asked.
    """
    rabbitmq = rabbitmq_of(settings)
    try:
        with rabbitmq.producer(confirms=False) as producer:
            producer.channel.queue_declare(name, passive=True)
    except NotFound:
        return False
    except ResourceLocked:  # it is some connection's own
        return True
    except rabbitmq.errors as exc:
        raise PublishError(f"RabbitMQ cannot be asked for the queue {name!r}. {type(exc).__name__}: {exc}") from exc
    return True
