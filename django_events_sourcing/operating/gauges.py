"""How the outbox of a database stands, at a cost that does not grow with what is in it: for metrics."""

from collections import Counter
from dataclasses import dataclass

from django_events_sourcing.conf import Settings
from django_events_sourcing.models import Failure, QueueEntry
from django_events_sourcing.operating.partitions import partitions
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.clock import MICROSECONDS, seconds_since
from django_events_sourcing.outbox.partitioning import PARTITIONS
from django_events_sourcing.outbox.tables import raises_missing_tables
from django_events_sourcing.types import Alias

__all__ = ["COUNTED", "Gauges", "gauges"]

#: Up to how many rows are counted, of each partition of the queue; above that the number is the planner's estimate.
#: With more PostgreSQL would read the whole queue, where it believes that there is little in it.
COUNTED = 200


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
    """How the outbox of database ``using`` stands. Above ``COUNTED`` rows numbers are estimated.

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
        pending, due = _queue(using, settings)
        refused, dead, buried = _failures(using)
        published = queries.published_last_hour(using, now)
        since = [row.due_since for row in rows if row.due_since is not None]
        return Gauges(
            pending=pending,
            due=due,
            oldest_due_seconds=max([0.0, *(seconds_since(each, now) for each in since)]),
            refused=refused,
            dead=dead,
            buried=buried,
            published_last_hour=published.count,
            unrouted_last_hour=published.unrouted,
            backing_off=sum(row.retry_at is not None and row.retry_at > now for row in rows),
            paused=sum(row.paused_at is not None for row in rows),
            leased=sum(row.owner is not None and (row.leased_until or 0) > now for row in rows),
            lost_leases=sum(row.lost for row in rows),
            last_looks={each.name: each.looked_at / MICROSECONDS for each in reversed(queries.last_workers(using))},
        )


def _queue(using: Alias, settings: Settings) -> tuple[int, int]:
    counts = queries.count_parts(using, COUNTED + 1, dead_blocks=settings.dead_blocks_object).values()
    pending, due = (sum(each) for each in zip(*counts, strict=True))
    if any(count > COUNTED for count, _ in counts):
        # In what is not looked at as much is due as in what is.
        more = max(pending, queries.estimate(using, QueueEntry))
        return more, round(more * due / pending)
    return pending, due


def _failures(using: Alias) -> list[int]:
    """How many were refused, are dead, or buried."""
    failures = Failure.objects.using(using)
    most = COUNTED * PARTITIONS
    rows = list(failures.values_list("dead_at", "buried_at")[: most + 1])
    share = queries.estimate(using, Failure) / len(rows) if len(rows) > most else 1.0
    states = Counter("buried" if buried else "dead" if dead else "refused" for dead, buried in rows)
    return [round(states[state] * max(1.0, share)) for state in ("refused", "dead", "buried")]
