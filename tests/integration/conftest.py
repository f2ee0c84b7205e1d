"""Databases and a RabbitMQ that a test may use in its own process, beside those of the settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.core.management import call_command
from django.db import connections, transaction
from kombu.connection import Connection
from kombu.entity import Queue
from nameko.standalone.events import get_event_exchange
from redis import Redis


@contextmanager
def _database(alias: str, settings: dict[str, Any], blocker: Any) -> Iterator[str]:
    """A database with the test project's tables, under ``alias``."""
    connections.settings[alias] = connections.configure_settings({"default": {}, alias: settings})[alias]
    with blocker.unblock():
        call_command("migrate", run_syncdb=True, database=alias, verbosity=0)
        yield alias
        connections[alias].close()
    del connections[alias], connections.settings[alias]


@pytest.fixture(scope="session")
def postgresql_alias(postgresql_proc, django_db_setup, django_db_blocker) -> Iterator[str]:
    """Alias of a PostgreSQL database."""
    server = {"HOST": "127.0.0.1", "PORT": postgresql_proc.port, "USER": "postgres"}
    with psycopg.connect(**{key.lower(): value for key, value in server.items()}, autocommit=True) as connection:
        connection.execute("CREATE DATABASE integration")
    settings = {"ENGINE": "django.db.backends.postgresql", "NAME": "integration", **server}
    with _database("postgresql", settings, django_db_blocker) as alias:
        yield alias


@pytest.fixture(scope="session")
def sqlite_alias(tmp_path_factory, django_db_setup, django_db_blocker) -> Iterator[str]:
    """Alias of a database of SQLite in a file, which several connections may share."""
    settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path_factory.mktemp("sqlite") / "database")}
    with _database("sqlite", settings, django_db_blocker) as alias:
        yield alias


@pytest.fixture(scope="session")
def mariadb_alias(mariadb_proc, django_db_setup, django_db_blocker) -> Iterator[str]:
    """Alias of a MariaDB database."""
    server = {"HOST": "127.0.0.1", "PORT": mariadb_proc.port, "USER": "root"}
    settings = {"ENGINE": "django.db.backends.mysql", "NAME": "integration", **server}
    with _database("mariadb", settings, django_db_blocker) as alias:
        yield alias


@pytest.fixture
def postgresql(postgresql_alias, django_db_blocker) -> Iterator[str]:
    """PostgreSQL for one test, whose changes are rolled back."""
    with django_db_blocker.unblock(), transaction.atomic(using=postgresql_alias):
        yield postgresql_alias
        transaction.set_rollback(True, using=postgresql_alias)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database(request, django_db_blocker) -> Iterator[str]:
    """Alias of a database of each kind, for tests that commit; it is empty, and emptied afterwards."""
    alias = request.getfixturevalue(f"{request.param}_alias")
    with django_db_blocker.unblock():
        yield alias
        call_command("flush", interactive=False, database=alias, inhibit_post_migrate=True, verbosity=0)


@pytest.fixture
def channel(rabbitmq_proc, settings):
    """A channel to RabbitMQ, which the settings point to; the source service is nobody else's."""
    settings.SERVICE_NAME = f"shop-{uuid4()}"
    settings.AMQP_URI = f"amqp://guest:guest@127.0.0.1:{rabbitmq_proc.port}/"
    with Connection(settings.AMQP_URI) as connection:
        yield connection.default_channel


@pytest.fixture
def queue(channel, settings):
    """A queue of every event of the service."""
    queue = Queue(str(uuid4()), get_event_exchange(settings.SERVICE_NAME, {}), "#", exclusive=True)(channel)
    queue.declare()
    return queue


@pytest.fixture
def redis(redis_proc, make_celery_app):
    """A database of Redis that is Celery's broker, and empty."""
    url = f"redis://127.0.0.1:{redis_proc.port}/3"
    make_celery_app(broker=url)
    with Redis.from_url(url) as redis:
        redis.flushdb()
        yield redis
