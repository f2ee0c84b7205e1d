"""The partitions of a database, with all that a probe asks of them, by one statement."""

from typing import Any

from django.db.models import Case, F, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce

from django_events_sourcing.models import LogEntry, Partition, PublishedCount, QueueEntry, Worker
from django_events_sourcing.outbox.clock import DatabaseNow
from django_events_sourcing.outbox.dialects import Letters
from django_events_sourcing.outbox.partitioning import PARTITIONS
from django_events_sourcing.outbox.queries.common import waiting_failures
from django_events_sourcing.outbox.read_only import IsReadOnly
from django_events_sourcing.types import Alias

__all__ = ["due_since", "partitions"]


def due_since(*, dead_blocks: bool, **criteria: Any) -> Subquery:
    """Of a partition, in a QuerySet: since when its first event that is due could have gone; NULL if none is.

    Args:
        dead_blocks: Whether an object with a dead event waits.
        criteria: Which events of the queue are meant; all, if there are none.
    """
    failures = waiting_failures(dead_blocks=dead_blocks)
    failures = failures.filter(partition=OuterRef("partition"), object_hash=OuterRef("object_hash"))
    of_row = LogEntry.objects.filter(sequence=OuterRef(OuterRef("sequence"))).values("object")[:1]
    is_own = Q(object__isnull=True) | Q(letters=Subquery(of_row))
    its_own = failures.alias(letters=Letters("object")).filter(is_own)
    happened = Subquery(LogEntry.objects.filter(sequence=OuterRef("sequence")).values("time"))
    # Where neither is known it is as if it had been now: no reason for an alert, but due.
    since = Coalesce(F("queued_at"), Case(When(replay_to__isnull=True, then=happened)), DatabaseNow())
    waits = Coalesce(Subquery(its_own.values(one=Value(1))[:1]), 0)  # why that is no Exists, sql.py says
    due = QueueEntry.objects.filter(partition=OuterRef("number"), **criteria)
    due = due.alias(waits=waits).filter(waits__lt=1)
    return Subquery(due.order_by("sequence").annotate(since=since).values("since")[:1])


def partitions(using: Alias, *, dead_blocks: bool) -> QuerySet[Any]:
    """Those of database ``using``.

    Each row has beside its own columns ``now``, the time; ``is_read_only``; ``due_since``, since when the first event
    that is due could have gone, or None; ``last_look`` and ``last_published``, when a worker looked and an event was
    published the last time, or None.
    """
    last_look = Worker.objects.order_by("-looked_at").values("looked_at")
    last_published = PublishedCount.objects.filter(last_at__isnull=False).order_by("-minute", "-last_at")
    return (
        Partition.objects.using(using)
        .filter(number__lt=PARTITIONS)
        .order_by("number")
        .annotate(
            now=DatabaseNow(),
            is_read_only=IsReadOnly(),
            due_since=due_since(dead_blocks=dead_blocks),
            last_look=Subquery(last_look[:1]),
            last_published=Subquery(last_published.values("last_at")[:1]),
        )
    )
