"""Publishing a batch of events with pipelined confirms, one event of each object in flight."""

import struct
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import takewhile
from time import monotonic
from typing import Any

from amqp.exceptions import ChannelError, RecoverableConnectionError
from amqp.exceptions import ConnectionError as AMQPConnectionError
from kombu.common import maybe_declare
from kombu.exceptions import EncodeError
from kombu.messaging import Producer

from django_events_sourcing.conf import Settings
from django_events_sourcing.events import Event
from django_events_sourcing.exceptions import EventRefused, PublishError
from django_events_sourcing.outbox.queries import Queued
from django_events_sourcing.tasks.frames import encoded
from django_events_sourcing.tasks.publisher import (
    FRAME_FAULTS,
    PUBLISH_TIMEOUT,
    Messages,
    messages_of,
    publish_error,
)

__all__ = ["Batch", "Outcome", "Pipeline"]

# Note [Whose fault it was]
# RabbitMQ answers a message that it takes offence at by closing the channel, or even the connection. With several in
# flight nobody knows which one it was: those are sent again one by one, first of all, and the one that is alone when
# the channel closes is the culprit. Of the others some may arrive twice, under the same id.
#
# A connection that breaks is no trouble yet: it may have been idle in the pool while RabbitMQ was restarted. Only when
# a second one breaks too, or nothing is confirmed for PUBLISH_TIMEOUT, is the batch given up.

# How long to wait for confirms before looking after the leases, in seconds.
_SLICE = 0.25

# How many bytes to write at a time.
_AT_ONCE = 65_536

# What making a message of an event raises.
_UNPUBLISHABLE = (EncodeError, ValueError, TypeError, struct.error)

# On a channel in confirm mode: the tag of the last message.
_TAG = "_django_events_sourcing_tag"


@dataclass
class Outcome:
    """What became of a batch; what is in none of these is as it was.

    Attributes:
        confirmed: Events whose own confirm came.
        refused: Events that were refused by themselves.
        troubled: Partitions with trouble that is no single event's fault.
    """

    confirmed: list[Queued] = field(default_factory=list)
    refused: list[tuple[Queued, Event, EventRefused]] = field(default_factory=list)
    troubled: dict[int, PublishError] = field(default_factory=dict)


class Batch:
    """Events on their way, and what became of them.

    Args:
        events: The events, with their rows of the queue, in the order of ids.
        may_publish: Asked right before an event is sent; where it says no, the event's object waits.
        sitting_out: Hashes of objects that wait; those that an event of is not confirmed are added.
        while_waiting: Called every so often while confirms are awaited; it may add events.

    Attributes:
        outcome: What became of them.
        left: How many were added that are neither confirmed nor refused.
    """

    def __init__(
        self,
        events: Iterable[tuple[Queued, Event]],
        may_publish: Callable[[Queued], bool],
        sitting_out: set[int],
        while_waiting: Callable[[], None],
    ) -> None:
        self.outcome = Outcome()
        self.while_waiting = while_waiting
        self._may_publish = may_publish
        self._sitting_out = sitting_out
        self.left = 0
        self._by_object: dict[int, deque[tuple[Queued, Event]]] = {}
        self._ready: deque[int] = deque()
        self.add(events)

    def add(self, events: Iterable[tuple[Queued, Event]]) -> None:
        """More events, whose ids are above those of the same objects that are there."""
        for row, event in events:
            waiting = self._by_object.setdefault(row.object_hash, deque())
            if not waiting:
                self._ready.append(row.object_hash)
            waiting.append((row, event))
            self.left += 1

    def next(self) -> tuple[Queued, Event] | None:
        """The next event to send, of an object that has none in flight; None if there is no such event now."""
        while self._ready:
            row, event = self._by_object[self._ready.popleft()][0]
            if row.object_hash in self._sitting_out:
                continue
            if row.partition in self.outcome.troubled or not self._may_publish(row):
                self._sitting_out.add(row.object_hash)
                continue
            return row, event
        return None

    def again(self, rows: list[Queued]) -> None:
        """Have events be sent before all others, of which nobody knows whether they arrived."""
        self._ready.extendleft(row.object_hash for row in reversed(rows))

    def confirm(self, row: Queued) -> None:
        """The event has arrived: its object's next one may go."""
        self.outcome.confirmed.append(row)
        self.left -= 1
        waiting = self._by_object[row.object_hash]
        waiting.popleft()
        if waiting:
            self._ready.append(row.object_hash)
        else:
            del self._by_object[row.object_hash]

    def refuse(self, row: Queued, error: EventRefused) -> None:
        """The event was refused by itself."""
        _, event = self._by_object[row.object_hash][0]
        self.outcome.refused.append((row, event, error))
        self.left -= 1
        self._sitting_out.add(row.object_hash)

    def trouble(self, row: Queued, error: PublishError) -> None:
        """The event could not be sent, for no fault of its own."""
        self.outcome.troubled.setdefault(row.partition, error)
        self._sitting_out.add(row.object_hash)

    def give_up(self, error: PublishError) -> None:
        """Nothing can be sent now."""
        for key, waiting in self._by_object.items():
            if waiting and key not in self._sitting_out:
                self.trouble(waiting[0][0], error)
        self._ready.clear()


