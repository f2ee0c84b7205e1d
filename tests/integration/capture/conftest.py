"""What tests of bulk writes and of relations have in common."""

from collections.abc import Callable, Iterator
from contextlib import closing
from threading import Thread

import pytest
from django.db import connections

from django_events_sourcing.models import LogEntry, QueueEntry
from tests.integration.conftest import in_use


@pytest.fixture
def register_in_outbox(settings):
    """Register models for events in the outbox: classes, with the same options for all of them."""
    settings.EVENTS_SOURCING = {"DELIVERY": "outbox"}

    def register(*models, **options):
        settings.MODELS_CRUD_EVENT = [{"model": model, **options} for model in models]

    return register


@pytest.fixture(params=["postgresql", "binding", "mariadb"])
def concurrent(request, django_db_blocker) -> Iterator[str]:
    """Alias of a database in which others write at the same time."""
    with in_use(request.getfixturevalue(f"{request.param}_alias"), django_db_blocker) as alias:
        yield alias


def in_thread(using: str, work: Callable[[], object]) -> Thread:
    """Start it, with a connection of its own, and wait until it is done or waits for a lock."""

    def run() -> None:
        with closing(connections[using]):
            work()

    thread = Thread(target=run)
    thread.start()
    thread.join(0.3)
    return thread


def take_entries(using: str) -> list[LogEntry]:
    """Those of the log since the last time, all of which the queue has."""
    entries = list(LogEntry.objects.using(using).order_by("sequence"))
    queued = QueueEntry.objects.using(using).filter(sequence__in=[entry.sequence for entry in entries])
    assert queued.count() == len(entries)
    LogEntry.objects.using(using).all()._raw_delete(using)
    QueueEntry.objects.using(using).all()._raw_delete(using)
    return entries
