"""How the outbox of a database stands."""

from dataclasses import dataclass

from django.db.models import Count, Sum

from django_events_sourcing.conf import get_settings
from django_events_sourcing.events import Event
from django_events_sourcing.models import Failure, Partition, PublishedCount, QueueEntry
from django_events_sourcing.operating.vacuum import OldestTransaction, oldest_transaction
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.clock import MICROSECONDS, MINUTE, seconds_until, to_microseconds
from django_events_sourcing.outbox.partitioning import PARTITIONS
from django_events_sourcing.outbox.queries import LargeEvent
from django_events_sourcing.outbox.tables import raises_missing_tables
from django_events_sourcing.types import Alias, Microseconds, PartitionNumber

__all__ = ["PartitionStatus", "Status", "status"]

# Of the events that are read for the sake of their time.
_NO_BODIES = 0


@dataclass(frozen=True)
class PartitionStatus:
    """How one partition stands.

    Attributes:
        number: Which one it is, from 0.
        pending: How many events have to go out.
        owner: The token of the relay that holds the lease, None when nobody does.
        leased_seconds: How much longer, None when nobody does.
        failures: How often in a row it met with trouble.
        retry_seconds: How much longer it backs off after trouble, None when it doesn't.
        error: The last trouble, empty when there is none.
        lost: How many leases ran out under a relay that was at work.
        paused_seconds: For how long it has been paused by an operator, None when it isn't.
    """

    number: PartitionNumber
    pending: int
    owner: str | None
    leased_seconds: float | None
    failures: int
    retry_seconds: float | None
    error: str
    lost: int
    paused_seconds: float | None


@dataclass(frozen=True)
class Status:
    """How the outbox of one database stands.

    Attributes:
        pending: How many events have to go out.
        refused: How many of them were refused by themselves, and are to be tried again.
        oldest_pending_seconds: Age of the oldest event that is due; 0 when none is. Events of an object that waits for
            the next attempt at a refused one are not due; those whose partition waits after trouble are.
        dead: How many events are dead, those that were buried left out.
        buried: How many are buried.
        published_last_hour: How many events were published in the last 60 minutes.
        oldest_transaction: On PostgreSQL, the oldest transaction that keeps dead rows from being vacuumed.
        partitions: Each of them.
    """

    pending: int
    refused: int
    oldest_pending_seconds: float
    dead: int
    buried: int
    published_last_hour: int
    oldest_transaction: OldestTransaction | None
    partitions: list[PartitionStatus]


def status(using: Alias) -> Status:
    """How the outbox of database ``using`` stands.

    Raises:
        ConfigurationError: It has none, or a setting is wrong.
        django.db.Error: It can't be asked.
    """
    with raises_missing_tables(using):
        queries.ensure_partitions(using)
        return _status(using)


def _status(using: Alias) -> Status:
    rows = Partition.objects.using(using).filter(number__lt=PARTITIONS).order_by("number")
    dead_blocks = get_settings().dead_blocks_object
    current = queries.start_pass(using, [row.number for row in rows], 1, _NO_BODIES, dead_blocks=dead_blocks)
    queue = QueueEntry.objects.using(using).values("partition").annotate(count=Count("sequence"))
    pending = dict(queue.values_list("partition", "count"))
    firsts = current.first
    if firsts is None:
        firsts = queries.read(using, current, dict.fromkeys(pending, 0), 1, _NO_BODIES) if pending else []
    times = [time for _, event in firsts if (time := _time(event)) is not None]
    failures = Failure.objects.using(using)
    counts = PublishedCount.objects.using(using).filter(minute__gt=current.now - 60 * MINUTE)
    return Status(
        pending=sum(pending.values()),
        refused=failures.filter(dead_at__isnull=True).count(),
        oldest_pending_seconds=max([0.0, *((current.now - time) / MICROSECONDS for time in times)]),
        dead=failures.filter(dead_at__isnull=False, buried_at__isnull=True).count(),
        buried=failures.filter(buried_at__isnull=False).count(),
        published_last_hour=counts.aggregate(total=Sum("count"))["total"] or 0,
        oldest_transaction=oldest_transaction(using),
        partitions=[_partition(row, pending.get(row.number, 0), current.now) for row in rows],
    )


def _time(event: object) -> Microseconds | None:
    if isinstance(event, LargeEvent):
        return event.time
    return to_microseconds(event.time) if isinstance(event, Event) else None


def _partition(row: Partition, pending: int, now: Microseconds) -> PartitionStatus:
    leased = seconds_until(row.leased_until, now)
    return PartitionStatus(
        number=row.number,
        pending=pending,
        owner=str(row.owner) if leased else None,
        leased_seconds=leased,
        failures=row.failures,
        retry_seconds=seconds_until(row.retry_at, now),
        error=row.error,
        lost=row.lost,
        paused_seconds=None if row.paused_at is None else (now - row.paused_at) / MICROSECONDS,
    )