class Pipeline:
    """Publishes batches, on the producers of nameko's pool.

    Args:
        settings: As for ``publisher.Messages``, whose errors it raises.
    """

    def __init__(self, settings: Settings) -> None:
        self._messages = messages_of(settings)

    def publish(self, batch: Batch) -> None:
        """Publish what may be published, and have ``batch`` learn what became of each event.

        It returns when nothing is in flight any more; within a minute, if RabbitMQ hangs.
        """
        suspects: list[Queued] = []
        is_new = False
        while True:
            flight = _Flight(batch, self._messages, alone=len(suspects))
            try:
                with self._messages.producer(confirms=False) as producer:
                    flight.run(producer)
                return
            except self._messages.errors as exc:
                unknown = flight.unconfirmed()
                error = publish_error(exc, flight.exchange_name)
                suspects = []
                if not (unknown and _is_over_one_event(exc)):
                    if is_new or isinstance(exc, TimeoutError):
                        batch.give_up(error)
                        return
                    is_new = True
                    batch.again(unknown)
                elif len(unknown) > 1:
                    suspects = unknown
                    batch.again(suspects)
                elif isinstance(error, EventRefused):
                    batch.refuse(unknown[0], error)
                else:
                    batch.trouble(unknown[0], error)


def _connection(producer: Producer) -> Any:
    """amqp's, where it is not closed."""
    connection = producer.channel.connection
    if connection is None or connection.transport is None:
        raise RecoverableConnectionError("the connection is closed already")
    return connection


def _is_over_one_event(exc: BaseException) -> bool:
    if isinstance(exc, AMQPConnectionError):
        return exc.reply_code in FRAME_FAULTS
    return isinstance(exc, ChannelError)


