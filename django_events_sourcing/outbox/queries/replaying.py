"""Putting events of the log back into the queue."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from django.db import transaction
from django.db.models import Max, Q, QuerySet

from django_events_sourcing.models import Failure, LogEntry, QueueEntry
from django_events_sourcing.outbox.clock import DatabaseNow, to_microseconds
from django_events_sourcing.outbox.partitioning import object_hash, partition_of
from django_events_sourcing.outbox.queries.common import FAILED, delete, fence, lock_log, pending_among, span
from django_events_sourcing.types import Alias, Microseconds, PartitionNumber, SequenceNumber

__all__ = ["STATES", "Replayable", "Selection", "criteria", "replayable", "requeue", "selected"]


#: What an event may be. One that is refused is pending, too, and one that is buried is no longer called dead.
STATES = ("pending", *FAILED, "published")


@dataclass(frozen=True)
class Selection:
    """Which events of the log are meant; those that meet all that is given.

    Attributes:
        ids: Their ids; empty for any. Only by its id is an event chosen that was buried.
        state: One of ``STATES``.
        service: The service that they come from.
        name: Their name.
        model: Label of a model, in lower case.
        object: The object they are about, "app.model:pk".
        since: Those of that moment and later; aware.
        until: Those before that moment; aware.
    """

    ids: frozenset[UUID] = frozenset()
    state: str | None = None
    service: str | None = None
    name: str | None = None
    model: str | None = None
    object: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def has(self, event: "LogEntry | Replayable") -> bool:
        """Whether it is of that service, name and object to the letter: MySQL may take no notice of case."""
        return (
            self.service in {None, event.service}
            and self.name in {None, event.name}
            and self.object in {None, event.object}
        )


@dataclass(frozen=True, slots=True)
class Replayable:
    """An event that may be put back into the queue: published, or dead."""

    #: Of the log, in the order of its own.
    COLUMNS: ClassVar = ("sequence", "event_id", "service", "name", "object", "time")

    sequence: SequenceNumber
    event_id: UUID
    service: str
    name: str
    object: str
    time: Microseconds

    @property
    def partition(self) -> PartitionNumber:
        """The number of its partition."""
        return partition_of(self.object)


def replayable(using: Alias, selection: Selection, limit: int) -> Iterator[list[Replayable]]:
    """What a replay would put back into the queue, in the order of ids, ``limit`` events of the log at a time.

    Only what is in the log by now is considered: what is published meanwhile would be replayed for ever.
    """
    rows = selected(using, selection)
    top = LogEntry.objects.using(using).aggregate(top=Max("sequence"))["top"] or 0
    after = 0
    while True:
        page = list(
            rows.filter(sequence__gt=after, sequence__lte=top)
            .order_by("sequence")
            .values_list(*Replayable.COLUMNS)[:limit]
        )
        if not page:
            return
        after = page[-1][0]
        left_out = pending_among(using, [row[0] for row in page])
        if not selection.ids:
            buried = Failure.objects.using(using).filter(FAILED["buried"])
            left_out |= set(buried.filter(span([row[0] for row in page])).values_list("sequence", flat=True))
        found = [Replayable(*row) for row in page if row[0] not in left_out]
        yield list(filter(selection.has, found))


def requeue(using: Alias, owner: UUID, events: Collection[Replayable], replay_to: str | None) -> int | None:
    """Put events back into the queue, as replays.

    Args:
        using: Alias of the database.
        owner: Who holds the leases on all of their partitions. Otherwise a pass that has gone by an event might
            publish a later one of its object first.
        events: The events. What is pending by now, or was purged meanwhile, is left out.
        replay_to: The only queue that they are for, empty for all. None is for all, too, but for those that had died
            on their way to one queue: those go there.

    Returns:
        How many there were; None if a lease was lost, so that nothing was done.
    """
    numbers = {event.partition for event in events}
    sequences = [event.sequence for event in events]
    with transaction.atomic(using=using):
        lock_log(using)
        if not fence(using, owner, numbers):
            return None
        log = LogEntry.objects.using(using).filter(sequence__in=sequences)
        wanted = set(log.values_list("sequence", flat=True)) - pending_among(using, sequences)
        failures = Failure.objects.using(using).filter(sequence__in=wanted)
        before = dict(failures.values_list("sequence", "replay_to"))
        delete(failures, using)
        rows = [
            QueueEntry(
                partition=event.partition,
                sequence=event.sequence,
                object_hash=object_hash(event.object),
                replay_to=(before.get(event.sequence) or "") if replay_to is None else replay_to,
                queued_at=DatabaseNow(),
            )
            for event in events
            if event.sequence in wanted
        ]
        QueueEntry.objects.using(using).bulk_create(rows)
    return len(rows)


def selected(using: Alias, selection: Selection) -> QuerySet[LogEntry]:
    """Those events."""
    rows = LogEntry.objects.using(using).filter(criteria(selection))
    pending = Q(sequence__in=QueueEntry.objects.using(using).values("sequence"))
    failures = Failure.objects.using(using)
    if selection.state == "pending":
        rows = rows.filter(pending)
    elif selection.state == "published":
        given_up = failures.filter(FAILED["dead"] | FAILED["buried"])
        rows = rows.exclude(pending | Q(sequence__in=given_up.values("sequence")))
    elif selection.state is not None:
        rows = rows.filter(sequence__in=failures.filter(FAILED[selection.state]).values("sequence"))
    return rows


def criteria(selection: Selection) -> Q:
    """Of events of the log: what is asked of themselves, whatever became of them."""
    asked = {
        "event_id__in": selection.ids or None,
        "service": selection.service,
        "name": selection.name,
        "object__startswith": None if selection.model is None else f"{selection.model}:",
        "object": selection.object,
        "time__gte": None if selection.since is None else to_microseconds(selection.since),
        "time__lt": None if selection.until is None else to_microseconds(selection.until),
    }
    return Q(**{lookup: value for lookup, value in asked.items() if value is not None})
