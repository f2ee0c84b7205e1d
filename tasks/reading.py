"""One pass over the leased partitions, read portion by portion. See ``queries``, Note [Why order holds]."""

import math
from collections import Counter
from collections.abc import Collection
from time import monotonic

from django_events_sourcing.events import Event
from django_events_sourcing.logs import Numbers
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.queries import LargeEvent, Portion, Queued
from django_events_sourcing.types import Alias, Microseconds, PartitionNumber

__all__ = ["Reading"]


class Reading:
    """A pass, and how far it has read.

    Args:
        using: Alias of the database.
        partitions: Those to read.
        size: How many events a portion has at most, about.
        most: How many bytes its bodies have at most, if it is more than one event.
        dead_blocks: Whether an object with a dead event waits.
        ends: When to read no more, by ``monotonic``.

    Attributes:
        waiting: The objects, or hashes of some, that wait until the pass is over. Batches add an object when one of its
            events is refused, or meets with trouble.
    """

    def __init__(  # noqa: PLR0913
        self,
        using: Alias,
        partitions: Collection[PartitionNumber],
        size: int,
        most: int,
        *,
        dead_blocks: bool,
        ends: float,
    ) -> None:
        self._using = using
        self._size = self._largest_size = size
        self._most = most
        self._ends = ends
        self._portions = 0
        self._after = dict.fromkeys(partitions, 0)  # of those that have more: the last id that was read
        self._pass = queries.start_pass(using, partitions, self._limit(), most, dead_blocks=dead_blocks)
        self.waiting = set(self._pass.waiting)

    def __repr__(self) -> str:
        return (
            f"<Reading of {self._using!r} up to {self._pass.top}: partitions {Numbers(self._after)} have more; "
            f"{len(self.waiting)} objects wait>"
        )

    @property
    def began(self) -> Microseconds:
        """The database's time when the pass began, in microseconds."""
        return self._pass.now

    @property
    def any_refused(self) -> bool:
        """Whether any event that was pending then had been refused before."""
        return self._pass.any_refused

    @property
    def goes_on(self) -> bool:
        """Whether there is more to read, and time for it."""
        # What a pass reads first is published, however long it took to read.
        return bool(self._after) and (not self._portions or monotonic() < self._ends)

    @property
    def was_all_at_once(self) -> bool:
        """Whether it read so little that nothing new can have come meanwhile."""
        return self._portions <= 1 and not self._after

    def next(self) -> Portion:
        """The next portion, without the objects that wait."""
        limit = self._limit()
        portion = self._pass.first if not self._portions else None
        if portion is None:
            portion = queries.read(self._using, self._pass, self._after, limit, self._most)
        self._portions += 1
        counts = Counter(row.partition for row, _ in portion)
        end = self._end(portion)
        last = {row.partition: row.sequence for row, _ in portion[:end]}
        cut = {row.partition for row, _ in portion[end:]}
        self._after = {
            number: last.get(number, before)
            for number, before in self._after.items()
            if counts[number] == limit or number in cut
        }
        # What was too much this time would be so the next; the database has to look at each of these bodies.
        self._size = min(2 * (end if cut else self._size), self._largest_size)
        portion = [(row, event) for row, event in portion[:end] if not self._waits(row)]
        return queries.complete(self._using, portion)

    def _end(self, portion: Portion) -> int:
        """How many of the rows have no more bytes than a portion may have; one at least."""
        total = 0
        for place, (row, event) in enumerate(portion):
            if not self._waits(row):
                total += _octets(event)
                if place and total > self._most:
                    return place
        return len(portion)

    def _waits(self, row: Queued) -> bool:
        return row.object in self.waiting or row.object_hash in self.waiting

    def restrict_to(self, partitions: Collection[PartitionNumber]) -> None:
        """Read no further in others."""
        self._after = {number: last for number, last in self._after.items() if number in partitions}

    def _limit(self) -> int:
        """How many rows of each partition to read at once."""
        return math.ceil(self._size / len(self._after))


def _octets(event: object) -> int:
    if isinstance(event, LargeEvent):
        return event.octets
    return len(event.body) if isinstance(event, Event) else 0
