"""A database that a test may use in its own process, beside those of the settings."""

from collections.abc import Iterator

import psycopg
import pytest
from django.core.management import call_command
from django.db import connections, transaction


@pytest.fixture(scope="session")
def postgresql_alias(postgresql_proc, django_db_setup, django_db_blocker) -> Iterator[str]:
    """Alias of a PostgreSQL database with the test project's tables."""
    server = {"HOST": "127.0.0.1", "PORT": postgresql_proc.port, "USER": "postgres"}
    with psycopg.connect(**{key.lower(): value for key, value in server.items()}, autocommit=True) as connection:
        connection.execute("CREATE DATABASE integration")
    given = {"default": {}, "postgresql": {"ENGINE": "django.db.backends.postgresql", "NAME": "integration", **server}}
    connections.settings["postgresql"] = connections.configure_settings(given)["postgresql"]
    with django_db_blocker.unblock():
        call_command("migrate", run_syncdb=True, database="postgresql", verbosity=0)
        yield "postgresql"
        connections["postgresql"].close()
    del connections["postgresql"], connections.settings["postgresql"]


@pytest.fixture
def postgresql(postgresql_alias, django_db_blocker) -> Iterator[str]:
    """The same, for one test, whose changes are rolled back."""
    with django_db_blocker.unblock(), transaction.atomic(using=postgresql_alias):
        yield postgresql_alias
        transaction.set_rollback(True, using=postgresql_alias)
