"""The metrics view, on each database."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command
from django.db import connections
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from django_events_sourcing import metrics as module
from django_events_sourcing.conf import get_settings
from django_events_sourcing.models import Failure, LogEntry, Partition, QueueEntry
from django_events_sourcing.operating import counting
from django_events_sourcing.operating.gauges import gauges
from django_events_sourcing.operating.operations import bury, pause
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.partitioning import PARTITIONS, partition_of
from django_events_sourcing.views import metrics
from tests.backlog import fill
from tests.integration.conftest import connect


@pytest.fixture
def only(monkeypatch):
    """Have these be the databases with an outbox."""
    return lambda *aliases: monkeypatch.setattr(module, "outbox_databases", lambda: list(aliases))


def scrape():
    """By name, without the prefix, the value; by a tuple with its worker, that of a worker."""
    text = metrics(RequestFactory().get("/metrics")).content.decode()
    return {
        (name, sample.labels["worker"]) if "worker" in sample.labels else name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if (name := sample.name.removeprefix("django_events_sourcing_"))
    }


def test_metrics__of_an_empty_outbox__zero_and_not_absent(only, database):
    """Also before any relay was there."""
    only(database)
    Partition.objects.using(database).all().delete()
    found = scrape()
    assert found.pop("database_up") == 1
    assert found.keys() == {*module._GAUGES, "lost_leases_total"}
    assert set(found.values()) == {0}


def test_metrics__of_an_outbox_in_use__are_what_it_holds(
    only, database, emit, poison, options, relay, at_work, start_worker, caplog
):
    """Each number by itself."""
    only(database)
    options(MAX_ATTEMPTS=1)
    poison("thing:1")
    buried = poison("thing:2")
    emit("thing:3")
    assert relay() == ["thing:3"]
    bury(database, buried.id, "x")
    options(MAX_ATTEMPTS=5)
    poison("thing:4")
    assert relay() == []
    emit("thing:4")
    emit("thing:5", time=datetime.now(UTC) - timedelta(minutes=10))
    at_work({(partition_of("thing:5") + 1) % PARTITIONS})
    pause(database, {partition_of("thing:5")})
    Partition.objects.using(database).filter(number=2).update(retry_at=10**17, lost=3)
    start_worker()
    found = scrape()
    assert abs(found.pop("oldest_due_age_seconds") - 600) < 30
    assert abs(found.pop(("worker_last_look_timestamp_seconds", "celery@here")) - datetime.now(UTC).timestamp()) < 60
    assert found == {
        "database_up": 1,
        "pending_events": 3,
        "due_events": 1,
        "refused_events": 1,
        "dead_events": 1,
        "buried_events": 1,
        "events_published_last_hour": 1,
        "events_unrouted_last_hour": 0,
        "partitions_backing_off": 1,
        "partitions_paused": 1,
        "partitions_leased": 1,
        "lost_leases_total": 3,
    }


def test_metrics__above_what_is_counted__are_estimated(only, database, emit, monkeypatch):
    """In the order of what there is; what waits behind a refused event is no more due than in what was counted."""
    only(database)
    monkeypatch.setattr(counting, "COUNTED", 3)
    for number in range(400):
        emit(f"thing:{number}")
    if connections[database].vendor == "postgresql":
        with connections[database].cursor() as cursor:
            cursor.execute("ANALYZE django_events_sourcing_queue")
    found = scrape()
    assert 64 <= found["pending_events"] <= 800
    assert found["due_events"] == found["pending_events"]


def test_metrics__of_many_dead_events__are_estimated_too(only, database, monkeypatch):
    """By the share of each among those that are looked at."""
    only(database)
    monkeypatch.setattr(counting, "COUNTED", 1)
    dead = {"partition": 0, "object_hash": 0, "attempts": 3, "error": "x", "dead_at": 1}
    Failure.objects.using(database).bulk_create([Failure(sequence=number, **dead) for number in range(1, 101)])
    if connections[database].vendor == "postgresql":
        with connections[database].cursor() as cursor:
            cursor.execute("ANALYZE django_events_sourcing_failure")
    assert 17 <= scrape()["dead_events"] <= 200


def test_database__that_is_gone_or_has_no_outbox__told_by_one_sample_or_none(
    only, postgresql_alias, database, free_port
):
    """The others' are there."""
    connections.settings["gone"] = connections.settings[postgresql_alias] | {"PORT": free_port}
    try:
        only(database, "gone")
        text = metrics(RequestFactory().get("/metrics")).content.decode()
        assert 'django_events_sourcing_database_up{database="gone"} 0.0' in text
        assert text.count('database="gone"') == 1
        assert f'django_events_sourcing_pending_events{{database="{database}"}} 0.0' in text
        only(database)
        call_command("migrate", "django_events_sourcing", "zero", database=database, verbosity=0)
        try:
            assert scrape() == {"database_up": 0}
        finally:
            call_command("migrate", database=database, verbosity=0)
    finally:
        del connections.settings["gone"]


def test_collector__registered__asks_no_database(monkeypatch):
    """A process registers it as it starts; the names are unlike any other's."""

    def fail(*_arguments):
        raise AssertionError

    monkeypatch.setattr(module, "ask_each", fail)
    registry = CollectorRegistry(auto_describe=True)
    registry.register(module.OutboxCollector())
    names = [family.name for family in module.OutboxCollector().describe()]
    assert all(re.fullmatch(r"django_events_sourcing_[a-z_]+", name) for name in names)
    with pytest.raises(ValueError, match="Duplicated"):
        registry.register(module.OutboxCollector())


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("statistics", ["of now", "of empty tables"])
def test_plans__of_many_pending_events__go_by_an_index(database, settings, options, statistics):
    """A scrape costs the same with many as with few."""
    with connect(database, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        fill(connection, settings.SERVICE_NAME, 1000, 100_000)
        if statistics == "of now":
            connection.execute("VACUUM ANALYZE")
    queries.ensure_partitions(database)
    with CaptureQueriesContext(connections[database]) as captured:
        found = gauges(database, get_settings())
    assert LogEntry.objects.using(database).count() == 101_000
    assert found.pending >= 16 * counting.COUNTED
    if statistics == "of now":
        assert abs(found.pending - QueueEntry.objects.using(database).count()) < 1000
    assert len(captured) <= 7
    with connections[database].cursor() as cursor:
        for query in captured:
            if not query["sql"].startswith("EXPLAIN"):
                cursor.execute(f"EXPLAIN {query['sql']}")
                plan = "\n".join(line for (line,) in cursor.fetchall())
                assert not re.search("Seq Scan on django_events_sourcing_(log|queue)", plan), plan
