"""Signs of life of the workers, for those who ask whether anybody looks for events."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from django_events_sourcing.models import Worker
from django_events_sourcing.outbox.clock import DatabaseNow, from_now
from django_events_sourcing.outbox.queries.common import delete
from django_events_sourcing.types import Alias

__all__ = ["last_workers", "note_look"]

# How many workers are told of: each start of one is another, and their names may be new with each deployment.
_TOLD = 50

# For how long a worker is kept that has ended, in seconds.
_KEPT = 24 * 3600.0


def note_look(using: Alias, worker: UUID, about: dict[str, Any]) -> None:
    """Write down that a worker has just looked for events in database ``using``.

    Args:
        using: Alias of the database.
        worker: Its id.
        about: Its columns of ``models.Worker`` that no look changes.
    """
    workers = Worker.objects.using(using)
    if workers.filter(pk=worker).update(looked_at=DatabaseNow()):
        return
    delete(workers.filter(looked_at__lt=from_now(-_KEPT)), using)
    this = Worker(pk=worker, started_at=DatabaseNow(), looked_at=DatabaseNow(), **about)
    workers.bulk_create([this], ignore_conflicts=True)


def last_workers(using: Alias) -> QuerySet[Worker]:
    """Those that looked within a day, the last one first, as many as people and metrics are told of."""
    return Worker.objects.using(using).order_by("-looked_at")[:_TOLD]
