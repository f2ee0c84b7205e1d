"""The wake-up after a commit, from this process to a real Redis, and the relay that it starts in eager mode."""

import ast
import json
import logging
import os
import subprocess
import sys
import threading
import time
from time import monotonic
from types import SimpleNamespace

import pytest
from django.db import transaction
from django.test import TestCase

from django_events_sourcing.delivery import on_commit, waker
from django_events_sourcing.models import QueueEntry
from django_events_sourcing.outbox.partitioning import partition_of
from tests.integration.conftest import in_use
from tests.processes import run, wait_until
from tests.project.models import Order, Product
from tests.servers import stopped, suspended

SAVE = (
    "import django; django.setup()\nfrom tests.project.models import Product\nProduct.objects.create(name=1, price=1)"
)
IMPORTS = "import os, time\nfrom django.db import connections\nfrom django_events_sourcing.delivery import waker"
CHILDREN = """
for number in range({children}):
    if os.fork() == 0:
        connections.close_all()
        Product.objects.create(name=number, price=1)
        waker._of_this_process().flush(5)
        os._exit(0)
    time.sleep({pause})
for number in range({children}):
    assert os.wait()[1] == 0
"""
FORK = f"""{SAVE}
{IMPORTS}
waker._of_this_process().flush(5)
{CHILDREN.format(children=3, pause=0)}
Product.objects.create(name="parent", price=1)
"""
FORK_MEANWHILE = f"""{SAVE}
{IMPORTS}
{CHILDREN.format(children=10, pause=0.02)}
"""


@pytest.fixture(autouse=True)
def _outbox(settings):
    settings.EVENTS_SOURCING = {"DELIVERY": "outbox"}


@pytest.fixture
def woken(monkeypatch):
    """The databases that relays were woken for so far, a list that grows."""
    woken: list[str] = []
    monkeypatch.setattr(on_commit, "wake", lambda using, _partitions: woken.append(using))
    return woken


def save(using, number=1):
    return Product.objects.using(using).create(name=number, price=1)


def test_transaction__of_many_events__wakes_once(database, woken):
    """However many events it held, at its commit and not before."""
    with transaction.atomic(using=database):
        for number in range(100):
            save(database, number)
        with transaction.atomic(using=database):
            Order.objects.using(database).create(number="1", customer="Ann", total=1)
        assert woken == []
    assert woken == [database]
    save(database)
    assert woken == [database] * 2


def test_transaction__rolled_back__wakes_nobody(database, woken):
    """Nor does a savepoint that is; what was saved after it does."""
    with transaction.atomic(using=database):
        save(database)
        transaction.set_rollback(True, using=database)
    with transaction.atomic(using=database), transaction.atomic(using=database):
        save(database)
        transaction.set_rollback(True, using=database)
    assert woken == []
    with transaction.atomic(using=database):
        with transaction.atomic(using=database):
            save(database)
            transaction.set_rollback(True, using=database)
        save(database)
    assert woken == [database]


def test_savepoint__that_takes_earlier_callbacks_along__one_wake_up(database, woken):
    """Django has the callbacks behind those move up."""
    with transaction.atomic(using=database):
        with transaction.atomic(using=database):
            transaction.on_commit(lambda: None, using=database)
            with transaction.atomic(using=database):
                save(database)
            transaction.set_rollback(True, using=database)
        for number in range(3):
            with transaction.atomic(using=database):
                transaction.on_commit(lambda: None, using=database)
                transaction.set_rollback(number == 1, using=database)
            save(database)
    assert woken == [database]


def test_callbacks__captured_and_run_by_a_testcase__wake_each_time(database, woken):
    """It leaves them in Django's list, and runs those that come behind."""
    with transaction.atomic(using=database):
        for number in range(2):
            with TestCase.captureOnCommitCallbacks(using=database, execute=True):
                save(database, number)
        assert woken == [database] * 2
        transaction.set_rollback(True, using=database)


def test_manual_transactions__saved_in__wake_nobody_and_raise_nothing(database, woken):
    """Django doesn't know when those commit; the sweep finds what they did."""
    transaction.set_autocommit(False, using=database)
    try:
        save(database)
        transaction.commit(using=database)
    finally:
        transaction.set_autocommit(True, using=database)
    assert QueueEntry.objects.using(database).count() == 1


