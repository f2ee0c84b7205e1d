"""A whole system: a Django process that saves, a Celery worker, a nameko service, and the servers between them."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from mirakuru import TCPExecutor

from tests.acceptance.shop import Shop
from tests.processes import run, running, wait_until


@dataclass
class System:
    """One test's system, whose service name and Celery queue no other test has.

    Attributes:
        env: Environment of its processes.
        folder: Where their logs are.
        worker_env: What its workers have beside or in place of that.
    """

    env: dict[str, str]
    folder: Path
    worker_env: dict[str, str] = field(default_factory=dict)

    def configure(self, **options: Any) -> None:
        """Set keys of EVENTS_SOURCING, for the processes that are started afterwards."""
        given = json.loads(self.env.get("EVENTS_SOURCING", "{}"))
        self.env["EVENTS_SOURCING"] = json.dumps({**given, **options})

    def django(self, code: str) -> str:
        """Run ``code`` in a Django process of its own, and return what it prints."""
        prelude = (
            "import django; django.setup()\nfrom django.db import transaction\nfrom tests.project.models import *\n"
        )
        return run([sys.executable, "-c", prelude + code], self.env)

    def worker(self, *options: str, name: str = "worker", ready: str = " ready.") -> AbstractContextManager[Any]:
        """A Celery worker, entered when its log says ``ready``; PostgreSQL knows its sessions by its name."""
        celery = [sys.executable, "-m", "celery", "-A", "tests.project", "worker", "--loglevel", "INFO"]
        command = [*celery, "--concurrency", "2", "--hostname", f"{name}@%h", *options]
        return running(command, ready, self.log(name), {**self.env, **self.worker_env, "PGAPPNAME": name})

    def service(self, module: str = "tests.project.services", name: str = "service") -> AbstractContextManager[Any]:
        """The nameko service of a module; it is ready when its queues are bound. By ``name`` goes its log."""
        config = self.folder / "nameko.yaml"
        logging = {"version": 1, "handlers": {"all": {"class": "logging.StreamHandler"}}}
        loggers = {"nameko.runners": {"level": "DEBUG", "handlers": ["all"]}}
        config.write_text(json.dumps({"AMQP_URI": self.env["AMQP_URI"], "LOGGING": {**logging, "loggers": loggers}}))
        nameko = [sys.executable, "-c", "from nameko.cli.main import main; main()"]
        command = [*nameko, "run", "--config", str(config), module]
        return running(command, "services started", self.log(name), self.env)

    def status(self, database: str = "default") -> dict[str, Any]:
        """What ``manage.py events status`` says."""
        command = [sys.executable, "-m", "django", "events", "status", "--json", "--database", database]
        found: dict[str, Any] = json.loads(run(command, self.env))
        return found

    def log(self, name: str) -> Path:
        """The file that holds all that a process printed."""
        return self.folder / f"{name}.log"

    def handled(self) -> list[dict[str, Any]]:
        """What the nameko service has handled so far: worker context, ``event`` and ``data`` of each event."""
        handled = Path(self.env["HANDLED"])
        return [json.loads(line) for line in handled.read_text().splitlines()] if handled.exists() else []

    def wait_for(self, number: int, within: float = 30) -> list[dict[str, Any]]:
        """What the nameko service has handled, once it is so many events."""
        try:
            wait_until(lambda: len(self.handled()) >= number, f"{number} events handled", within)
        except AssertionError as exc:
            logs = "\n".join(f"--- {log.name}\n{log.read_text()}" for log in self.folder.glob("*.log"))
            raise AssertionError(f"{exc}, but {len(self.handled())}: {self.handled()}\n{logs}") from None
        return self.handled()


def connect(database: dict[str, str]) -> psycopg.Connection:
    """A connection to the PostgreSQL database that the environment names, in autocommit mode."""
    port, name = database["POSTGRES_PORT"], database["POSTGRES_DATABASE"]
    return psycopg.connect(host="127.0.0.1", port=port, user="postgres", dbname=name, autocommit=True)


@contextmanager
def held_open(database: dict[str, str]) -> Iterator[None]:
    """Within it a transaction keeps what is deleted in PostgreSQL from being vacuumed."""
    with connect(database) as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT txid_current(), count(*) FROM django_events_sourcing_queue")
        yield


def create_database(port: int, name: str, settings: str) -> dict[str, str]:
    """Environment that names settings, and a new PostgreSQL database with their tables."""
    server = {"POSTGRES_PORT": str(port), "POSTGRES_DATABASE": "postgres"}
    with connect(server) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    env = {**server, "POSTGRES_DATABASE": name, "DJANGO_SETTINGS_MODULE": settings}
    run([sys.executable, "-m", "django", "migrate", "--run-syncdb"], {**os.environ, **env})
    return env


def environment(database: dict[str, str], redis: TCPExecutor, rabbitmq: TCPExecutor) -> dict[str, str]:
    """That of a system with the database and the brokers, whose service name no other has."""
    return {
        **os.environ,
        **database,
        "REDIS_URL": f"redis://127.0.0.1:{redis.port}/0",
        "AMQP_URI": f"amqp://guest:guest@127.0.0.1:{rabbitmq.port}/",
        "SERVICE_NAME": f"shop-{uuid4()}",
    }


@pytest.fixture(scope="session")
def database(postgresql_proc) -> dict[str, str]:
    """Environment that names a PostgreSQL database with the test project's tables."""
    return create_database(postgresql_proc.port, "acceptance", "tests.project.settings")


@pytest.fixture
def system(tmp_path, database, redis_proc, rabbitmq_proc) -> Iterator[System]:
    """A system without processes; a test starts those it needs. Its outbox is empty, and is emptied afterwards."""
    yield System(
        env={
            **environment(database, redis_proc, rabbitmq_proc),
            "HANDLED": str(tmp_path / "handled.jsonl"),
            "TMPDIR": str(tmp_path),  # where Celery leaves something behind for each worker
            "PYTHONUNBUFFERED": "1",
        },
        folder=tmp_path,
    )
    names = ("log", "queue", "failure", "partition", "published", "worker", "operation")
    with connect(database) as connection:
        connection.execute(f"TRUNCATE {', '.join(f'django_events_sourcing_{name}' for name in names)}")


@pytest.fixture
def shop(system, redis_proc, rabbitmq_proc) -> Iterator[Shop]:
    """A system with a queue that keeps whatever arrives."""
    shop = Shop(system, redis_proc, rabbitmq_proc)
    shop.open()
    yield shop
    shop.end()


@pytest.fixture
def running_system(system) -> Iterator[System]:
    """A system with a worker and a nameko service."""
    with system.service(), system.worker():
        yield system
