"""How many rows there are, without counting them all."""

import re
from typing import Any

from django.db import connections, models

from django_events_sourcing.outbox.dialects import dialect
from django_events_sourcing.outbox.partitioning import PARTITIONS
from django_events_sourcing.outbox.sql import COUNT_PART, rows, sql, waits
from django_events_sourcing.types import Alias, PartitionNumber

__all__ = ["count_parts", "estimate"]

# Of a plan as JSON: PostgreSQL's, MariaDB's, MySQL's.
_ROWS = re.compile(r'"(?:Plan Rows|rows|rows_examined_per_scan)": (\d+)')


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
