"""What several of the queries use."""

from typing import Any

from django.db.models import F, Q, QuerySet

from django_events_sourcing.clock import DatabaseNow
from django_events_sourcing.models import Failure, Partition
from django_events_sourcing.outbox import PARTITIONS

__all__ = [
    "PURGE",
    "blocks_object",
    "delete",
    "lock_log",
    "waiting_failures",
]

#: The lease on the purge of the log is kept beside those on the partitions, under this number.
PURGE = PARTITIONS


def delete(rows: QuerySet[Any], using: str) -> None:
    """One DELETE, without the signals that a project's receivers for all models would get."""
    rows._raw_delete(using)  # noqa: SLF001


def lock_log(using: str) -> None:
    """Until the transaction's end nobody else deletes from the log, or puts events of its back into the queue."""
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
