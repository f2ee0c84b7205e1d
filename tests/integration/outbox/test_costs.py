"""What the outbox costs a database, in numbers that are the same on every machine."""

import pytest
from django.db import connections, transaction
from django.db.models.signals import post_delete
from django.test.utils import CaptureQueriesContext

from django_events_sourcing.conf import get_settings
from django_events_sourcing.models import LogEntry, Partition, QueueEntry
from django_events_sourcing.outbox.partitioning import PARTITIONS, object_hash, partition_of
from django_events_sourcing.tasks.relay import Relay
from tests.processes import wait_until
from tests.project.models import Product

# Of a lone event, from its wake-up until the worker is idle again, and what each is for.
OF_A_LONE_EVENT = [
    ("UPDATE", "partition"),  # lease its partition, which the wake-up names
    ("SELECT", "queue"),  # the event, what goes before it, and what holds it back
    # ... it is published ...
    ("DELETE", "queue"),  # settle it
    ("UPDATE", "published"),  # count it, for the status
    ("UPDATE", "partition"),  # give the lease back
    ("SELECT", "queue"),  # look once more: what was committed meanwhile found the lease taken
]
MOST_PER_EVENT = 0.03
MOST_WAL_OF_A_SAVE, MOST_WAL_OF_A_RELAY = 700, 100  # bytes


def kinds(captured):
    """Of each statement the verb, and the table that it is about."""
    statements = [query["sql"].replace('"', "").replace("`", "") for query in captured]
    tables = ("queue", "published", "partition")
    about = [next((table for table in tables if f"sourcing_{table}" in sql), "") for sql in statements]
    return [(sql.split()[0], table) for sql, table in zip(statements, about, strict=True)]


def test_lone_event__from_wake_up_to_idle__few_statements(database, emit, queue):
    """Two before it is published; one to settle it, three after that."""
    found = []
    for _ in range(4):  # the first of all, and the first within a minute, are not alike
        emit("thing:1")
        with CaptureQueriesContext(connections[database]) as captured:
            assert Relay(database, get_settings()).run([partition_of("thing:1")]).published == 1
        found.append(kinds(captured))
    assert OF_A_LONE_EVENT in found[2:]


def test_wake_up__for_nothing__one_statement(database, emit, queue):
    """Four, if it names a partition."""
    Relay(database, get_settings()).run()
    for partitions, number in (((), 1), ([3], 4)):
        with CaptureQueriesContext(connections[database]) as captured:
            Relay(database, get_settings()).run(partitions)
        assert len(kinds(captured)) == number


@pytest.mark.parametrize("objects", [1000, 100])
def test_relay__full_batches__few_statements_for_each_event(database, emit, queue, objects):
    """However few objects they are about."""
    with transaction.atomic(using=database):
        for number in range(2000):
            emit(f"thing:{number % objects}")
    with CaptureQueriesContext(connections[database]) as captured:
        report = Relay(database, get_settings()).run()
    assert report.published == 2000
    assert not QueueEntry.objects.using(database).exists()
    assert len(captured) <= 2000 * MOST_PER_EVENT


def statements_of_a_delete(using, count, settings, entries):
    settings.MODELS_CRUD_EVENT = entries
    Product.objects.using(using).bulk_create([Product(name=str(number), price=1) for number in range(count)])
    with CaptureQueriesContext(connections[using]) as captured:
        assert Product.objects.using(using).all().delete()[0] == count
    return len(captured)


def test_queryset__deleted__few_statements_for_all_of_it(database, settings):
    """The events of one delete are one INSERT for each table, as far as the database takes so many values at once."""
    entries = settings.MODELS_CRUD_EVENT
    post_delete.connect(lambda **_: None, sender=Product, weak=False, dispatch_uid="control")
    try:
        without = statements_of_a_delete(database, 500, settings, [])
        added = statements_of_a_delete(database, 500, settings, entries) - without
    finally:
        post_delete.disconnect(sender=Product, dispatch_uid="control")
    returns_numbers = connections[database].features.can_return_rows_from_bulk_insert  # MySQL is asked for them
    assert added <= (20 if connections[database].vendor == "sqlite" else 2 if returns_numbers else 3)
    log = LogEntry.objects.using(database)
    assert log.count() == QueueEntry.objects.using(database).count() == 500
    for entry in log:
        queued = QueueEntry.objects.using(database).get(sequence=entry.sequence)
        assert queued.object_hash == object_hash(entry.object)
        assert queued.partition == queued.object_hash % PARTITIONS


class NeverWalked(list):
    """Callbacks that nobody may look through."""

    def __iter__(self):
        raise AssertionError

    def __reversed__(self):
        raise AssertionError


def test_callbacks__however_many__not_looked_through(database, emit):
    """A project may have one for each of its saves."""
    with transaction.atomic(using=database):
        connection = connections[database]
        callbacks = connection.run_on_commit
        connection.run_on_commit = NeverWalked()
        for number in range(10):
            emit(f"thing:{number}")
            transaction.on_commit(lambda: None, using=database)
        assert len(connection.run_on_commit) == 11
        connection.run_on_commit = callbacks


def whole_pages(database, value):
    """Have PostgreSQL write those to the WAL which are changed for the first time after a checkpoint; or not."""
    with connections[database].cursor() as cursor:
        cursor.execute(f"ALTER SYSTEM SET full_page_writes = {value}")
        cursor.execute("SELECT pg_reload_conf()")

        def is_set():
            cursor.execute("SHOW full_page_writes")
            return cursor.fetchone() == (value,)

        wait_until(is_set, f"full_page_writes is {value}")


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_wal__of_saves_and_of_the_relay__bounded(database, queue, options):
    """What goes to disk and to replicas, beyond that of the row itself."""

    def written(does):
        with connections[database].cursor() as cursor:
            cursor.execute("SELECT pg_current_wal_insert_lsn()")
            (before,) = cursor.fetchone()
            does()
            cursor.execute("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", [before])
            return int(cursor.fetchone()[0])

    def save():
        with transaction.atomic(using=database):
            for number in range(1000):
                Product.objects.using(database).create(name=f"{number:010}", price=1)

    def save_silently():
        products = [Product(name=f"{number:010}", price=1) for number in range(1000)]
        with transaction.atomic(using=database):
            for product in products:
                Product.objects.using(database).bulk_create([product])

    whole_pages(database, "off")  # how many of those are written depends on where the last checkpoint was
    Relay(database, get_settings()).run()
    try:
        silent, recorded = written(save_silently), written(save)
        relayed = written(lambda: Relay(database, get_settings()).run())
    finally:
        whole_pages(database, "on")
    print(f"WAL of a save {(recorded - silent) / 1000:.0f} bytes, of relaying it {relayed / 1000:.0f}")
    assert (recorded - silent) / 1000 <= MOST_WAL_OF_A_SAVE
    assert relayed / 1000 <= MOST_WAL_OF_A_RELAY


def test_partition_in_trouble__named_by_a_wake_up__waits_for_its_time(database, emit, queue):
    """A wake-up is no reason to try again at once; when it is time, the trouble is over and forgotten."""
    Relay(database, get_settings()).run()
    emit("thing:1")
    number = partition_of("thing:1")
    partition = Partition.objects.using(database).filter(number=number)
    partition.update(failures=3, retry_at=2**62, error="no way")
    assert Relay(database, get_settings()).run([number]).published == 0
    partition.update(retry_at=1)
    assert Relay(database, get_settings()).run([number]).published == 1
    assert partition.get().failures == 0
