"""The system that faults happen to: writers, workers, servers, and a queue that keeps whatever arrives."""

import os
import random
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any

from kombu.connection import Connection
from kombu.entity import Queue
from mirakuru import TCPExecutor
from nameko.standalone.events import get_event_exchange

from tests.acceptance.verdict import Arrival, Changes, read_ledger
from tests.processes import running, wait_until
from tests.servers import RabbitMQ
from tests.servers.proxy import Proxy

__all__ = ["LEASE", "SWEEP_INTERVAL", "Shop", "p99"]

WRITERS = 3
#: Of each writer, at least: they go on while the fault does. `make soak` has it larger.
EVENTS_OF_EACH = int(os.environ.get("EVENTS_OF_EACH", "300"))
SWEEP_INTERVAL = 2.0
LEASE = 4.0


def p99(values: Iterable[float]) -> float:
    """What one in a hundred of the values is above."""
    return quantiles(values, n=100)[98]


class Shop:
    """The system under fault: writers, workers, and a queue that keeps whatever arrives."""

    def __init__(self, system, redis: TCPExecutor, rabbitmq: RabbitMQ) -> None:
        self.system = system
        self.redis = redis
        self.rabbitmq = rabbitmq
        self.changes: Changes = {}
        self.took: list[tuple[float, float]] = []
        self._workers: dict[str, tuple[ExitStack, Any]] = {}

    def open(self) -> None:
        """Have a queue for all events."""
        with self.queue() as queue:
            queue.declare()

    def arrivals(self) -> list[Arrival]:
        """What has arrived, in order."""
        arrived = []
        with self.queue() as queue:
            while message := queue.get(no_ack=True):
                headers = {key.removeprefix("nameko."): value for key, value in message.headers.items()}
                kind = message.delivery_info["routing_key"].partition("__")[2]
                what = (kind, message.decode()["name"])
                arrived.append(Arrival(headers["event_id"], headers["event_object"], headers["event_sequence"], what))
        return arrived

    def arrived(self) -> int:
        """How many have arrived and were not taken."""
        with self.queue() as queue:
            return int(queue.queue_declare(passive=True).message_count)

    @contextmanager
    def queue(self, name: str = "", **arguments: Any) -> Iterator[Any]:
        """A queue of all events, yet to be declared, with such arguments; without a name, the one that keeps all."""
        with Connection(self.system.env["AMQP_URI"]) as connection:
            exchange = get_event_exchange(service := self.system.env["SERVICE_NAME"], {})
            yield Queue(service + name, exchange, "#", queue_arguments=arguments)(connection.default_channel)

    @contextmanager
    def full_queue(self) -> Iterator[None]:
        """Within it there is another queue for all events, which soon rejects what comes."""
        with self.queue("-full", **{"x-max-length": 5, "x-overflow": "reject-publish"}) as queue:
            queue.declare()
            try:
                yield
            finally:
                queue.delete()

    def delete_exchange(self) -> None:
        """Have nothing bound any more, for a moment."""
        with self.queue() as queue:
            queue.exchange.delete()
            queue.declare()

    @contextmanager
    def limit(self, command: str, low: str, usual: str) -> Iterator[None]:
        """Within it RabbitMQ raises an alarm, over a limit that a command of rabbitmqctl sets."""
        self.rabbitmq.rabbitctl_output(command, low)
        try:
            yield
        finally:
            self.rabbitmq.rabbitctl_output(command, usual)

    @contextmanager
    def on_a_network(self) -> Iterator[Proxy]:
        """Within it the workers that are started talk to RabbitMQ through a proxy."""
        with Proxy(self.rabbitmq.port) as network:
            self.system.worker_env["AMQP_URI"] = f"amqp://guest:guest@127.0.0.1:{network.port}/"
            yield network

    def start_worker(self, name: str, *options: str) -> None:
        self.start_workers(name, options=options)

    def start_workers(self, *names: str, options: Iterable[str] = ()) -> None:
        """Start workers side by side, and wait until they run; not until they are ready, for Redis may be away."""
        for name in names:
            stack = ExitStack()
            process = stack.enter_context(self.system.worker(*options, name=name, ready=""))
            self._workers[name] = (stack, process)
        for name in names:
            log = self.system.log(name)
            wait_until(lambda log=log: "[tasks]" in log.read_text(), f"worker {name} runs: {log}")  # type: ignore[misc]

    def wait_until_ready(self, name: str) -> None:
        """Wait until the worker takes tasks."""
        wait_until(lambda: " ready." in self.system.log(name).read_text(), f"worker {name} is ready")

    def pid_of(self, name: str) -> int:
        """The worker's main process."""
        return int(self._workers[name][1].pid)

    def kill_worker(self, name: str) -> None:
        os.killpg(self.pid_of(name), signal.SIGKILL)
        self.end_worker(name)

    def end_worker(self, name: str) -> None:
        self._workers.pop(name)[0].close()

    def shut_down_worker(self, name: str) -> None:
        """By SIGTERM to its main process, as service managers do; it ends by itself."""
        _, process = self._workers[name]
        process.send_signal(signal.SIGTERM)
        # Where a task was just begun, Celery's main process may read its result no more, for which billiard's child
        # waits for 30 s (GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT in billiard/pool.py).
        assert process.wait(60) == 0, self.system.log(name).read_text()
        self.end_worker(name)

    def end(self) -> None:
        """End all workers, with no time to tidy up."""
        for name in list(self._workers):
            self.kill_worker(name)

    @contextmanager
    def writing(self, writers: int = WRITERS, events: int = EVENTS_OF_EACH) -> Iterator[None]:
        """Within it writers write; it ends when each has made so many events, and none has raised."""
        stop = self.system.folder / f"stop-{random.getrandbits(32)}"
        with ExitStack() as stack:
            processes = []
            for number in range(writers):
                ledger = self.system.folder / f"{stop.name}-{number}.ledger"
                processes.append((ledger, stack.enter_context(self.writer(ledger, stop, events))))
            wait_until(lambda: all(ledger.exists() for ledger, _ in processes), "all writers write")
            yield
            stop.touch()
            for ledger, process in processes:
                assert process.wait(120) == 0, self.system.log(ledger.stem).read_text()
                self.learn(ledger)

    def writer(self, ledger: Path, stop: Path = Path("never"), events: int = 0) -> AbstractContextManager[Any]:
        """One of them, which goes on until the file ``stop`` is there."""
        command: list[str | Path] = [sys.executable, "-m", "tests.acceptance.writer", ledger, stop, str(events)]
        return running(command, "", self.system.log(ledger.stem), self.system.env)

    def learn(self, ledger: Path) -> None:
        """Take over what a writer wrote down."""
        changes, took = read_ledger(ledger, self._was_committed)
        self.changes.update(changes)
        self.took += took

    def _was_committed(self, key: str, kind: str, name: str) -> bool:
        if kind not in {"created", "updated", "deleted"}:  # an event that leaves no trace elsewhere
            return bool(int(self.system.django(_COUNT_EVENTS.format(key=key, kind=kind, name=name))))
        pk = key.rpartition(":")[2]
        found: list[str] = self.system.django(
            f"print(*Product.objects.filter(pk={pk}).values_list('name', flat=True))"
        ).split()
        return found == ([] if kind == "deleted" else [name])

    def pending(self, database: str = "default") -> int:
        """How many events have not gone out."""
        return int(self.system.status(database)["pending"])

    def wait_until_drained(self, within: float = 60) -> None:
        """Until no event is pending; how long a process takes to look comes on top of ``within`` seconds."""
        pending = int(self.system.django(f"within = {within}\n{_WAIT_UNTIL_DRAINED}"))
        assert not pending, f"{pending} events have not gone out within {within} s"

    def p99(self, since: float, until: float) -> float:
        """Of the time that a change took, in seconds."""
        return p99(self.durations(since, until))

    def durations(self, since: float, until: float) -> list[float]:
        """How long each change took that ended within that time, in seconds."""
        return [took for at, took in self.took if since <= at <= until]


_COUNT_EVENTS = """
from django_events_sourcing.models import LogEntry

print(LogEntry.objects.filter(object="{key}", name__endswith="__{kind}", body__contains="{name}").count())
"""

_WAIT_UNTIL_DRAINED = """
import time
from django_events_sourcing.models import QueueEntry

deadline = time.monotonic() + within
while QueueEntry.objects.exists() and time.monotonic() < deadline:
    time.sleep(0.05)
print(QueueEntry.objects.count())
"""
