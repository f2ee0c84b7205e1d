"""The outbox's promise under faults: nothing lost, nothing made up, in order for each object, under one id each.

While writers change objects, a fault happens to the servers or the workers; then everything must have arrived.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any

import pytest
from kombu.connection import Connection
from kombu.entity import Queue
from mirakuru import TCPExecutor
from nameko.standalone.events import get_event_exchange

from tests.acceptance.verdict import Arrival, Changes, Verdict, judge, read_ledger
from tests.processes import running, wait_until
from tests.servers import suspended

WRITERS = 3
EVENTS_OF_EACH = 1000
SWEEP_INTERVAL = 2.0
LEASE = 4.0


class Shop:
    """The system under fault: writers, workers, and a queue that keeps whatever arrives."""

    def __init__(self, system, redis: TCPExecutor, rabbitmq: TCPExecutor) -> None:
        self.system = system
        self.redis = redis
        self.rabbitmq = rabbitmq
        self.changes: Changes = {}
        self.took: list[tuple[float, float]] = []
        self._workers: dict[str, tuple[ExitStack, Any]] = {}

    def open(self) -> None:
        """Have a queue for all events."""
        with self._queue() as queue:
            queue.declare()

    def arrivals(self) -> list[Arrival]:
        """What has arrived, in order."""
        arrived = []
        with self._queue() as queue:
            while message := queue.get(no_ack=True):
                headers = {key.removeprefix("nameko."): value for key, value in message.headers.items()}
                kind = message.delivery_info["routing_key"].partition("__")[2]
                what = (kind, message.decode()["name"])
                arrived.append(Arrival(headers["event_id"], headers["event_object"], headers["event_sequence"], what))
        return arrived

    @contextmanager
    def _queue(self) -> Iterator[Any]:
        with Connection(self.system.env["AMQP_URI"]) as connection:
            exchange = get_event_exchange(self.system.env["SERVICE_NAME"], {})
            yield Queue(self.system.env["SERVICE_NAME"], exchange, "#")(connection.default_channel)

    def start_worker(self, name: str) -> None:
        stack = ExitStack()
        process = stack.enter_context(self.system.worker(name=name, ready="[tasks]"))
        self._workers[name] = (stack, process)

    def signal_worker(self, name: str, number: signal.Signals) -> None:
        os.killpg(self._workers[name][1].pid, number)

    def kill_worker(self, name: str) -> None:
        self.signal_worker(name, signal.SIGKILL)
        self.end_worker(name)

    def end_worker(self, name: str) -> None:
        self._workers.pop(name)[0].close()

    def end(self) -> None:
        for name in list(self._workers):
            self.end_worker(name)

    @contextmanager
    def writing(self, writers: int = WRITERS, events: int = EVENTS_OF_EACH) -> Iterator[None]:
        """Within it writers write; it ends when each has made so many events, and none has raised."""
        stop = self.system.folder / f"stop-{random.getrandbits(32)}"
        with ExitStack() as stack:
            processes = []
            for number in range(writers):
                ledger = self.system.folder / f"{stop.name}-{number}.ledger"
                command = [sys.executable, "-m", "tests.acceptance.writer", ledger, stop, str(events)]
                log = self.system.log(f"{stop.name}-{number}")
                processes.append((ledger, log, stack.enter_context(running(command, "", log, self.system.env))))
            wait_until(lambda: all(ledger.exists() for ledger, *_ in processes), "all writers write")
            yield
            stop.touch()
            for ledger, log, process in processes:
                assert process.wait(120) == 0, log.read_text()
                self.learn(ledger)

    def learn(self, ledger: Path) -> None:
        """Take over what a writer wrote down."""
        changes, took = read_ledger(ledger, self._was_committed)
        self.changes.update(changes)
        self.took += took

    def _was_committed(self, key: int, kind: str, name: str) -> bool:
        found: list[str] = self.system.django(
            f"print(*Product.objects.filter(pk={key}).values_list('name', flat=True))"
        ).split()
        return found == ([] if kind == "deleted" else [name])

    def pending(self) -> int:
        """How many events have not gone out."""
        return int(self.system.status()["pending"])

    def wait_until_drained(self, within: float = 60) -> None:
        wait_until(lambda: self.pending() == 0, "all events have gone out", within)

    def p99(self, since: float, until: float) -> float:
        """Of the time that a change took, in seconds."""
        return quantiles([took for at, took in self.took if since <= at <= until], n=100)[98]


def pause(seconds: float) -> None:
    """Let the fault last."""
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > seconds, f"{seconds} s", seconds + 5)


@pytest.fixture
def shop(outbox_system, redis_proc, rabbitmq_proc) -> Iterator[Shop]:
    outbox_system.configure(SWEEP_INTERVAL=SWEEP_INTERVAL, LEASE=LEASE, RETRY_BACKOFF=0.2, RETRY_BACKOFF_MAX=1)
    shop = Shop(outbox_system, redis_proc, rabbitmq_proc)
    shop.open()
    try:
        yield shop
    finally:
        shop.end()


def nothing(shop: Shop) -> None:
    """All goes well."""


def workers_killed(shop: Shop) -> None:
    """``kill -9`` at random moments, again and again."""
    for number in range(8):
        pause(random.uniform(0.2, 1.2))
        shop.kill_worker(name := f"worker-{number % 2}")
        shop.start_worker(name)


def rabbitmq_restarted(shop: Shop) -> None:
    pause(1)
    with shop.rabbitmq.stopped():
        pause(3)


def rabbitmq_suspended(shop: Shop) -> None:
    """It hangs in the middle of a drain, for longer than anybody waits for a confirm."""
    pause(1)
    with suspended(shop.rabbitmq):
        pause(12)


def rabbitmq_away_for_long(shop: Shop) -> None:
    """For far longer than MAX_ATTEMPTS attempts; of those, none is counted."""
    with shop.rabbitmq.stopped():
        pause(10)
    assert shop.system.status()["dead"] == 0


def redis_killed(shop: Shop) -> None:
    """Its data are gone; it comes back."""
    pause(1)
    with shop.redis.stopped():
        pause(3)


def redis_suspended(shop: Shop) -> None:
    pause(1)
    with suspended(shop.redis):
        pause(5)


FAULTS: list[Callable[[Shop], None]] = [
    nothing,
    workers_killed,
    rabbitmq_restarted,
    rabbitmq_suspended,
    rabbitmq_away_for_long,
    redis_killed,
    redis_suspended,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_fault__while_several_write_and_two_workers_relay__keeps_the_promise(shop, fault):
    """Nothing lost, no ghost, no disorder, no event under two ids; and no writer raises."""
    shop.system.configure(MAX_ATTEMPTS=2)
    for number in range(2):
        shop.start_worker(f"worker-{number}")
    with shop.writing():
        fault(shop)
    shop.wait_until_drained()
    assert judge(shop.changes, shop.arrivals()) == Verdict()