def test_two_databases__saved_in__both_woken(sqlite_alias, postgresql_alias, woken, django_db_blocker):
    """Each transaction wakes the relay of its own database."""
    with django_db_blocker.unblock():
        product, other = save(sqlite_alias), save(postgresql_alias)
        assert woken == [sqlite_alias, postgresql_alias]
        product.delete(using=sqlite_alias)
        other.delete(using=postgresql_alias)


def wake_ups(redis):
    return [json.loads(message)["headers"] for message in redis.lrange("celery", 0, -1)]


def test_commit__on_redis__one_message_by_name(database, redis):
    """The wake-up names the task, the database, the partition and the time."""
    product = save(database)
    (headers,) = wait_until(lambda: wake_ups(redis), "the wake-up is on Redis")
    assert headers["task"] == "django_events_sourcing.relay"
    partition = partition_of(f"project.product:{product.pk}")
    using, partitions, sent = ast.literal_eval(headers["argsrepr"])
    assert (using, partitions) == (database, [partition])
    assert time.time() - sent < 60


def test_transaction__in_many_partitions__wake_up_names_none(database, redis):
    """The relay has to look at all of them."""
    with transaction.atomic(using=database):
        for number in range(100):
            save(database, number)
    (headers,) = wait_until(lambda: wake_ups(redis), "the wake-up is on Redis")
    assert headers["argsrepr"].startswith(f"({database!r}, [], ")


def test_many_commits__in_a_row__share_wake_ups(database, redis):
    """What is committed while one is on its way needs no more than another."""
    began = monotonic()
    for number in range(100):
        save(database, number)
    waker._of_this_process().flush(5)
    assert 1 <= len(wake_ups(redis)) <= 2 + (monotonic() - began) / waker.PAUSE


def test_many_commits__while_a_wake_up_is_on_its_way__share_the_next(sqlite_alias, monkeypatch, django_db_blocker):
    """However long it takes."""
    sent: list[str] = []
    is_sending, may_end = threading.Event(), threading.Event()

    def enqueue(*_arguments, **_options):
        sent.append("wake-up")
        is_sending.set()
        may_end.wait(30)

    monkeypatch.setattr(waker, "_wakers", {})
    monkeypatch.setattr(waker, "enqueue", enqueue)
    with in_use(sqlite_alias, django_db_blocker):
        product = save(sqlite_alias)
        assert is_sending.wait(30)
        for _ in range(20):
            product.save()
        assert sent == ["wake-up"]
        may_end.set()
        waker._of_this_process().flush(30)
        assert sent == ["wake-up"] * 2


@pytest.mark.parametrize("away", ["down", "hung"])
def test_redis__away__saves_neither_wait_nor_fail(database, redis, redis_proc, away, caplog):
    """The request does not know; the log does, when it begins and when it ends; when Redis is back, wake-ups are."""
    waker._wakers.clear()
    with stopped(redis_proc) if away == "down" else suspended(redis_proc):
        began = monotonic()
        for number in range(20):
            save(database, number)
        assert monotonic() - began < 1
        wait_until(lambda: caplog.records, "a warning")
        waker._of_this_process().flush(10)
    redis.flushdb()
    save(database)
    wait_until(lambda: wake_ups(redis), "the wake-up is on Redis")
    waker._of_this_process().flush(10)
    begins, ends = [record for record in caplog.records if record.name == "django_events_sourcing.delivery.waker"]
    assert begins.levelno == ends.levelno == logging.WARNING
    assert "sweep finds the events" in begins.getMessage()
    assert "are sent again, after" in ends.getMessage()


def test_connection_to_redis__ended_while_it_idled__is_no_trouble(database, redis, caplog):
    """The next wake-up goes over a new one."""
    for number in range(3):
        redis.flushdb()
        save(database, number)
        wait_until(lambda: wake_ups(redis), "the wake-up is on Redis", within=5)
        waker._of_this_process().flush(10)
        assert redis.client_kill_filter(_type="normal", skipme=True)
    assert not caplog.records


