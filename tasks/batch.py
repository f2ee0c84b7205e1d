"""Events on their way to RabbitMQ, one of each object at a time, and what became of them."""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import time

from django_events_sourcing.events import Event
from django_events_sourcing.exceptions import EventRefused, PublishError
from django_events_sourcing.outbox.queries import Queued
from django_events_sourcing.types import ObjectHash, PartitionNumber

__all__ = ["Batch", "Outcome"]


@dataclass
class Outcome:
    """What became of a batch; what is in none of these is as it was.

    Attributes:
        confirmed: Events that were confirmed, each by itself.
        published: How many these are, by service and name.
        unrouted: How many of them RabbitMQ had no queue for, by service and name.
        delays: For how long each of them was on its way since it was made, in seconds; replays left out.
        refused: Events that were refused by themselves.
        troubled: Partitions with trouble that is no single event's fault.
        given_up: Why nothing more could be sent at all; None if that is not so.
    """

    confirmed: list[Queued] = field(default_factory=list)
    published: Counter[tuple[str, str]] = field(default_factory=Counter)
    unrouted: Counter[tuple[str, str]] = field(default_factory=Counter)
    delays: list[float] = field(default_factory=list)
    refused: list[tuple[Queued, Event, EventRefused]] = field(default_factory=list)
    troubled: dict[PartitionNumber, PublishError] = field(default_factory=dict)
    given_up: PublishError | None = None


class Batch:
    """Events on their way, and what became of them.

    Args:
        events: The events, with their rows of the queue, in the order of ids.
        may_publish: Asked right before an event is sent; where it says no, the event's object waits.
        waiting: The objects that wait; one is added when one of its events is not confirmed.
        while_awaited: Called with the batch every so often while confirms are awaited; it may add events.

    Attributes:
        outcome: What became of them.
        through: Services that an event of was confirmed, over their own exchange.
        forbidden: By service and name, events that may not be sent by their name, and why: the first one was tried.
        left: How many were added that are neither confirmed nor refused.
        bytes_left: How long the bodies are that it holds, in characters.
    """

    def __init__(
        self,
        events: Iterable[tuple[Queued, Event]],
        may_publish: Callable[[Queued], bool],
        waiting: set[str | ObjectHash],
        while_awaited: Callable[["Batch"], None],
    ) -> None:
        self.outcome = Outcome()
        self.through: set[str] = set()
        self.forbidden: dict[tuple[str, str], tuple[PublishError, list[Queued]]] = {}
        self._while_awaited = while_awaited
        self._may_publish = may_publish
        self._waiting = waiting
        self.left = self.bytes_left = 0
        self._by_object: dict[str, deque[tuple[Queued, Event]]] = {}
        self._ready: deque[str] = deque()
        self.add(events)

    def __repr__(self) -> str:
        return (
            f"<Batch: {self.left} events left, {len(self.outcome.confirmed)} confirmed and not settled, "
            f"{len(self.outcome.refused)} refused, {len(self.outcome.troubled)} partitions in trouble>"
        )

    def add(self, events: Iterable[tuple[Queued, Event]]) -> None:
        """More events, whose ids are above those of the same objects that are there."""
        for row, event in events:
            events_of_object = self._by_object.setdefault(row.object, deque())
            if not events_of_object:
                self._ready.append(row.object)
            events_of_object.append((row, event))
            self.left += 1
            self.bytes_left += len(event.body)

    def next(self) -> tuple[Queued, Event] | None:
        """The next event to send, of an object that has none in flight; None if there is no such event now."""
        while self._ready:
            row, event = self._by_object[self._ready.popleft()][0]
            if row.object in self._waiting:
                continue
            if row.replay_to is None and (found := self.forbidden.get((event.service, event.name))):
                found[1].append(row)
                self._waiting.add(row.object)
                continue
            if row.partition in self.outcome.troubled or not self._may_publish(row):
                self._waiting.add(row.object)
                continue
            return row, event
        return None

    def again(self, rows: list[Queued]) -> None:
        """Have events be sent before all others, of which nobody knows whether they arrived."""
        self._ready.extendleft(row.object for row in reversed(rows))

    def tend(self) -> None:
        """Have what is to be done while confirms are awaited be done."""
        self._while_awaited(self)

    def confirm(self, row: Queued, *, is_unrouted: bool = False) -> None:
        """The event has arrived, be it in no queue: its object's next one may go."""
        self.outcome.confirmed.append(row)
        self.left -= 1
        events_of_object = self._by_object[row.object]
        _, event = events_of_object.popleft()
        self.bytes_left -= len(event.body)
        self.outcome.published[event.service, event.name] += 1
        if is_unrouted:
            self.outcome.unrouted[event.service, event.name] += 1
        if row.replay_to is None:
            self.outcome.delays.append(time() - event.time.timestamp())
            self.through.add(event.service)
        if events_of_object:
            self._ready.append(row.object)
        else:
            del self._by_object[row.object]

    def refuse(self, row: Queued, error: EventRefused) -> None:
        """The event was refused by itself."""
        _, event = self._by_object[row.object][0]
        self.outcome.refused.append((row, event, error))
        self.left -= 1
        self._waiting.add(row.object)

    def forbid(self, row: Queued, error: PublishError) -> None:
        """The event may not be sent by its name; whether that is its own fault, others of its service will show."""
        _, event = self._by_object[row.object][0]
        self.forbidden[event.service, event.name] = error, [row]
        self._waiting.add(row.object)

    def trouble(self, row: Queued, error: PublishError) -> None:
        """The event could not be sent, for no fault of its own."""
        self.outcome.troubled.setdefault(row.partition, error)
        self._waiting.add(row.object)

    def give_up(self, error: PublishError) -> None:
        """Nothing can be sent now."""
        self.outcome.given_up = error
        for key, events_of_object in self._by_object.items():
            if events_of_object and key not in self._waiting:
                self.trouble(events_of_object[0][0], error)
        self._ready.clear()
