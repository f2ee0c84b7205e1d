"""Deleting what is no longer needed."""

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.expressions import ExpressionWrapper
from django.db.models.fields import BooleanField

from django_events_sourcing.models import Failure, LogEntry, Operation, PublishedCount
from django_events_sourcing.outbox.clock import from_now
from django_events_sourcing.outbox.queries.common import delete, lock_log, pending_among, span
from django_events_sourcing.types import Alias, SequenceNumber

__all__ = [
    "buried",
    "purge",
    "purge_buried",
    "purge_counts",
    "purgeable",
]


# For how long counts of published events are kept, in seconds.
_COUNTED = 90 * 60

# For how long it is told who did what, in seconds.
_REMEMBERED = 90 * 24 * 3600


def purge(using: Alias, retention: float, after: SequenceNumber, limit: int) -> tuple[int, SequenceNumber | None]:
    """Delete a batch of the log's oldest events, as far as they were published and are older than ``retention``.

    Args:
        using: Alias of the database.
        retention: In seconds, from the time of the event.
        after: The id to go on from.
        limit: How many events to look at.

    Returns:
        How many were deleted, and the id to go on from, None if what follows is younger.
    """
    with transaction.atomic(using=using):
        # A replay that begins meanwhile waits for the end of this batch, and then no longer finds what was deleted.
        lock_log(using)
        old, following = purgeable(using, retention, after, limit)
        delete(LogEntry.objects.using(using).filter(sequence__in=old), using)
    return len(old), following


def purgeable(
    using: Alias, retention: float, after: SequenceNumber, limit: int
) -> tuple[set[SequenceNumber], SequenceNumber | None]:
    """The ids of what ``purge`` would delete, and the id to go on from."""
    log = LogEntry.objects.using(using)
    is_old = ExpressionWrapper(Q(time__lt=from_now(-retention)), BooleanField())
    rows = log.filter(sequence__gt=after).annotate(is_old=is_old).order_by("sequence")[:limit]
    found = list(rows.values_list("sequence", "is_old"))
    old = {sequence for sequence, is_old in found if is_old}
    if not old:
        return old, None
    failed = Failure.objects.using(using).filter(span(old)).values_list("sequence", flat=True)
    return old - pending_among(using, old) - set(failed), found[-1][0] if len(found) == limit else None


def purge_buried(using: Alias, age: float, limit: int) -> int:
    """Delete a batch of events that were buried so many seconds ago; returns how many, 0 if there is none left."""
    with transaction.atomic(using=using):
        lock_log(using)  # a replay by its id brings a buried event back
        sequences = list(buried(using, age).values_list("sequence", flat=True)[:limit])
        delete(LogEntry.objects.using(using).filter(sequence__in=sequences), using)
        delete(Failure.objects.using(using).filter(sequence__in=sequences), using)
    return len(sequences)


def buried(using: Alias, age: float) -> QuerySet[Failure]:
    """Events that were buried so many seconds ago."""
    return Failure.objects.using(using).filter(buried_at__lte=from_now(-age))


def purge_counts(using: Alias) -> None:
    """Delete counts of published events that no status asks for any more, and operations of long ago."""
    delete(PublishedCount.objects.using(using).filter(minute__lt=from_now(-_COUNTED)), using)
    delete(Operation.objects.using(using).filter(ended_at__lt=from_now(-_REMEMBERED)), using)
