"""The processes that are measured, and the figures."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.acceptance.conftest import System, connect, create_database, environment
from tests.acceptance.shop import Shop
from tests.backlog import fill, refill
from tests.bench.figures import Figures
from tests.processes import pause, running, wait_until
from tests.servers import free_port, make_postgresql

SCALE = float(os.environ.get("BENCH_SCALE", "1"))


class Actor:
    """A process of ``tests.bench.actor``."""

    def __init__(self, env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.actor"],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, name: str, **arguments: Any) -> Any:
        """Have it call a function, and return what that returned."""
        self.send(name, **arguments)
        return self.answer()

    def send(self, name: str, **arguments: Any) -> None:
        """Have it call a function."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps([name, arguments]) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """What the function returned."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the process has ended"
        return json.loads(line)

    def end(self) -> None:
        """When what it is at is done."""
        self._process.communicate(timeout=60)


_DEAD = """
WITH dead AS (
    DELETE FROM django_events_sourcing_queue
    WHERE sequence IN (SELECT sequence FROM django_events_sourcing_queue ORDER BY sequence LIMIT %(dead)s)
    RETURNING sequence, partition, object_hash
)
INSERT INTO django_events_sourcing_failure (sequence, partition, object_hash, object, attempts, dead_at, error)
SELECT sequence, partition, object_hash, object, 20, 1, 'refused'
FROM dead JOIN django_events_sourcing_log USING (sequence)
"""


class Bench(Shop):
    """A system, whose events are counted as they arrive."""

    def actor(self) -> Actor:
        """A new process of ``tests.bench.actor``."""
        return Actor(self.system.env)

    @contextmanager
    def web_server(self, workers: int) -> Iterator[int]:
        """gunicorn with the view of ``tests.bench.web``; yields its port. No worker of Celery's is there meanwhile."""
        port = free_port()
        gunicorn = [sys.executable, "-m", "gunicorn", "tests.bench.web:application", "--workers", str(workers)]
        command = [*gunicorn, "--bind", f"127.0.0.1:{port}"]
        with running(command, "Listening at", self.system.log("gunicorn"), self.system.env):
            wait_until(lambda: self.system.log("gunicorn").read_text().count("Booting") == workers, "they are there")
            yield port

    def start_idle_worker(self, *options: str) -> None:
        """Start the worker while there are no events, and wait until it has looked for some."""
        self.start_worker("worker", *options)
        self.wait_until_ready("worker")
        pause(1)

    def fill(self, pending: int, objects: int = 5000) -> None:
        """Have nothing but so many pending events, of so many objects, in tables without dead rows."""
        with connect(self.system.env) as connection:
            refill(connection, self.system.env["SERVICE_NAME"], pending, objects, age=0)

    def fill_log(self, published: int, pending: int, dead: int) -> None:
        """Have so many events in the log, as they are after a long time; of those that were pending some are dead."""
        with connect(self.system.env) as connection:
            refill(connection, self.system.env["SERVICE_NAME"], 0)
            fill(connection, self.system.env["SERVICE_NAME"], published, pending)
            connection.execute(_DEAD, {"dead": dead})
            connection.execute("VACUUM ANALYZE")

    def rate(self, number: int, begin: Callable[[], object], within: float = 300) -> float:
        """How many events arrive in a second, from the first to the last of so many after ``begin`` is called."""
        with self.queue() as queue:
            channel, name = queue.channel, queue.name
            queue.purge()

            def arrived() -> int:
                return int(channel.queue_declare(name, passive=True).message_count)

            begin()
            deadline = time.monotonic() + within
            first = (0.0, 0)
            while (count := arrived()) < number:
                now = time.monotonic()
                assert now < deadline, f"{count} of {number} events within {within} s"
                if count and not first[1]:
                    first = (now, count)
                time.sleep(0.01)
            took = time.monotonic() - first[0]
            queue.purge()
        return (number - first[1]) / took


#: As users have it: it waits for the disk.
postgresql_proc = make_postgresql("-c fsync=on")


@pytest.fixture(scope="session")
def bench_database(postgresql_proc) -> dict[str, str]:
    """Environment that names a PostgreSQL database with the benchmark's tables."""
    return create_database(postgresql_proc.port, "bench", "tests.bench.settings")


@pytest.fixture
def bench(tmp_path, bench_database, redis_proc, rabbitmq_proc) -> Iterator[Bench]:
    """A system, whose queue takes all events."""
    system = System(environment(bench_database, redis_proc, rabbitmq_proc), tmp_path)
    bench = Bench(system, redis_proc, rabbitmq_proc)
    bench.open()
    bench.fill(0)
    yield bench
    bench.end()


@pytest.fixture
def actor(bench) -> Iterator[Actor]:
    """A process of ``tests.bench.actor``."""
    actor = bench.actor()
    yield actor
    actor.end()


@pytest.fixture(scope="session")
def figures() -> Iterator[Figures]:
    """Those of this run; printed at its end, and kept in the file that BENCH_JSON names."""
    figures = Figures()
    yield figures
    figures.write(path := Path(os.environ.get("BENCH_JSON", "build/bench.json")))
    print()
    figures.print()
    print(f"Kept in {path}. The picture of it: make picture")


@pytest.fixture
def rounds(request) -> Iterator[Callable[[int], Iterator[int]]]:
    """Numbers of rounds, with a bar that shows how many are over."""
    columns = [TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def rounds(number: int) -> Iterator[int]:
            number = max(1, round(number * SCALE))
            yield from progress.track(range(number), description=request.node.name.removeprefix("test_"))

        yield rounds


def resident(pid: int) -> float:
    """The memory of a process that is its own, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


def child_of(pid: int) -> int:
    """The one process of a worker that runs tasks."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return int(wait_until(lambda: children.read_text().split(), f"worker {pid} has a child")[0])


def processor_seconds(pid: int) -> dict[int, float]:
    """What a process and its children have taken of processors so far, by their pids."""
    process = psutil.Process(pid)
    times = {each.pid: each.cpu_times() for each in (process, *process.children(recursive=True))}
    return {pid: each.user + each.system for pid, each in times.items()}
