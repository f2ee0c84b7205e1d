"""How many events there are, at a cost that does not grow with them."""

from collections import Counter
from dataclasses import dataclass

from django_events_sourcing.models import Failure, QueueEntry
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.partitioning import PARTITIONS
from django_events_sourcing.types import Alias, PartitionNumber

__all__ = ["COUNTED", "FailedCounts", "PendingCounts", "count_failed", "count_pending"]

#: Up to how many rows are counted, of each partition of the queue; above that the number is the planner's estimate.
#: With more PostgreSQL would read the whole queue, where it believes that there is little in it.
COUNTED = 200


@dataclass(frozen=True)
class PendingCounts:
    """How many events are pending.

    Attributes:
        pending: How many there are.
        due: How many of them could go now, as far as their objects are concerned.
        by_partition: How many there are in each partition, ``COUNTED + 1`` at most.
    """

    pending: int
    due: int
    by_partition: dict[PartitionNumber, int]


@dataclass(frozen=True)
class FailedCounts:
    """How many events were refused and are to be tried again, are dead, or are buried."""

    refused: int
    dead: int
    buried: int


def count_pending(using: Alias, *, dead_blocks: bool) -> PendingCounts:
    """Those of the queue; above ``COUNTED`` in a partition the number of all is estimated.

    Raises:
        django.db.Error: The database can't be asked.
    """
    parts = queries.count_parts(using, COUNTED + 1, dead_blocks=dead_blocks)
    pending, due = (sum(each) for each in zip(*parts.values(), strict=True))
    by_partition = {number: count for number, (count, _) in parts.items()}
    if any(count > COUNTED for count in by_partition.values()):
        # In what is not looked at as much is due as in what is.
        more = max(pending, queries.estimate(using, QueueEntry))
        return PendingCounts(more, round(more * due / pending), by_partition)
    return PendingCounts(pending, due, by_partition)


def count_failed(using: Alias) -> FailedCounts:
    """Those of the failures; above ``COUNTED`` times the number of partitions it is estimated.

    Raises:
        django.db.Error: The database can't be asked.
    """
    failures = Failure.objects.using(using)
    most = COUNTED * PARTITIONS
    rows = list(failures.values_list("dead_at", "buried_at")[: most + 1])
    share = queries.estimate(using, Failure) / len(rows) if len(rows) > most else 1.0
    states = Counter("buried" if buried else "dead" if dead else "refused" for dead, buried in rows)
    return FailedCounts(*(round(states[state] * max(1.0, share)) for state in ("refused", "dead", "buried")))
