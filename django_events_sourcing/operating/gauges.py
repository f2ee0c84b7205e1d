"""How the outbox of a database stands, at a cost that does not grow with what is in it: for metrics."""

from dataclasses import dataclass

from django_events_sourcing.conf import Settings
from django_events_sourcing.operating.counting import count_failed, count_pending
from django_events_sourcing.operating.partitions import partitions
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.clock import MICROSECONDS, seconds_since
from django_events_sourcing.outbox.tables import raises_missing_tables
from django_events_sourcing.types import Alias

__all__ = ["Gauges", "gauges"]


@dataclass(frozen=True)
class Gauges:
    """How the outbox of one database stands.

    Attributes:
        pending: How many events have to go out.
        due: How many of them could go now, as far as their objects are concerned.
        oldest_due_seconds: For how long the first of these could have gone; 0 if there is none.
        refused: How many were refused by themselves, and are to be tried again.
        dead: How many events are dead, those that were buried left out.
        buried: How many are buried.
        published_last_hour: How many events were published in the last 60 minutes.
        unrouted_last_hour: How many of them RabbitMQ had no queue for.
        backing_off: How many partitions wait after trouble.
        paused: How many are paused.
        leased: How many somebody has a lease on.
        lost_leases: How many leases have run out under a relay at work, ever.
        last_looks: By the name of a worker when one of its relays looked, in seconds since 1970; the last ones.
    """

    pending: int
    due: int
    oldest_due_seconds: float
    refused: int
    dead: int
    buried: int
    published_last_hour: int
    unrouted_last_hour: int
    backing_off: int
    paused: int
    leased: int
    lost_leases: int
    last_looks: dict[str, float]


def gauges(using: Alias, settings: Settings) -> Gauges:
    """How the outbox of database ``using`` stands. Above ``counting.COUNTED`` rows numbers are estimated.

    Raises:
        ConfigurationError: It has none.
        django.db.Error: It can't be asked.
    """
    with raises_missing_tables(using):
        rows = list(partitions(using, dead_blocks=settings.dead_blocks_object))
        if not rows:
            queries.ensure_partitions(using)
            rows = list(partitions(using, dead_blocks=settings.dead_blocks_object))
        now = rows[0].now
        counts = count_pending(using, dead_blocks=settings.dead_blocks_object)
        failed = count_failed(using)
        published = queries.published_last_hour(using, now)
        since = [row.due_since for row in rows if row.due_since is not None]
        return Gauges(
            pending=counts.pending,
            due=counts.due,
            oldest_due_seconds=max([0.0, *(seconds_since(each, now) for each in since)]),
            refused=failed.refused,
            dead=failed.dead,
            buried=failed.buried,
            published_last_hour=published.count,
            unrouted_last_hour=published.unrouted,
            backing_off=sum(row.retry_at is not None and row.retry_at > now for row in rows),
            paused=sum(row.paused_at is not None for row in rows),
            leased=sum(row.owner is not None and (row.leased_until or 0) > now for row in rows),
            lost_leases=sum(row.lost for row in rows),
            last_looks={each.name: each.looked_at / MICROSECONDS for each in reversed(queries.last_workers(using))},
        )
