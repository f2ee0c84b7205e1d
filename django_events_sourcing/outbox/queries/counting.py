"""How many rows there are, without counting them all."""

import re
from dataclasses import dataclass
from typing import Any

from django.db import connections, models
from django.db.models import Max, Sum

from django_events_sourcing.models import PublishedCount
from django_events_sourcing.outbox.clock import MINUTE
from django_events_sourcing.outbox.dialects import dialect
from django_events_sourcing.outbox.partitioning import PARTITIONS
from django_events_sourcing.outbox.sql import COUNT_PART, rows, sql, waits
from django_events_sourcing.types import Alias, Microseconds, PartitionNumber

__all__ = ["Published", "count_parts", "estimate", "published_by_minute", "published_last_hour"]

# Of a plan as JSON: PostgreSQL's, MariaDB's, MySQL's.
_ROWS = re.compile(r'"(?:Plan Rows|rows|rows_examined_per_scan)": (\d+)')


@dataclass(frozen=True, slots=True)
class Published:
    """What was published in the last 60 minutes.

    Attributes:
        count: How many events.
        unrouted: How many of them RabbitMQ had no queue for.
        last_at: When the last one was, None if there was none.
    """

    count: int
    unrouted: int
    last_at: Microseconds | None


def published_last_hour(using: Alias, now: Microseconds) -> Published:
    """What was published in the last 60 minutes; ``now`` is the database's time."""
    counts = PublishedCount.objects.using(using).filter(minute__gt=now - 60 * MINUTE)
    found = counts.aggregate(count=Sum("count"), unrouted=Sum("unrouted"), last_at=Max("last_at"))
    return Published(found["count"] or 0, found["unrouted"] or 0, found["last_at"])


def published_by_minute(using: Alias, now: Microseconds) -> list[int]:
    """How many events were published in each of the last 60 minutes, the last one last, which is not over."""
    counts = PublishedCount.objects.using(using).filter(minute__gt=now - 60 * MINUTE)
    found = dict(counts.values_list("minute").annotate(Sum("count")))
    this = now - now % MINUTE
    return [found.get(this - back * MINUTE, 0) for back in range(59, -1, -1)]


def count_parts(using: Alias, limit: int, *, dead_blocks: bool) -> dict[PartitionNumber, tuple[int, int]]:
    """How many events are pending in each partition, and how many of them due: of the first ``limit`` of each."""
    waiting = sql(using, waits(dead_blocks=dead_blocks))
    parts = [sql(using, COUNT_PART, number=number, limit=limit, waits=waiting) for number in range(PARTITIONS)]
    return {number: (pending, int(due or 0)) for number, pending, due in rows(using, " UNION ALL ".join(parts), {})}


def estimate(using: Alias, model: type[models.Model]) -> int:
    """About how many rows a table has, by what the database plans with; SQLite, which plans with none, counts them."""
    table: models.QuerySet[Any] = model._default_manager.using(using)
    if dialect(connections[using]) == "sqlite":
        return table.count()
    found = _ROWS.search(table.explain(format="json"))
    return int(found[1]) if found else 0
