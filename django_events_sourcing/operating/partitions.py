"""The partitions of a database, with all that a probe asks of them, by one statement."""

from typing import Any

from django.db.models import Exists, F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from django_events_sourcing.models import LogEntry, Partition, PublishedCount, QueueEntry, Worker
from django_events_sourcing.outbox.clock import DatabaseNow
from django_events_sourcing.outbox.partitioning import PARTITIONS
from django_events_sourcing.outbox.queries.common import waiting_failures
from django_events_sourcing.outbox.read_only import IsReadOnly
from django_events_sourcing.types import Alias

__all__ = ["partitions"]


def partitions(using: Alias, *, dead_blocks: bool) -> QuerySet[Any]:
    """Those of database ``using``.

    Each row has beside its own columns ``now``, the time; ``is_read_only``; ``due_since``, since when the first event
    that is due could have gone, or None; ``last_look`` and ``last_published``, when a worker looked and an event was
    published the last time, or None.
    """
    waits = waiting_failures(dead_blocks=dead_blocks)
    waits = waits.filter(partition=OuterRef("partition"), object_hash=OuterRef("object_hash"))
    time = LogEntry.objects.filter(sequence=OuterRef("sequence")).values("time")
    due = (
        QueueEntry.objects.filter(~Exists(waits), partition=OuterRef("number"))
        .order_by("sequence")
        .annotate(since=Coalesce(F("queued_at"), Subquery(time)))
        .values("since")
    )
    last_look = Worker.objects.order_by("-looked_at").values("looked_at")
    last_published = PublishedCount.objects.filter(last_at__isnull=False).order_by("-minute", "-last_at")
    return (
        Partition.objects.using(using)
        .filter(number__lt=PARTITIONS)
        .order_by("number")
        .annotate(
            now=DatabaseNow(),
            is_read_only=IsReadOnly(),
            due_since=Subquery(due[:1]),
            last_look=Subquery(last_look[:1]),
            last_published=Subquery(last_published.values("last_at")[:1]),
        )
    )