class _Flight:
    """What is on its way over one connection.

    Args:
        batch: The events.
        messages: Makes messages of them.
        alone: How many of the next events to send each by itself.
    """

    def __init__(self, batch: Batch, messages: Messages, alone: int) -> None:
        self._batch = batch
        self._messages = messages
        self._alone = alone
        self._in_flight: dict[int, tuple[Queued, Event]] = {}  # by delivery tag
        self._leaving: Queued | None = None
        self._unsent: list[bytes] = []  # of those in flight
        self._unsent_bytes = 0
        self._returned: dict[str, EventRefused] = {}
        self._declared: set[str] = set()
        self._progress = monotonic()
        self.exchange_name = ""

    def unconfirmed(self) -> list[Queued]:
        """The events of which nobody knows whether they arrived."""
        rows = [row for row, _ in self._in_flight.values()]
        return [*rows, self._leaving] if self._leaving else rows

    def run(self, producer: Producer) -> None:
        """Send until there is nothing left that may be sent, and all confirms have come."""
        channel = producer.channel
        self._confirmed_later = hasattr(channel, "confirm_select")
        if not self._confirmed_later:  # one of kombu's virtual transports, where to have sent is to have arrived
            self._send(producer)
            return
        if _TAG not in vars(channel):
            channel.confirm_select()
            vars(channel)[_TAG] = 0
        listeners = {"basic_ack": self._on_ack, "basic_nack": self._on_nack, "basic_return": self._on_return}
        for name, listener in listeners.items():
            channel.events[name].add(listener)
        try:
            self._send(producer)
            while self._in_flight:
                self._wait(producer)
                self._send(producer)
        finally:
            for name, listener in listeners.items():
                channel.events[name].discard(listener)

    def _send(self, producer: Producer) -> None:
        while not (self._alone and self._in_flight) and (following := self._batch.next()):
            row, event = following
            self._leaving = row
            try:
                self._publish(producer, event, row.replay_to)
            except _UNPUBLISHABLE as exc:
                self._batch.refuse(row, EventRefused(f"it can't be encoded: {type(exc).__name__}: {exc}"))
            else:
                if self._confirmed_later:
                    vars(producer.channel)[_TAG] += 1
                    self._in_flight[vars(producer.channel)[_TAG]] = following
                    self._progress = monotonic()
                else:
                    self._batch.confirm(row)
            self._leaving = None
            if self._unsent_bytes >= _AT_ONCE:
                self._flush(producer)
        self._flush(producer)

    def _publish(self, producer: Producer, event: Event, replay_to: str | None) -> None:
        exchange = self._messages.exchange(event, replay_to)
        if exchange.name not in self._declared:
            self._flush(producer)
            while self._in_flight:  # so that trouble with this exchange is told from theirs
                self._wait(producer)
            self.exchange_name = exchange.name
            maybe_declare(exchange, producer.channel)  # type: ignore[no-untyped-call]
            self._declared.add(exchange.name)
        self.exchange_name = exchange.name
        message = self._messages.arguments(event, replay_to)
        frames = None
        if self._confirmed_later and self._messages.stored_as_is:
            frames = encoded(producer.channel.channel_id, _connection(producer).frame_max, exchange.name, message)
        if frames is None:
            self._flush(producer)
            producer.publish(exchange=exchange, timeout=PUBLISH_TIMEOUT, **message)  # type: ignore[no-untyped-call]
        else:
            self._unsent.append(frames)
            self._unsent_bytes += len(frames)

    def _flush(self, producer: Producer) -> None:
        if self._unsent:
            frames = b"".join(self._unsent)
            self._unsent, self._unsent_bytes = [], 0
            _connection(producer).transport.write(frames)

    def _wait(self, producer: Producer) -> None:
        try:
            producer.connection.drain_events(timeout=_SLICE)
        except TimeoutError:
            if monotonic() - self._progress > PUBLISH_TIMEOUT:
                raise TimeoutError(f"RabbitMQ has confirmed nothing for {PUBLISH_TIMEOUT:g} s") from None
        self._batch.while_waiting()

    def _on_ack(self, tag: int, multiple: bool) -> None:
        for row, event in self._answered(tag, multiple):
            if refusal := self._returned.pop(str(event.id), None):
                self._batch.refuse(row, refusal)
            else:
                self._batch.confirm(row)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        for row, event in self._answered(tag, multiple):
            self._batch.trouble(
                row,
                PublishError(
                    f"RabbitMQ answered {event.name} with a nack: a queue that it goes to is full and rejects what "
                    "comes (x-overflow), or the broker is in trouble"
                ),
            )

    def _on_return(self, exc: Exception, exchange: str, _routing_key: str, message: Any) -> None:
        refusal = publish_error(exc, exchange)
        self._returned[message.properties["message_id"]] = EventRefused(str(refusal))

    def _answered(self, tag: int, multiple: bool) -> list[tuple[Queued, Event]]:
        self._progress = monotonic()
        self._alone = max(self._alone - 1, 0)
        tags = list(takewhile(lambda each: each <= tag, self._in_flight)) if multiple else [tag]
        return [self._in_flight.pop(each) for each in tags if each in self._in_flight]
