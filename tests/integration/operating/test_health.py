"""The health view, on each database."""

import json
import socket
from contextlib import closing
from datetime import UTC, datetime, timedelta
from time import monotonic

import pytest
from asgiref.sync import async_to_sync
from django.core.management import call_command
from django.db import connections
from django.test import AsyncRequestFactory, RequestFactory
from django.test.utils import CaptureQueriesContext
from health_check.views import HealthCheckView

from django_events_sourcing.conf import get_settings
from django_events_sourcing.health_check import Events
from django_events_sourcing.models import Failure, Partition, QueueEntry
from django_events_sourcing.operating import health as module
from django_events_sourcing.operating.asking import _last
from django_events_sourcing.operating.operations import pause
from django_events_sourcing.operating.replay import Selection, replay
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.partitioning import PARTITIONS
from django_events_sourcing.views import health

OLD = datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture
def only(monkeypatch):
    """Have that database be the only one, which all models are written to."""

    def only(alias):
        monkeypatch.setattr(module, "outbox_databases", lambda: [alias])
        monkeypatch.setattr("django.db.router.db_for_write", lambda *_args, **_hints: alias)

    return only


@pytest.fixture
def worker(database, only, start_worker):
    """One that has just looked, in the only database."""
    only(database)
    queries.ensure_partitions(database)
    start_worker()


def ask(**given):
    answer = health(RequestFactory().get("/health/", given))
    return answer.status_code, json.loads(answer.content)


def problems(answer):
    return [problem["problem"] for problem in ask(only=answer)[1][answer]["problems"]]


def test_health__while_all_is_well__200_and_two_statements(worker, emit, database):
    """By a thread, whose connection does not stay."""
    emit("thing:1")
    well = {"status": "ok", "problems": []}
    assert ask() == (200, {"status": "ok", "save": well, "flow": well})
    assert ask(only="flow") == (200, {"status": "ok", "flow": well})
    with CaptureQueriesContext(connections[database]) as captured:
        module._look(database, get_settings())
    assert len(captured) == 2


def test_health__of_events_that_wait_for_too_long__503_and_since_when(worker, emit, options, database):
    """What waits for its next attempt doesn't count, nor do old ones that were just put back."""
    options(HEALTH_MAX_AGE=60)
    emit("thing:1", time=OLD)
    status, found = ask()
    assert (status, found["status"], found["save"]["status"], found["flow"]["status"]) == (
        503,
        "failing",
        "ok",
        "failing",
    )
    (problem,) = found["flow"]["problems"]
    assert problem["problem"] == "events have been waiting for more than 60 s"
    assert problem["database"] == database
    assert abs(datetime.fromisoformat(problem["since"]) - OLD) < timedelta(seconds=1)
    (row,) = QueueEntry.objects.using(database)
    waits = {"partition": row.partition, "object_hash": row.object_hash, "attempts": 1, "error": "x"}
    Failure.objects.using(database).create(sequence=row.sequence, retry_at=10**17, **waits)
    assert ask()[0] == 200
    Failure.objects.using(database).all().delete()
    QueueEntry.objects.using(database).all().delete()
    assert sum(replay(database, Selection(object="thing:1"))) == 1
    assert ask()[0] == 200


def test_health__of_a_late_outbox__says_why(worker, emit, database, options):
    """In short: no host, no user."""
    options(HEALTH_MAX_AGE=60)
    emit("thing:1", time=OLD)
    partitions = Partition.objects.using(database).filter(number__lt=PARTITIONS)
    partitions.update(failures=1, error="RabbitMQ at mq:5672, vhost '/', user 'shop': ConnectionRefusedError: no")
    assert problems("flow") == ["events have been waiting for more than 60 s: RabbitMQ refuses connections"]
    partitions.update(error="(403) ACCESS_REFUSED to user 'shop'")
    assert problems("flow") == ["events have been waiting for more than 60 s: RabbitMQ is in trouble"]
    pause(database)
    assert problems("flow") == ["events have been waiting for more than 60 s: they are paused"]


def test_health__of_dead_events__only_above_the_bound(worker, database, options):
    """By default there is none."""
    dead = {"partition": 0, "object_hash": 0, "attempts": 3, "error": "x"}
    for sequence in (1, 2):
        Failure.objects.using(database).create(sequence=sequence, dead_at=sequence, **dead)
    Failure.objects.using(database).create(sequence=3, dead_at=1, buried_at=1, **dead)
    assert problems("flow") == []
    options(HEALTH_MAX_DEAD=2)
    assert problems("flow") == []
    options(HEALTH_MAX_DEAD=1)
    assert problems("flow") == ["2 events are dead"]


