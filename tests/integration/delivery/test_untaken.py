"""Wake-ups that nobody takes, on real brokers: bounded and told, while others' tasks are no reason to stop."""

import logging

import pytest
from kombu.connection import Connection
from kombu.entity import Exchange, Queue

from django_events_sourcing.delivery import untaken, waker
from django_events_sourcing.tasks.untaken import UntakenWatch
from tests.processes import pause, wait_until
from tests.project.models import Product

MOST = 40

on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture(autouse=True)
def _few(settings, monkeypatch):
    settings.EVENTS_SOURCING = {"DELIVERY": "outbox"}
    monkeypatch.setattr(untaken, "MOST_UNTAKEN", MOST)
    monkeypatch.setattr(waker, "PAUSE", 0.001)
    monkeypatch.setattr(waker, "PAUSE_FOR_EACH", 0)
    waker._wakers.clear()
    yield
    waker._wakers.clear()


def save(using, number=1):
    for name in range(number):
        Product.objects.using(using).create(name=name, price=1)
        waker._of_this_process().flush(5)


class Broker:
    """Celery's, and its queue, which is empty at first.

    Args:
        queue: The queue, declared.
    """

    def __init__(self, queue):
        self._queue = queue
        self.clear()

    def length(self):
        return self._queue.channel.queue_declare(self._queue.name, durable=True, auto_delete=False).message_count

    def clear(self):
        """To Redis that is as if the queue had never been there."""
        self._queue.purge()

    def end(self):
        self._queue.delete()


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request, make_celery_app, redis_proc, rabbitmq_proc):
    """Celery's broker."""
    urls = {
        "redis": f"redis://127.0.0.1:{redis_proc.port}/3",
        "rabbitmq": f"amqp://guest:guest@127.0.0.1:{rabbitmq_proc.port}/",
    }
    make_celery_app(broker=urls[request.param])
    with Connection(urls[request.param]) as connection:
        queue = Queue("celery", Exchange("celery"), "celery")(connection.default_channel)
        queue.declare()
        broker = Broker(queue)
        yield broker
        broker.end()


@on_sqlite
def test_wake_ups__that_nobody_takes__bounded_and_told_once(database, broker, caplog):
    """Four times as many commits as may wait. When somebody takes them, wake-ups are sent again, within seconds."""
    save(database, 4 * MOST)
    assert MOST <= broker.length() <= 2 * MOST
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "wait in Celery's queue 'celery'" in record.getMessage()
    assert "celery worker -Q celery" in record.getMessage()
    broker.clear()
    wait_until(lambda: save(database) or broker.length(), "a wake-up is sent", within=5)


@on_sqlite
def test_wake_ups__of_processes_that_end_soon__bounded(database, redis):
    """Each of them looks before it sends one."""
    for _ in range(MOST + 10):
        waker._wakers.clear()
        save(database)
    assert redis.llen("celery") == MOST


@on_sqlite
def test_long_queue__that_shrinks__takes_wake_ups(database, redis, caplog):
    """The project's own tasks wait in it, and are taken one after another."""
    redis.rpush("celery", *["a task of the project's"] * 10 * MOST)
    save(database)
    before = redis.llen("celery")
    assert before == 10 * MOST
    redis.ltrim("celery", 5, -1)
    pause(untaken._LOOK_AGAIN)
    for _ in range(10):
        save(database)
        redis.ltrim("celery", 5, -1)
    assert redis.llen("celery") == before - 5 + 10 - 50


@on_sqlite
def test_queue__that_is_not_there__takes_wake_ups(database, broker):
    """At first, say. RabbitMQ closes the channel on which it is asked for it."""
    broker.end()
    for _ in range(3):
        waker._wakers.clear()
        save(database)
        wait_until(lambda: broker.length() == 1, "the wake-up is there", within=5)
        broker.clear()


def test_worker__while_nobody_takes_wake_ups__tells_it_once_an_hour(redis, caplog):
    """Whichever of its processes looks."""
    redis.rpush("celery", *["a task"] * MOST)
    for _ in range(3):
        UntakenWatch().look_if_due()
    (record,) = caplog.records
    assert f"{MOST} tasks wait in Celery's queue 'celery'" in record.getMessage()
