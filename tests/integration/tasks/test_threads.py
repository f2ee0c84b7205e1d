"""The threads that relay, in this process: asked by a task, or by themselves."""

import logging
import threading
import time

import pytest
from django.core.management import call_command
from django.db import connections
from django.db.backends.signals import connection_created

from django_events_sourcing import tasks
from django_events_sourcing.delivery import waker
from django_events_sourcing.models import Partition, QueueEntry
from django_events_sourcing.operating import purge
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.clock import from_now
from django_events_sourcing.tasks import purging, session, threads
from django_events_sourcing.tasks.schedule import Schedule
from tests.integration.conftest import in_use
from tests.processes import pause, wait_until
from tests.project.models import Product


@pytest.fixture(autouse=True)
def _outbox(settings):
    settings.EVENTS_SOURCING = {"DELIVERY": "outbox", "SWEEP_INTERVAL": 60}


@pytest.fixture
def thread(database, queue, monkeypatch):
    """Start the thread of the database."""
    started = []
    monkeypatch.setattr(threads, "_sweeps", Schedule())
    monkeypatch.setattr(purging, "_schedule", Schedule())

    def thread():
        started.append(threads.RelayThread(database, 0))
        return started[-1]

    yield thread
    for each in started:
        each.stop()
        each.join(20)


def pending(using):
    return QueueEntry.objects.using(using).count()


def save(using):
    Product.objects.using(using).create(name="pen", price=1)


def test_thread__started__sweeps_at_once_and_then_every_interval(database, thread, settings):
    """What waits when a worker starts is relayed, and what no wake-up came for soon is."""
    settings.EVENTS_SOURCING = {"DELIVERY": "outbox", "SWEEP_INTERVAL": 0.3}
    save(database)
    thread()
    wait_until(lambda: pending(database) == 0, "the first sweep")
    save(database)
    wait_until(lambda: pending(database) == 0, "the next sweep", within=5)


def test_thread__asked__relays_before_it_answers(database, thread):
    """The task that asks waits until it is done."""
    relaying = thread()
    wait_until(lambda: threads._sweeps.seconds_until_due(0) > 0, "the first sweep has begun")
    save(database)
    relaying.relay(30)
    assert pending(database) == 0


@pytest.mark.parametrize("is_swept", [True, False])
def test_partition__that_backs_off__tried_again_when_its_delay_is_over(database, thread, is_swept):
    """Not when the next sweep happens to be due."""
    queries.ensure_partitions(database)
    relaying = None
    if not is_swept:
        relaying = thread()
        wait_until(lambda: threads._sweeps.seconds_until_due(0) > 0, "the first sweep has begun")
        relaying.relay(30)  # answered when that has ended
    save(database)
    Partition.objects.using(database).update(failures=1, retry_at=from_now(1.5))
    relaying = relaying or thread()
    relaying.relay(30)
    assert pending(database) == 1
    wait_until(lambda: pending(database) == 0, "the partition is due", within=10)
    assert threads._sweeps.seconds_until_due(0) > 10  # then all is as ever


def test_threads__of_one_worker__share_the_time_of_the_sweep(database, thread, monkeypatch):
    """However many processes it has, the database is asked once an interval."""
    swept: list[int] = []
    monkeypatch.setattr(threads.RelayThread, "_sweep", lambda self: swept.append(self._place))
    for _ in range(4):
        thread()
    pause(0.5)
    assert len(swept) == 1


def test_thread__that_something_unforeseen_happens_to__goes_on(database, thread, monkeypatch, caplog):
    """A bug in one relay is logged, its asker is answered, and the next one is tried."""
    relaying = thread()
    wait_until(lambda: threads._sweeps.seconds_until_due(0) > 0, "the first sweep has begun")
    with monkeypatch.context() as patch:
        patch.setattr(threads, "relay_database", lambda *args, **more: 1 / 0)
        relaying.relay(30)
    assert "division by zero" in caplog.text
    save(database)
    relaying.relay(30)
    assert pending(database) == 0


def test_thread__idle__holds_no_connection_to_the_database(database, thread, monkeypatch):
    """An idle worker costs the database nothing between sweeps."""
    closed = threading.Event()
    monkeypatch.setattr(threads, "IDLE", 0.2)
    close = session.close_connection

    def close_and_report(using):
        close(using)
        closed.set()

    monkeypatch.setattr(threads, "close_connection", close_and_report)
    relaying = thread()
    relaying.relay(30)
    closed.clear()
    assert closed.wait(10)


@pytest.fixture
def sessions():
    """What the server knows the sessions by that threads of relays have opened, in order."""
    opened: list[int] = []

    def note(connection, **kwargs):
        if threading.current_thread().name.startswith("events-relay"):
            raw = connection.connection
            is_mysql = connection.vendor == "mysql"
            opened.append(raw.thread_id() if is_mysql else raw.info.backend_pid)

    connection_created.connect(note)
    yield opened
    connection_created.disconnect(note)


def end_session(using, number):
    """Have the server end a session."""
    with connections[using].cursor() as cursor:
        is_mysql = connections[using].vendor == "mysql"
        cursor.execute(f"KILL {number}" if is_mysql else f"SELECT pg_terminate_backend({number}, 5000)")