def test_health__without_a_worker__does_not_flow(only, start_worker, database, options):
    """Nothing waits, and nothing would be published."""
    only(database)
    queries.ensure_partitions(database)
    assert problems("flow") == ["no worker has ever looked for events"]
    start_worker()
    assert problems("flow") == []
    options(HEALTH_MAX_AGE=0.001)
    assert problems("flow") == ["no worker has looked for events"]
    options(DELIVERY="direct", HEALTH_MAX_AGE=0.001)
    assert problems("flow") == []


def test_health__before_any_relay_was_there__says_so(only, database):
    """The rows of the partitions are made by the first."""
    only(database)
    Partition.objects.using(database).all().delete()
    assert problems("flow") == ["no worker has ever looked for events"]
    assert problems("save") == []


def test_health__of_a_database_without_tables__503(only, database):
    """It says what to run."""
    only(database)
    call_command("migrate", "django_events_sourcing", "zero", database=database, verbosity=0)
    try:
        status, found = ask()
    finally:
        call_command("migrate", database=database, verbosity=0)
    assert status == 503
    for answer in ("save", "flow"):
        (problem,) = found[answer]["problems"]
        assert f"manage.py migrate --database={database}" in problem["problem"]


def test_health__of_a_database_that_hangs__within_two_seconds(only, postgresql_alias, monkeypatch):
    """Nothing answers there; who asks meanwhile is told since when, and begins no second thread."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        hung = connections.settings[postgresql_alias] | {"PORT": silent.getsockname()[1]}
        connections.settings["hung"] = hung
        try:
            only("hung")
            for _ in range(2):
                began = monotonic()
                status, found = ask()
                assert monotonic() - began < 2
                assert status == 503
                assert "the database has not answered since" in found["save"]["problems"][0]["problem"]
            ((key, asking),) = ((key, each) for key, each in _last.items() if key[-1] == "hung")
            ask()
            assert _last[key] is asking
        finally:
            silent.close()
            for key in [key for key in _last if key[-1] == "hung"]:
                _last.pop(key).thread.join(10)
            del connections.settings["hung"]


def test_health__of_a_database_that_is_gone__says_no_host(only, postgresql_alias, free_port):
    """Nor the user: the page may be for everybody."""
    gone = connections.settings[postgresql_alias] | {"PORT": free_port, "PASSWORD": "s3cret"}
    connections.settings["gone"] = gone
    try:
        only("gone")
        status, found = ask()
    finally:
        del connections.settings["gone"]
    assert status == 503
    assert found["save"]["problems"] == [
        {"database": "gone", "problem": "the database cannot be asked (OperationalError)", "since": None}
    ]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_health__of_a_database_that_takes_no_writes__can_not_save(worker, database):
    """As a standby, or a primary that somebody set so."""
    connections[database].close()
    before = connections.settings[database]["OPTIONS"]
    connections.settings[database]["OPTIONS"] = {"options": "-c default_transaction_read_only=on"}
    try:
        assert problems("save") == ["the database is read-only"]
    finally:
        connections.settings[database]["OPTIONS"] = before


@pytest.mark.parametrize(("given", "status"), [({"only": "sleep"}, 400)])
def test_health__asked_for_what_there_is_not__one_line(given, status):
    """It names what there is."""
    assert ask(**given) == (status, {"error": "There is no 'sleep' to ask for: save or flow."})


def test_health__by_another_method__405():
    """It changes nothing."""
    assert health(RequestFactory().post("/health/")).status_code == 405


def test_health__with_wrong_settings__503_and_which(settings):
    """They keep events from being saved."""
    settings.EVENTS_SOURCING = {"LEASE": 0}
    status, found = ask()
    assert status == 503
    assert "EVENTS_SOURCING['LEASE'] is 0." in found["save"]["problems"][0]["problem"]


def test_django_health_check__beside_its_own_checks__says_the_same(worker, emit, options, database):
    """By its own view; the error names database, problem and moment."""
    checks = [("django_events_sourcing.health_check.Events", {"only": "flow"})]
    view = HealthCheckView.as_view(checks=checks)

    def ask_it():
        answer = async_to_sync(view)(AsyncRequestFactory().get("/", {"format": "json"}))
        return answer.status_code, json.loads(answer.content)

    assert ask_it() == (200, {"Events(only='flow')": "OK"})
    options(HEALTH_MAX_AGE=60)
    emit("thing:1", time=OLD)
    status, found = ask_it()
    assert status == 500
    (said,) = found.values()
    since = OLD.isoformat(timespec="seconds")
    assert f"Database '{database}': events have been waiting for more than 60 s, since {since}" in said
    with pytest.raises(ValueError, match="There is no 'sleep' to ask for"):
        Events(only="sleep").run()
