"""What several of the queries use."""

from typing import Any

from django.db.models import Q, QuerySet

from django_events_sourcing.clock import DatabaseNow
from django_events_sourcing.models import Failure

__all__ = [
    "delete",
    "waiting_failures",
]


def delete(rows: QuerySet[Any], using: str) -> None:
    """One DELETE, without the signals that a project's receivers for all models would get."""
    rows._raw_delete(using)  # noqa: SLF001


def waiting_failures(*, dead_blocks: bool) -> QuerySet[Failure]:
    """The failures whose objects wait."""
    waits = Q(retry_at__gt=DatabaseNow())
    blocks = Q(dead_at__isnull=False, buried_at__isnull=True)
    return Failure.objects.filter(waits | blocks if dead_blocks else waits)
