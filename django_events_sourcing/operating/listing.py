"""Events of the log, with what became of them."""

from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import or_
from uuid import UUID

from django.db.models import Q

from django_events_sourcing.models import Failure, LogEntry, QueueEntry
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.clock import from_microseconds, known_moment
from django_events_sourcing.outbox.partitioning import partition_of
from django_events_sourcing.outbox.queries import Selection
from django_events_sourcing.outbox.tables import raises_missing_tables
from django_events_sourcing.types import Alias, PartitionNumber, SequenceNumber

__all__ = ["NO_FAILURE", "ListedEvent", "Selection", "describe", "list_events", "state_of"]

#: That of an event which nobody refused, or buried.
NO_FAILURE = Failure(attempts=0, error="")


@dataclass(frozen=True)
class ListedEvent:
    """One event of a list.

    Attributes:
        id: Its id.
        sequence: Its place in the log.
        state: "pending", "refused" (pending, to be tried again), "dead", "buried" or "published".
        name: Its name.
        service: That it comes from.
        object: That it is about.
        time: When it happened.
        attempts: How often it was refused.
        error: Why, the last time; empty when it was not.
        retry_at: When a refused one is tried again, None for all others.
        dead_since: When it was found dead, None when it is not.
        buried_by: By whom it was buried; empty where that is not so, or not known.
        buried_why: Why; the same.
    """

    id: UUID
    sequence: SequenceNumber
    state: str
    name: str
    service: str
    object: str
    time: datetime
    attempts: int
    error: str
    retry_at: datetime | None
    dead_since: datetime | None
    buried_by: str
    buried_why: str


def list_events(using: Alias, selection: Selection, limit: int) -> list[ListedEvent]:
    """Events of database ``using``, without their bodies.

    Args:
        using: Alias of the database.
        selection: Which are meant.
        limit: How many at most: the latest, or of those that are pending the first.

    Raises:
        ConfigurationError: The database has no outbox.
        django.db.Error: It can't be asked.
    """
    with raises_missing_tables(using):
        rows = queries.selected(using, selection).order_by("sequence" if selection.state == "pending" else "-sequence")
        return describe(using, list(filter(selection.has, rows.defer("body", "headers")[:limit])))


def state_of(failure: Failure | None, *, is_pending: bool) -> str:
    """What the attribute ``state`` says of an event."""
    if failure and failure.buried_at is not None:
        return "buried"
    if failure and failure.dead_at is not None:
        return "dead"
    if is_pending:
        return "refused" if failure else "pending"
    return "published"


def describe(using: Alias, found: list[LogEntry]) -> list[ListedEvent]:
    """What there is to say of events of the log, which may lack their bodies and headers."""
    failures = Failure.objects.using(using).in_bulk([row.sequence for row in found])
    pending = _pending(using, found)
    return [_event(row, failures.get(row.sequence), is_pending=row.sequence in pending) for row in found]


def _pending(using: Alias, found: list[LogEntry]) -> set[SequenceNumber]:
    by_partition: dict[PartitionNumber, list[SequenceNumber]] = {}
    for row in found:
        by_partition.setdefault(partition_of(row.object), []).append(row.sequence)
    if not by_partition:
        return set()
    # by the whole key of the queue, whatever the database believes to be in it
    keys = [Q(partition=number, sequence__in=sequences) for number, sequences in by_partition.items()]
    return set(QueueEntry.objects.using(using).filter(reduce(or_, keys)).values_list("sequence", flat=True))


def _event(row: LogEntry, failure: Failure | None, *, is_pending: bool) -> ListedEvent:
    known = failure or NO_FAILURE
    return ListedEvent(
        id=row.event_id,
        sequence=row.sequence,
        state=state_of(failure, is_pending=is_pending),
        name=row.name,
        service=row.service,
        object=row.object,
        time=from_microseconds(row.time),
        attempts=known.attempts,
        error=known.error,
        retry_at=known_moment(known.retry_at),
        dead_since=known_moment(known.dead_at),
        buried_by=known.buried_by or "",
        buried_why=known.buried_why or "",
    )
