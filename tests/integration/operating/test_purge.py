"""Purging the log, on each database."""

from uuid import uuid4

import pytest

from django_events_sourcing import Event
from django_events_sourcing.conf import get_settings
from django_events_sourcing.delivery.deliver import deliver
from django_events_sourcing.models import Failure, LogEntry, Partition, PublishedCount, QueueEntry
from django_events_sourcing.operating import purge
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.clock import MICROSECONDS
from tests.processes import pause

OLD = 1  # a microsecond after 1970 began


@pytest.fixture(autouse=True)
def _outbox(settings):
    settings.EVENTS_SOURCING = {"DELIVERY": "outbox", "RETENTION": 3600}


@pytest.fixture
def published(database):
    """Have so many old events in the log that were published; returns their ids."""

    def published(count):
        for number in range(count):
            deliver([Event(name="n", service="s", object=f"thing:{number}", body="{}")], database)
        QueueEntry.objects.using(database).all().delete()
        LogEntry.objects.using(database).update(time=OLD)
        return list(LogEntry.objects.using(database).order_by("sequence").values_list("sequence", flat=True))

    return published


@pytest.fixture
def run(database):
    queries.ensure_partitions(database)

    def run(stopping=lambda: False):
        Partition.objects.using(database).filter(number=queries.PURGE).update(retry_at=None)
        return purge.purge_database(database, get_settings(), stopping)

    return run


def left(using):
    return set(LogEntry.objects.using(using).values_list("sequence", flat=True))


@pytest.mark.parametrize("batch_size", [1, 4, 1000])
def test_old_events__purged__but_for_what_is_pending_dead_or_young(database, published, run, monkeypatch, batch_size):
    """Whatever the batches, only what was published and is older than RETENTION goes."""
    monkeypatch.setattr(purge, "BATCH_SIZE", batch_size)
    ids = published(12)
    QueueEntry.objects.using(database).create(partition=3, sequence=ids[0], object_hash=3)
    keys = {"partition": 0, "object_hash": 0, "attempts": 1, "error": "x"}
    Failure.objects.using(database).create(sequence=ids[5], dead_at=1, **keys)
    young = Event(name="n", service="s", object="thing:0", body="{}")
    deliver([young], database)
    QueueEntry.objects.using(database).filter(sequence__gt=ids[-1]).delete()
    assert run() == 10
    assert left(database) == {ids[0], ids[5], max(left(database))}
    assert LogEntry.objects.using(database).filter(event_id=young.id).exists()


def test_purge__while_another_purges_or_just_did__does_nothing(database, published, run):
    """One worker at a time, and no more often than needed."""
    published(3)
    queries.take(database, uuid4(), {queries.PURGE}, 60)
    assert purge.purge_database(database, get_settings(), lambda: False) == 0
    Partition.objects.using(database).update(owner=None)
    assert purge.purge_database(database, get_settings(), lambda: False) == 3
    published(3)
    assert purge.purge_database(database, get_settings(), lambda: False) == 0
    assert run() == 3


def test_purge__asked_to_stop__ends_after_its_batch(database, published, run, monkeypatch):
    """What it did not delete is for the next."""
    monkeypatch.setattr(purge, "BATCH_SIZE", 2)
    published(10)
    asked = iter([False, False, True])
    assert run(lambda: next(asked)) == 4
    assert not Partition.objects.using(database).filter(owner__isnull=False).exists()
    assert run() == 6


def test_purge__of_several_batches__leaves_half_of_the_time_to_others(database, published, run, monkeypatch):
    """After each it waits for as long as it took."""
    monkeypatch.setattr(purge, "BATCH_SIZE", 2)
    published(5)
    delete = queries.purge
    pauses: list[float] = []

    def slow(*args):
        pause(0.1)
        return delete(*args)

    monkeypatch.setattr(queries, "purge", slow)
    monkeypatch.setattr(purge, "sleep", pauses.append)
    assert run() == 5
    assert len(pauses) == 2
    assert all(0.1 <= seconds <= 1 for seconds in pauses)


def test_counts_of_published_events__older_than_the_status_asks_for__deleted(database, run):
    """They would grow for ever."""
    now = queries.start_pass(database, [0], 1, 1000, dead_blocks=False).now
    hour = 3600 * MICROSECONDS
    for age in (0, 1, 2, 3):
        queries.count_published(database, now - age * hour, 0, 7)
    run()
    assert PublishedCount.objects.using(database).count() == 2
