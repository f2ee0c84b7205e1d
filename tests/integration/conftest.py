"""Databases and a RabbitMQ that a test may use in its own process, beside those of the settings."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.core.management import call_command
from django.db import connections, transaction
from kombu import pools
from kombu.connection import Connection
from kombu.entity import Queue
from nameko.standalone.events import get_event_exchange
from redis import Redis

from django_events_sourcing import Event
from django_events_sourcing.conf import get_settings
from django_events_sourcing.delivery import waker
from django_events_sourcing.delivery.deliver import deliver
from django_events_sourcing.outbox import queries
from django_events_sourcing.tasks.presence import Presence
from django_events_sourcing.tasks.relay import Relay
from tests.project.celery import app


def connect(alias: str, **options: Any) -> psycopg.Connection:
    """A connection of one's own to the PostgreSQL database that Django knows by ``alias``; options are psycopg's."""
    known = connections[alias].settings_dict
    return psycopg.connect(host=known["HOST"], port=known["PORT"], user=known["USER"], dbname=known["NAME"], **options)


def execute(using: str, *statements: str) -> None:
    """Run statements, as they are."""
    with connections[using].cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def take(queue: Any) -> list[Any]:
    """What has arrived on a queue, as amqp's messages."""
    found = []
    while message := queue.channel.basic_get(queue.name, no_ack=True):
        found.append(message)
    return found


@contextmanager
def in_use(alias: str, blocker: Any) -> Iterator[str]:
    """Within it a test may use the database, and commit; it is emptied afterwards."""
    with blocker.unblock():
        yield alias
        call_command("flush", interactive=False, database=alias, inhibit_post_migrate=True, verbosity=0)


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
def binding_alias(postgresql_alias, django_db_blocker) -> Iterator[str]:
    """Alias of the same database, to whose server values are sent beside the statement."""
    settings = connections.settings[postgresql_alias] | {
        "OPTIONS": {"server_side_binding": True, "prepare_threshold": 0}
    }
    with _database("binding", settings, django_db_blocker) as alias:
        yield alias


@pytest.fixture(scope="session")
def derived_alias(postgresql_alias, django_db_blocker) -> Iterator[str]:
    """Alias of the same database, by a backend that derives from Django's."""
    settings = connections.settings[postgresql_alias] | {"ENGINE": "tests.derived_backend"}
    with _database("derived", settings, django_db_blocker) as alias:
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


@pytest.fixture(params=["sqlite", "postgresql", "binding", "mariadb"])
def database(request, django_db_blocker) -> Iterator[str]:
    """Alias of a database of each kind, for tests that commit; it is empty, and emptied afterwards."""
    with in_use(request.getfixturevalue(f"{request.param}_alias"), django_db_blocker) as alias:
        yield alias


@pytest.fixture
def channel(rabbitmq_proc, settings):
    """A channel to RabbitMQ, which the settings point to; the source service is nobody else's."""
    settings.SERVICE_NAME = f"shop-{uuid4()}"
    settings.AMQP_URI = f"amqp://guest:guest@127.0.0.1:{rabbitmq_proc.port}/"
    waker._flush()  # what a test before has it send makes pools, too
    pools.reset()  # a test before may have ended the connections in there
    app._after_fork()  # which has a pool of these, too
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


@pytest.fixture
def user(rabbitmq_proc, channel, settings):
    """Have the URI's user be one who may configure, write and read this, and return his name."""
    name = f"user-{uuid4()}"
    rabbitmq_proc.rabbitctl_output("add_user", name, "s3cret")
    settings.AMQP_URI = settings.AMQP_URI.replace("guest:guest", f"{name}:s3cret")

    def user(*permissions):
        if permissions:
            rabbitmq_proc.rabbitctl_output("set_permissions", name, *permissions)
        return name

    yield user
    rabbitmq_proc.rabbitctl_output("delete_user", name)


@pytest.fixture
def options(settings):
    """Set keys of EVENTS_SOURCING beside the delivery."""

    def options(**keys):
        settings.EVENTS_SOURCING = {"DELIVERY": "outbox", "RETRY_BACKOFF": 60, "RETRY_BACKOFF_MAX": 60, **keys}

    options()
    return options


@pytest.fixture
def emit(database, settings, options):
    """Hand an event of an object to the outbox."""

    def emit(key, body="{}", name="thing__changed", **fields):
        event = Event(name=name, service=settings.SERVICE_NAME, object=key, body=body, **fields)
        deliver([event], database)
        return event

    return emit


@pytest.fixture
def relay(database, queue):
    """Relay the database to the end; returns the objects of what arrived."""

    def relay():
        Relay(database, get_settings()).run()
        return [message.headers["nameko.event_object"] for message in take(queue)]

    return relay


@pytest.fixture
def poison(emit, options):
    """An event that no message can be made of, so that it is refused by itself."""
    return lambda key: emit(key, headers={"x" * 300: 1})


@pytest.fixture
def events(database):
    """Run the command on the database, and return what it prints."""

    def events(*arguments):
        output = io.StringIO()
        call_command("events", *map(str, arguments), "--database", database, stdout=output)
        return output.getvalue()

    return events


@pytest.fixture
def at_work(database):
    """Have a relay be at work on partitions, which ends its turn after so many seconds."""
    timers = []
    queries.ensure_partitions(database)

    def at_work(numbers, ends_after=None):
        owner = uuid4()
        assert queries.take(database, owner, numbers, 60) == set(numbers)

        def end():
            queries.release(database, owner, numbers)
            connections[database].close()

        if ends_after is not None:
            timers.append(Timer(ends_after, end))
            timers[-1].start()

    yield at_work
    for timer in timers:
        timer.join()


@pytest.fixture
def start_worker(database):
    """Have a worker of that name look for events; returns what gives its signs of life."""

    def start_worker(name="celery@here"):
        presence = Presence()
        presence.begin(name)
        presence.note_look(database)
        return presence

    return start_worker
