"""What several of the queries use."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.db.models import F, Q, QuerySet

from django_events_sourcing.models import Failure, Partition, QueueEntry
from django_events_sourcing.outbox.clock import DatabaseNow
from django_events_sourcing.outbox.partitioning import PARTITIONS
from django_events_sourcing.types import Alias, PartitionNumber, SequenceNumber

__all__ = [
    "FAILED",
    "PURGE",
    "WELL",
    "blocks_object",
    "delete",
    "fence",
    "lock_log",
    "pending_among",
    "span",
    "to_uuid",
    "waiting_failures",
]

#: The lease on the purge of the log is kept beside those on the partitions, under this number.
PURGE = PARTITIONS

#: What an event is that has a failure, by what the failure's columns say.
FAILED = {
    "refused": Q(dead_at__isnull=True),
    "dead": Q(dead_at__isnull=False, buried_at__isnull=True),
    "buried": Q(buried_at__isnull=False),
}

#: What the columns of a partition are that is in no trouble.
WELL: dict[str, Any] = {"failures": 0, "failing_since": None, "retry_at": None, "error": ""}


def delete(rows: QuerySet[Any], using: Alias) -> None:
    """One DELETE, without the signals that a project's receivers for all models would get."""
    rows._raw_delete(using)  # noqa: SLF001


def fence(using: Alias, owner: UUID, numbers: Collection[PartitionNumber]) -> bool:
    """Whether all the leases are held. Their rows stay locked until the commit: nobody takes one over in between."""
    mine = Partition.objects.using(using).filter(owner=owner, number__in=numbers)
    return mine.update(owner=owner) == len(numbers)


def pending_among(using: Alias, sequences: Collection[SequenceNumber]) -> set[SequenceNumber]:
    """Those from the first to the last of the ids that the queue has."""
    if not sequences:
        return set()
    every_partition = range(PARTITIONS)  # named, because the index begins with it
    rows = QueueEntry.objects.using(using).filter(span(sequences), partition__in=every_partition)
    return set(rows.values_list("sequence", flat=True))


def span(sequences: Collection[SequenceNumber]) -> Q:
    """From the first to the last of the ids."""
    return Q(sequence__gte=min(sequences), sequence__lte=max(sequences))


def to_uuid(value: Any) -> UUID:
    """A UUID as a driver gives it: text, where a database has no such type."""
    return value if isinstance(value, UUID) else UUID(value)


def lock_log(using: Alias) -> None:
    """Until the transaction's end nobody else deletes from the log, or puts events back into the queue."""
    Partition.objects.using(using).filter(number=PURGE).update(lost=F("lost"))


def waiting_failures(*, dead_blocks: bool) -> QuerySet[Failure]:
    """The failures whose objects wait."""
    waits = Q(retry_at__gt=DatabaseNow())
    return Failure.objects.filter(waits | blocks_object() if dead_blocks else waits)


def blocks_object() -> Q:
    """Of failures: dead, and with DEAD_BLOCKS_OBJECT in the way of the later ones of its object.

    What died on its way to one consumer's queue is not: all others have it.
    """
    is_for_all = Q(replay_to__isnull=True) | Q(replay_to="")
    return Q(is_for_all, dead_at__isnull=False, buried_at__isnull=True)
