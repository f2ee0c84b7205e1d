"""What the processes of a worker have counted and measured since it began, for its metrics."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from django_events_sourcing.events import Event
from django_events_sourcing.tasks.schedule import MOST_DATABASES
from django_events_sourcing.tasks.sums import Key, SharedSums
from django_events_sourcing.types import Alias

__all__ = ["BOUNDS", "MOST_NAMES", "Count", "Distribution", "Duration", "Tallies", "worker_tallies"]

#: How many events, by service and name, are counted each by itself: a metric of more would be a burden for Prometheus.
MOST_NAMES = 200

#: Up to which a distribution counts how many there are, in seconds.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


class Count(IntEnum):
    """What is counted of events."""

    PUBLISHED = 0
    UNROUTED = 1
    REFUSED = 2  # attempts
    DEAD = 3


class Duration(IntEnum):
    """What is measured."""

    DELAY = 0  # of an event, from when it was made to its confirm
    TURN = 1  # of a relay
    WAIT = 2  # of a wake-up, from when it was sent to when a worker takes it


@dataclass(frozen=True)
class Distribution:
    """How long something took, how often.

    Attributes:
        counts: How often no longer than each of ``BOUNDS``, and longer than the one before; at last, longer than all.
        total: In seconds.
    """

    counts: list[int]
    total: float


# A row of a database has, for each duration, the counts and the total.
_COLUMNS = len(BOUNDS) + 2


class Tallies:
    """Those of a worker."""

    def __init__(self) -> None:
        self._counts = SharedSums(MOST_NAMES, len(Count), parts=2)
        self._durations = SharedSums(MOST_DATABASES, _COLUMNS * len(Duration), parts=1)

    def count(self, what: Count, events: Mapping[tuple[str, str], int]) -> None:
        """Count events.

        Args:
            what: What became of them.
            events: By service and name, how many.
        """
        for key, number in events.items():
            self._counts.add(key, {what: number})

    def count_one(self, what: Count, event: Event | None) -> None:
        """Count an event; one that can't be read has neither service nor name."""
        self.count(what, {(event.service, event.name) if event else ("", ""): 1})

    def measure(self, duration: Duration, using: Alias, seconds: Iterable[float]) -> None:
        """Note how long something took.

        Args:
            duration: What.
            using: Alias of the database; empty if there is none.
            seconds: Of each. Less than 0 is 0: clocks differ.
        """
        numbers: dict[int, float] = {}
        first = _COLUMNS * duration
        total = first + _COLUMNS - 1
        for each in seconds:
            column = first + bisect_left(BOUNDS, each)
            numbers[column] = numbers.get(column, 0) + 1
            numbers[total] = numbers.get(total, 0.0) + max(0.0, each)
        if numbers:
            self._durations.add((using,), numbers)

    def counts(self) -> dict[Key, list[int]]:
        """By service and name, what was counted, by ``Count``; those beyond ``MOST_NAMES`` are one."""
        return {key: [int(number) for number in numbers] for key, numbers in self._counts.read().items()}

    def distributions(self, duration: Duration) -> dict[Alias, Distribution]:
        """By alias of a database, what was measured there."""
        first = _COLUMNS * duration
        return {
            using: Distribution(
                [int(number) for number in numbers[first:][: len(BOUNDS) + 1]], numbers[first + _COLUMNS - 1]
            )
            for (using,), numbers in self._durations.read().items()
        }


#: That of this process and all that it forks: a worker's.
worker_tallies = Tallies()
