"""Putting events of the log back into the queue."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Max, QuerySet

from django_events_sourcing.models import Failure, LogEntry, QueueEntry
from django_events_sourcing.outbox.clock import DatabaseNow, to_microseconds
from django_events_sourcing.outbox.partitioning import PARTITIONS, object_hash
from django_events_sourcing.outbox.queries.common import delete, fence, lock_log, pending_among, span
from django_events_sourcing.types import Alias, Microseconds, PartitionNumber, SequenceNumber

__all__ = ["Replayable", "Selection", "replayable", "requeue", "selected"]


@dataclass(frozen=True)
class Selection:
    """Which events of the log are meant; those that meet all that is given.

    Attributes:
        ids: Their ids; empty for any. Only by its id is an event chosen that was buried.
        dead: Whether only dead ones are.
        pending: Whether only pending ones are.
        buried: Whether only buried ones are.
        name: Their name.
        model: Label of a model, in lower case.
        object: The object they are about, "app.model:pk".
        since: Those of that moment and later; aware.
        until: Those before that moment; aware.
    """

    ids: frozenset[UUID] = frozenset()
    dead: bool = False
    pending: bool = False
    buried: bool = False
    name: str | None = None
    model: str | None = None
    object: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def has(self, event: "LogEntry | Replayable") -> bool:
        """Whether it is of that name and object to the letter: MySQL's comparison may take no notice of case."""
        return self.name in {None, event.name} and self.object in {None, event.object}


@dataclass(frozen=True, slots=True)
class Replayable:
    """An event that may be put back into the queue: published, or dead."""

    sequence: SequenceNumber
    event_id: UUID
    name: str
    object: str
    time: Microseconds

    @property
    def partition(self) -> PartitionNumber:
        """The number of its partition."""
        return object_hash(self.object) % PARTITIONS


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
            .values_list("sequence", "event_id", "name", "object", "time")[:limit]
        )
        if not page:
            return
        after = page[-1][0]
        left_out = pending_among(using, [row[0] for row in page])
        if not selection.ids:
            buried = Failure.objects.using(using).filter(buried_at__isnull=False)
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
    rows = LogEntry.objects.using(using)
    if selection.ids:
        rows = rows.filter(event_id__in=selection.ids)
    if selection.dead:
        dead = Failure.objects.using(using).filter(dead_at__isnull=False)
        rows = rows.filter(sequence__in=dead.values("sequence"))
    if selection.buried:
        buried = Failure.objects.using(using).filter(buried_at__isnull=False)
        rows = rows.filter(sequence__in=buried.values("sequence"))
    if selection.pending:
        rows = rows.filter(sequence__in=QueueEntry.objects.using(using).values("sequence"))
    if selection.name is not None:
        rows = rows.filter(name=selection.name)
    if selection.model is not None:
        rows = rows.filter(object__startswith=f"{selection.model}:")
    if selection.object is not None:
        rows = rows.filter(object=selection.object)
    if selection.since is not None:
        rows = rows.filter(time__gte=to_microseconds(selection.since))
    if selection.until is not None:
        rows = rows.filter(time__lt=to_microseconds(selection.until))
    return rows
