"""The events of a batch that are on their way over one connection, and the confirms that come for them."""

import struct
from itertools import takewhile
from time import monotonic
from typing import Any, NamedTuple

from kombu.exceptions import EncodeError
from kombu.messaging import Producer

from django_events_sourcing.events import Event
from django_events_sourcing.exceptions import EventRefused, PublishError
from django_events_sourcing.outbox.queries import Queued
from django_events_sourcing.tasks.batch import Batch
from django_events_sourcing.tasks.channel import Channel, listening
from django_events_sourcing.tasks.errors import publish_error
from django_events_sourcing.tasks.messages import Messages
from django_events_sourcing.tasks.rabbitmq import PUBLISH_TIMEOUT
from django_events_sourcing.tasks.spans import PublishSpan, PublishSpans

__all__ = ["Flight"]

# How long to wait for confirms before looking after the leases, in seconds.
_SLICE = 0.25

# What making a message of an event raises.
_UNPUBLISHABLE = (EncodeError, ValueError, TypeError, struct.error)


class _Sent(NamedTuple):
    row: Queued
    event: Event
    span: PublishSpan


class Flight:
    """What is on its way over one connection.

    Args:
        batch: The events.
        messages: Makes messages of them.
        spans: Begins a span for each that is sent.
        one_by_one: How many of the next events to send each by itself.

    Attributes:
        exchange_name: That of the last exchange that something was sent to, or declared.
    """

    def __init__(self, batch: Batch, messages: Messages, spans: PublishSpans, one_by_one: int) -> None:
        self._batch = batch
        self._messages = messages
        self._spans = spans
        self._one_by_one = one_by_one
        self._in_flight: dict[int, _Sent] = {}  # by delivery tag
        self._leaving: Queued | None = None
        self._returned: dict[str, EventRefused] = {}
        self._unrouted: set[str] = set()
        self._declared: set[str] = set()
        self._progress = monotonic()
        self.exchange_name = ""

    def unconfirmed(self) -> list[Queued]:
        """The events of which nobody knows whether they arrived."""
        rows = [sent.row for sent in self._in_flight.values()]
        return [*rows, self._leaving] if self._leaving else rows

    def run(self, producer: Producer) -> None:
        """Send until there is nothing left that may be sent, and all is confirmed."""
        try:
            self._run(producer)
        except BaseException as exc:
            for sent in self._in_flight.values():
                sent.span.end(exc)
            raise

    def _run(self, producer: Producer) -> None:
        channel = Channel(producer)
        if not channel.confirms:
            self._send(channel)
            return
        with listening(
            producer.channel, basic_ack=self._on_ack, basic_nack=self._on_nack, basic_return=self._on_return
        ):
            self._send(channel)
            while self._in_flight:
                self._wait(channel)
                self._send(channel)

    def _send(self, channel: Channel) -> None:
        while not (self._one_by_one and self._in_flight) and (following := self._batch.next()):
            row, event = following
            self._leaving = row
            try:
                tag, span = self._publish(channel, event, row.replay_to)
            except _UNPUBLISHABLE as exc:
                self._batch.refuse(row, EventRefused(f"it cannot be encoded: {type(exc).__name__}: {exc}"))
            else:
                if channel.confirms:
                    self._in_flight[tag] = _Sent(row, event, span)
                    self._progress = monotonic()
                else:
                    span.end()
                    self._batch.confirm(row)
            self._leaving = None
            channel.flush_if_full()
        channel.flush()

    def _publish(self, channel: Channel, event: Event, replay_to: str | None) -> tuple[int, PublishSpan]:
        exchange = self._messages.exchange(event, replay_to)
        if exchange.name not in self._declared:
            channel.flush()
            while self._in_flight:  # so that trouble with this exchange is not taken for theirs
                self._wait(channel)
            self.exchange_name = exchange.name
            channel.declare(exchange)
            self._declared.add(exchange.name)
        self.exchange_name = exchange.name
        routing_key = self._messages.routing_key(event, replay_to)
        with self._spans.begin(channel.connection, event, exchange.name, routing_key) as span:
            message = self._messages.arguments(event, replay_to, span.context)
            return channel.publish(exchange, message, as_frames=self._messages.stored_as_is), span

    def _wait(self, channel: Channel) -> None:
        try:
            channel.wait(_SLICE)
        except TimeoutError:
            if monotonic() - self._progress > PUBLISH_TIMEOUT:
                raise TimeoutError(f"no confirm within {PUBLISH_TIMEOUT:g} s") from None
        self._batch.tend()

    def _on_ack(self, tag: int, multiple: bool) -> None:
        for row, event, span in self._answered(tag, multiple):
            refusal = self._returned.pop(str(event.id), None)
            span.end(refusal)
            if refusal:
                self._batch.refuse(row, refusal)
            else:
                self._batch.confirm(row, is_unrouted=str(event.id) in self._unrouted)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        for row, event, span in self._answered(tag, multiple):
            error = PublishError(
                f"RabbitMQ answered {event.name} with a nack: a queue that it goes to is full and rejects what "
                "comes (x-overflow), or the broker is in trouble"
            )
            span.end(error)
            self._batch.trouble(row, error)

    def _on_return(self, exc: Exception, exchange: str, _routing_key: str, message: Any) -> None:
        event_id = message.properties["message_id"]
        if self._messages.mandatory or not exchange:  # without one it is replayed to one queue
            self._returned[event_id] = EventRefused(str(publish_error(exc, exchange)))
        else:
            self._unrouted.add(event_id)

    def _answered(self, tag: int, multiple: bool) -> list[_Sent]:
        self._progress = monotonic()
        self._one_by_one = max(self._one_by_one - 1, 0)
        tags = list(takewhile(lambda each: each <= tag, self._in_flight)) if multiple else [tag]
        return [self._in_flight.pop(each) for each in tags if each in self._in_flight]