@pytest.mark.parametrize("database", ["postgresql", "binding", "mariadb"], indirect=True)
def test_session__ended_by_the_server_while_it_idles__is_no_trouble(database, thread, sessions, caplog):
    """As by a proxy after a minute: each event goes out at once, over one new session, without a word."""
    relaying = thread()
    wait_until(lambda: threads._sweeps.seconds_until_due(0) > 0, "the first sweep has begun")
    for _ in range(3):  # until it has one of its own
        save(database)
        relaying.relay(30)
    for _ in range(3):
        before = len(sessions)
        end_session(database, sessions[-1])
        save(database)
        relaying.relay(30)
        assert pending(database) == 0
        assert len(sessions) == before + 1
    ours = [record for record in caplog.records if record.name.startswith("django_events_sourcing")]
    assert not [record for record in ours if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("database", ["postgresql", "binding", "mariadb"], indirect=True)
def test_thread__asked_again_and_again__keeps_its_session(database, thread, sessions):
    """And opens none for nothing: one that is like any other, and on PostgreSQL then one of its own."""
    relaying = thread()
    wait_until(lambda: threads._sweeps.seconds_until_due(0) > 0, "the first sweep has begun")
    relaying.relay(30)
    sessions.clear()
    for _ in range(3):
        save(database)
        relaying.relay(30)
    assert len(sessions) <= 1


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("stopping", [True, False])
def test_thread__idle__does_not_run(database, thread, monkeypatch, asked, stopping):
    """It sleeps until it is asked or the next sweep is due; in a worker that waits for its tasks to end, for good."""
    monkeypatch.setattr(threads, "IDLE", 0.2)
    rounds: list[bool] = []
    wait = threads.RelayThread._wait

    def counted(self):
        rounds.append(True)
        wait(self)

    monkeypatch.setattr(threads.RelayThread, "_wait", counted)
    relaying = thread()
    wait_until(lambda: threads._sweeps.seconds_until_due(0) > 0, "the first sweep has begun")
    if asked:
        relaying.relay(30)
    if stopping:
        monkeypatch.setattr(threads, "is_stopping", lambda: True)
        threads._sweeps._moments[0] = 0
    pause(0.5)
    before = len(rounds)
    pause(1)
    assert len(rounds) - before <= 1


def test_thread__stopped__answers_who_waits_for_it(database, thread, monkeypatch):
    """No task hangs in a process that ends."""
    release = threading.Event()
    monkeypatch.setattr(threads, "relay_database", lambda *args, **more: release.wait(20))
    relaying = thread()
    asker = threading.Thread(target=relaying.relay, args=[30])
    asker.start()
    relaying.stop()
    release.set()
    asker.join(20)
    assert not asker.is_alive()


def test_task__in_a_process_without_threads__relays_by_itself(database, queue):
    """Where Celery runs the task in some other way than in a worker of its own."""
    save(database)
    tasks.relay(database)
    assert pending(database) == 0


def test_task__sent_long_ago__is_dropped(database, queue):
    """Of the many that come after an outage of all workers the first brings all, and the sweep did before it."""
    save(database)
    tasks.relay(database, [], time.time() - waker.EXPIRES - 1)
    assert pending(database) == 1
    tasks.relay(database, [], time.time() - waker.EXPIRES + 60)
    assert pending(database) == 0


def test_task__for_a_database_that_the_worker_lacks__is_logged(caplog):
    """The worker's settings differ from the web process'; others go on."""
    tasks.relay("nowhere")
    assert "DATABASES lacks it" in caplog.text


def test_task__for_a_database_without_the_tables__says_what_to_run(database, caplog):
    """A project that forgot to migrate hears of it from the worker, too."""
    call_command("migrate", "django_events_sourcing", "zero", database=database, verbosity=0)
    try:
        tasks.relay(database)
    finally:
        call_command("migrate", database=database, verbosity=0)
    assert f"manage.py migrate --database={database}" in caplog.text


def test_task__for_a_replica__leaves_it_to_its_primary(postgresql_alias, django_db_blocker, caplog):
    """A read-only database among DATABASES is no trouble: no error is logged."""
    caplog.set_level(logging.INFO)
    with in_use(postgresql_alias, django_db_blocker):
        save(postgresql_alias)
        with connections[postgresql_alias].cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = on")
        tasks.relay(postgresql_alias)
        connections[postgresql_alias].close()
        assert pending(postgresql_alias) == 1
    assert "is read-only" in caplog.text
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ([],),
        ("default", list(range(5000))),
        ("default", [16]),
        ("default", [-1]),
        ("default", [True]),
        ("default", ["1"]),
        ("default", 3),
        ("default", "123"),
        ("default", [], "soon"),
        ("default", [], float("nan")),
        ("default", [], 1, 1),
        ("\x1b[2J" + "x" * 1000,),
        ({"a": 1},),
    ],
    ids=str,
)
def test_task__with_forged_arguments__dropped_with_a_short_line(monkeypatch, caplog, arguments):
    """Whoever writes to Celery's broker stops no worker, and nothing of it reaches the database."""
    monkeypatch.setattr(tasks, "relay_database", lambda *_: pytest.fail("relayed"))
    tasks.relay(*arguments)
    (record,) = caplog.records
    assert "is dropped" in record.getMessage()
    assert len(record.getMessage()) < 300
    assert record.exc_info is None
    assert "\x1b" not in record.getMessage()


def test_purge__while_the_relay_is_busy__runs_beside_it(database, thread, monkeypatch):
    """Also under load the log is purged."""
    release, purged = threading.Event(), threading.Event()
    monkeypatch.setattr(threads, "relay_database", lambda *args, **more: release.wait(20))
    monkeypatch.setattr(purge, "purge_database", lambda *args: purged.set())
    thread()
    assert purged.wait(10)
    release.set()