def test_trouble_with_celerys_broker__lasts__logged_once_a_minute(caplog, monkeypatch):
    """However many wake-ups fail."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    trouble = waker._Trouble()
    for _ in range(200):
        trouble.lasts(OSError("redis://:secret@redis/0 is away"))
        now[0] += 1
    trouble.ends()
    trouble.ends()
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "Wake-ups for new events are not sent",
        "Wake-ups for new events are not sent, for 60 s by now",
        "Wake-ups for new events are not sent, for 120 s by now",
        "Wake-ups for new events are not sent, for 180 s by now",
        "Wake-ups are sent again, after 200.0 s and 200 that were not sent.",
    ]
    assert "secret" not in caplog.text


@pytest.fixture
def process_env(tmp_path, redis, redis_proc):
    """Environment of a Django process with a database in a file and Redis as Celery's broker."""
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.project.settings",
        "SQLITE_DATABASE": str(tmp_path / "database"),
        "REDIS_URL": f"redis://127.0.0.1:{redis_proc.port}/3",
        "SERVICE_NAME": "celery",
        "EVENTS_SOURCING": '{"DELIVERY": "outbox"}',
    }
    run([sys.executable, "-m", "django", "migrate", "--run-syncdb"], env)
    return env


def test_process__that_saves_and_exits_at_once__has_sent_its_wake_up(process_env, redis):
    """The end of a process waits for the wake-up on its way."""
    run([sys.executable, "-c", SAVE], process_env)
    assert len(wake_ups(redis)) == 1


def test_process__that_exits_while_redis_hangs__ends_soon(process_env, redis_proc):
    """It waits for no more than two seconds and a bit."""
    with suspended(redis_proc):
        began = monotonic()
        process = subprocess.run([sys.executable, "-c", SAVE], env=process_env, timeout=60)
        assert process.returncode == 0
        assert monotonic() - began < 15


def test_process__forked_after_it_saved__wakes_from_parent_and_children(process_env, redis):
    """A server that forks after it has saved, say: no thread, lock or connection of the parent's is used."""
    run([sys.executable, "-c", FORK], process_env)
    assert len(wake_ups(redis)) == 5


def test_processes__forked_while_the_first_wake_up_is_sent__each_wakes(redis, process_env):
    """They have no module that was half imported, and no lock that somebody held."""
    run([sys.executable, "-c", FORK_MEANWHILE], process_env)
    assert len(wake_ups(redis)) == 11


@pytest.mark.parametrize("worker, master, wakes", [(0, 0, 0), (0, None, 0), (0, 1, 1), (1, 1, 1)])
def test_uwsgi__before_it_forks__nothing_is_sent_by_a_thread(
    sqlite_alias, redis, monkeypatch, django_db_blocker, worker, master, wakes
):
    """It would fork in the middle of it. In a mule, and in its workers, wake-ups are sent."""
    uwsgi = SimpleNamespace(worker_id=lambda: worker, masterpid=lambda: os.getpid() if master is None else master)
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    monkeypatch.setattr(waker, "_wakers", {})
    with django_db_blocker.unblock():
        save(sqlite_alias).delete(using=sqlite_alias)
    waker._of_this_process().flush(5)
    assert min(len(wake_ups(redis)), 1) == wakes


def test_eager_mode__commit__relays_inline(database, queue, make_celery_app, caplog):
    """In tests, events are published inside the process, at the commit; nothing raises when RabbitMQ is away."""
    app = make_celery_app(broker="memory://")
    app.conf.task_always_eager = True
    with transaction.atomic(using=database):
        save(database)
        assert queue.get(no_ack=True) is None
    message = queue.get(no_ack=True)
    assert message.headers["nameko.event_sequence"] > 0
    assert QueueEntry.objects.using(database).count() == 0


def test_eager_mode__rabbitmq_away__event_stays_and_the_save_succeeds(
    database, make_celery_app, settings, free_port, caplog
):
    """It is pending, and logged."""
    app = make_celery_app(broker="memory://")
    app.conf.task_always_eager = True
    settings.AMQP_URI = f"amqp://guest:secret@127.0.0.1:{free_port}/"
    save(database)
    assert QueueEntry.objects.using(database).count() == 1
    assert f"RabbitMQ is in trouble; 1 event waits in database {database!r}" in caplog.text
