"""How the outbox of a database stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count

from django_events_sourcing.conf import Settings, get_settings
from django_events_sourcing.models import Failure, Partition, QueueEntry
from django_events_sourcing.operating.counting import FailedCounts, count_failed, count_pending
from django_events_sourcing.operating.partitions import due_since, partitions
from django_events_sourcing.operating.vacuum import OldestTransaction, oldest_transaction
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.clock import DatabaseNow, from_microseconds, seconds_since, seconds_until
from django_events_sourcing.outbox.partitioning import PARTITIONS
from django_events_sourcing.outbox.queries.common import FAILED
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
        workers: Those that looked for events within a day, the last one first; 50 at most.
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


def status(using: Alias, *, is_exact: bool = True) -> Status:
    """How the outbox of database ``using`` stands.

    Args:
        using: Alias of the database.
        is_exact: Whether all is counted. If not, it costs the same whatever is in there: above some thousands, numbers
            of events are estimates, and a partition has no more than ``counting.COUNTED + 1``.

    Raises:
        ConfigurationError: It has none, or a setting is wrong.
        django.db.Error: It can't be asked.
    """
    settings = get_settings()
    with raises_missing_tables(using):
        queries.ensure_partitions(using)
        count = _count if is_exact else _estimate
        return _status(using, settings, count(using, dead_blocks=settings.dead_blocks_object))


@dataclass(frozen=True)
class _Counts:
    """What was counted, and since when the first event that is due could have gone, of the partitions with one."""

    pending: int
    by_partition: Mapping[PartitionNumber, int]
    due: Mapping[PartitionNumber, Microseconds]
    failed: FailedCounts


def _status(using: Alias, settings: Settings, counts: _Counts) -> Status:
    rows = list(
        Partition.objects.using(using).filter(number__lt=PARTITIONS).order_by("number").annotate(now=DatabaseNow())
    )
    now = max(row.now for row in rows)
    published = queries.published_last_hour(using, now)
    return Status(
        now=from_microseconds(now),
        delivery=settings.delivery,
        pending=counts.pending,
        refused=counts.failed.refused,
        oldest_pending_seconds=max([0.0, *(seconds_since(moment, now) for moment in counts.due.values())]),
        dead=counts.failed.dead,
        buried=counts.failed.buried,
        published_last_hour=published.count,
        unrouted_last_hour=published.unrouted,
        last_published_seconds=None if published.last_at is None else max(0.0, seconds_since(published.last_at, now)),
        oldest_transaction=oldest_transaction(using),
        workers=[
            WorkerStatus(each.name, each.host, each.pid, each.version, max(0.0, seconds_since(each.looked_at, now)))
            for each in queries.last_workers(using)
        ],
        partitions=[
            _partition(
                row, counts.by_partition.get(row.number, 0), now, settings.lease, is_due=row.number in counts.due
            )
            for row in rows
        ],
    )


def _count(using: Alias, *, dead_blocks: bool) -> _Counts:
    queue = QueueEntry.objects.using(using).values("partition")
    counts = {
        number: (pending, replayed)
        for number, pending, replayed in queue.annotate(
            pending=Count("sequence"), replayed=Count("replay_to")
        ).values_list("partition", "pending", "replayed")
    }
    failures = Failure.objects.using(using)
    return _Counts(
        pending=sum(pending for pending, _ in counts.values()),
        by_partition={number: pending for number, (pending, _) in counts.items()},
        due=_due_since(using, counts, dead_blocks=dead_blocks),
        failed=FailedCounts(*(failures.filter(FAILED[state]).count() for state in ("refused", "dead", "buried"))),
    )


def _estimate(using: Alias, *, dead_blocks: bool) -> _Counts:
    counts = count_pending(using, dead_blocks=dead_blocks)
    rows = partitions(using, dead_blocks=dead_blocks)
    return _Counts(
        pending=counts.pending,
        by_partition=counts.by_partition,
        due={row.number: row.due_since for row in rows if row.due_since is not None},
        failed=count_failed(using),
    )


def _due_since(
    using: Alias, counts: Mapping[PartitionNumber, tuple[int, int]], *, dead_blocks: bool
) -> dict[PartitionNumber, Microseconds]:
    """Of the partitions with an event that is due, new or replayed, since when the one that waits longest could go."""
    # Neither is looked for in vain, in the whole of a long queue.
    new = {number for number, (pending, replayed) in counts.items() if pending > replayed}
    again = {number for number, (_, replayed) in counts.items() if replayed}
    since: dict[PartitionNumber, Microseconds] = {}
    for numbers, is_new in ((new, True), (again, False)):
        if numbers:
            first = due_since(dead_blocks=dead_blocks, replay_to__isnull=is_new)
            rows = Partition.objects.using(using).filter(number__in=numbers).annotate(since=first)
            for number, moment in rows.values_list("number", "since"):
                if moment is not None:
                    since[number] = min(moment, since.get(number, moment))
    return since


def _partition(row: Any, pending: int, now: Microseconds, lease: float, *, is_due: bool) -> PartitionStatus:
    leased = seconds_until(row.leased_until, now) if row.owner else None
    return PartitionStatus(
        number=row.number,
        pending=pending,
        is_due=is_due,
        owner=str(row.owner) if leased else None,
        holder=row.holder or "unknown" if leased else None,
        holder_seen_seconds=max(0.0, lease - leased) if leased else None,
        leased_seconds=leased,
        failures=row.failures,
        failing_seconds=seconds_since(row.failing_since, now) if row.failures and row.failing_since else None,
        retry_seconds=seconds_until(row.retry_at, now),
        error=row.error,
        lost=row.lost,
        paused_seconds=None if row.paused_at is None else seconds_since(row.paused_at, now),
        paused_by=row.paused_by or "",
        paused_why=row.paused_why or "",
    )
