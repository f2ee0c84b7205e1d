"""How the outbox of a database stands."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Exists, Max, OuterRef, Q, Subquery, Sum

from django_events_sourcing.conf import Settings, get_settings
from django_events_sourcing.models import Failure, LogEntry, Partition, PublishedCount, QueueEntry, Worker
from django_events_sourcing.operating.vacuum import OldestTransaction, oldest_transaction
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.clock import MICROSECONDS, MINUTE, DatabaseNow, from_microseconds, seconds_until
from django_events_sourcing.outbox.partitioning import PARTITIONS
from django_events_sourcing.outbox.queries.common import waiting_failures
from django_events_sourcing.outbox.tables import raises_missing_tables
from django_events_sourcing.types import Alias, Microseconds, PartitionNumber

__all__ = ["PartitionStatus", "Status", "WorkerStatus", "status"]


@dataclass(frozen=True)
class PartitionStatus:
    """How one partition stands.

    Attributes:
        number: Which one it is, from 0.
        pending: How many events have to go out.
        is_due: Whether one of them may go out as far as its object is concerned.
        owner: The token of the relay that holds the lease, None when nobody does.
        holder: Who that is: the worker, its process and host.
        holder_seen_seconds: How long ago it took or renewed the lease, which is its last sign of life.
        leased_seconds: How much longer the lease lasts, None when nobody has it.
        failures: How often in a row it met with trouble.
        failing_seconds: For how long it has been in trouble, None when it isn't.
        retry_seconds: How much longer it backs off after trouble, None when it doesn't.
        error: The last trouble, empty when there is none.
        lost: How many leases ran out under a relay that was at work.
        paused_seconds: For how long it has been paused by an operator, None when it isn't.
        paused_by: By whom; empty where that is not known.
        paused_why: Why; the same.
    """

    number: PartitionNumber
    pending: int
    is_due: bool
    owner: str | None
    holder: str | None
    holder_seen_seconds: float | None
    leased_seconds: float | None
    failures: int
    failing_seconds: float | None
    retry_seconds: float | None
    error: str
    lost: int
    paused_seconds: float | None
    paused_by: str
    paused_why: str


@dataclass(frozen=True)
class WorkerStatus:
    """A worker that has looked for events within a day.

    Attributes:
        name: As Celery knows it.
        host: Where it runs.
        pid: Of its main process.
        version: Of this library.
        looked_seconds: How long ago it looked.
    """

    name: str
    host: str
    pid: int
    version: str
    looked_seconds: float


@dataclass(frozen=True)
class Status:
    """How the outbox of one database stands.

    Attributes:
        now: The time by the database's clock.
        delivery: The setting ``DELIVERY``.
        pending: How many events have to go out.
        refused: How many of them were refused by themselves, and are to be tried again.
        oldest_pending_seconds: For how long the oldest event that is due could have gone: since it happened, or was put
            back for a replay; 0 when none is due. Events of an object that waits for the next attempt at a refused one
            are not due; those whose partition waits after trouble, or is paused, are.
        dead: How many events are dead, those that were buried left out.
        buried: How many are buried.
        published_last_hour: How many events were published in the last 60 minutes.
        unrouted_last_hour: How many of them RabbitMQ had no queue for.
        last_published_seconds: How long ago an event was published; None if that was not in the last 60 minutes.
        oldest_transaction: On PostgreSQL, the oldest transaction that keeps dead rows from being vacuumed.
        workers: Those that looked for events within a day, the last one first.
        partitions: Each of them.
    """

    now: datetime
    delivery: str
    pending: int
    refused: int
    oldest_pending_seconds: float
    dead: int
    buried: int
    published_last_hour: int
    unrouted_last_hour: int
    last_published_seconds: float | None
    oldest_transaction: OldestTransaction | None
    workers: list[WorkerStatus]
    partitions: list[PartitionStatus]


def status(using: Alias) -> Status:
    """How the outbox of database ``using`` stands.

    Raises:
        ConfigurationError: It has none, or a setting is wrong.
        django.db.Error: It can't be asked.
    """
    settings = get_settings()
    with raises_missing_tables(using):
        queries.ensure_partitions(using)
        return _status(using, settings)


def _status(using: Alias, settings: Settings) -> Status:
    waits = waiting_failures(dead_blocks=settings.dead_blocks_object)
    its_object = {"partition": OuterRef("partition"), "object_hash": OuterRef("object_hash")}
    due = QueueEntry.objects.filter(~Exists(waits.filter(**its_object)), partition=OuterRef("number"))
    first = due.order_by("sequence").values("sequence")
    rows = list(
        Partition.objects.using(using)
        .filter(number__lt=PARTITIONS)
        .order_by("number")
        .annotate(
            now=DatabaseNow(),
            first_new=Subquery(first.filter(replay_to__isnull=True)[:1]),
            first_replayed=Subquery(first.filter(replay_to__isnull=False)[:1]),
        )
    )
    now = max(row.now for row in rows)
    counts = QueueEntry.objects.using(using).values("partition").annotate(count=Count("sequence"))
    pending = dict(counts.values_list("partition", "count"))
    failures = Failure.objects.using(using)
    published = _published(using, now)
    return Status(
        now=from_microseconds(now),
        delivery=settings.delivery,
        pending=sum(pending.values()),
        refused=failures.filter(dead_at__isnull=True).count(),
        oldest_pending_seconds=max([0.0, *(_seconds(now, since) for since in _due_since(using, rows))]),
        dead=failures.filter(dead_at__isnull=False, buried_at__isnull=True).count(),
        buried=failures.filter(buried_at__isnull=False).count(),
        published_last_hour=published["count"] or 0,
        unrouted_last_hour=published["unrouted"] or 0,
        last_published_seconds=None if published["last"] is None else max(0.0, _seconds(now, published["last"])),
        oldest_transaction=oldest_transaction(using),
        workers=[
            WorkerStatus(each.name, each.host, each.pid, each.version, max(0.0, _seconds(now, each.looked_at)))
            for each in Worker.objects.using(using).order_by("-looked_at")
        ],
        partitions=[_partition(row, pending.get(row.number, 0), now, settings.lease) for row in rows],
    )


def _published(using: Alias, now: Microseconds) -> dict[str, Any]:
    lately = Q(minute__gt=now - 60 * MINUTE)
    counts = PublishedCount.objects.using(using).filter(lately)
    return counts.aggregate(count=Sum("count"), unrouted=Sum("unrouted"), last=Max("last_at"))


def _due_since(using: Alias, rows: Iterable[Any]) -> list[Microseconds]:
    """Since when the first events of the partitions could have gone."""
    new = [row.first_new for row in rows if row.first_new is not None]
    replayed = Q()
    for row in rows:
        if row.first_replayed is not None:
            replayed |= Q(partition=row.number, sequence=row.first_replayed)
    since = list(LogEntry.objects.using(using).filter(sequence__in=new).values_list("time", flat=True))
    if replayed:
        back = QueueEntry.objects.using(using).filter(replayed)
        since += [queued_at for queued_at in back.values_list("queued_at", flat=True) if queued_at is not None]
    return since


def _partition(row: Any, pending: int, now: Microseconds, lease: float) -> PartitionStatus:
    leased = seconds_until(row.leased_until, now) if row.owner else None
    return PartitionStatus(
        number=row.number,
        pending=pending,
        is_due=row.first_new is not None or row.first_replayed is not None,
        owner=str(row.owner) if leased else None,
        holder=row.holder or "unknown" if leased else None,
        holder_seen_seconds=max(0.0, lease - leased) if leased else None,
        leased_seconds=leased,
        failures=row.failures,
        failing_seconds=_seconds(now, row.failing_since) if row.failures and row.failing_since else None,
        retry_seconds=seconds_until(row.retry_at, now),
        error=row.error,
        lost=row.lost,
        paused_seconds=None if row.paused_at is None else _seconds(now, row.paused_at),
        paused_by=row.paused_by or "",
        paused_why=row.paused_why or "",
    )


def _seconds(now: Microseconds, since: Microseconds) -> float:
    return (now - since) / MICROSECONDS
