"""Several aliases of one database: roles that may only read, ways through a pooler, and other schemas."""

import json
import logging
from contextlib import contextmanager

import pytest
from django.core.management import call_command
from django.db import connections

from django_events_sourcing import tasks
from django_events_sourcing.outbox import identity
from django_events_sourcing.outbox.identity import one_of_each_outbox, writable_twin
from tests.integration.conftest import execute
from tests.project.models import Product

OURS = "django_events_sourcing"

GRANTS = {
    "postgresql": [
        "CREATE ROLE reporter LOGIN",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reporter",
        "DROP OWNED BY reporter",
        "DROP ROLE reporter",
    ],
    "mariadb": [
        "CREATE USER reporter@'127.0.0.1'",
        "GRANT SELECT ON integration.* TO reporter@'127.0.0.1'",
        "DROP USER reporter@'127.0.0.1'",
    ],
}


@contextmanager
def alias_of(database, name="twin", **settings):
    """Another alias of a database, with other settings."""
    connections.settings[name] = connections.settings[database] | settings
    try:
        yield name
    finally:
        connections[name].close()
        del connections[name], connections.settings[name]


@pytest.fixture
def aliases(monkeypatch):
    """Have there be no others than these, whatever other tests made."""
    return lambda *those: monkeypatch.setattr(identity, "outbox_databases", lambda: list(those))


@pytest.fixture
def reporting(database, aliases):
    """Alias of the database by a user who may only read."""
    create, grant, *drop = GRANTS[database]
    execute(database, create, grant)
    with alias_of(database, "reporting", USER="reporter") as alias:
        aliases(alias, database)
        yield alias
    execute(database, *drop)


with_roles = pytest.mark.parametrize("database", list(GRANTS), indirect=True)


def save(using):
    Product.objects.using(using).create(name="pen", price=1)


@with_roles
def test_alias__of_a_role_that_may_only_read__left_to_the_one_that_may_write(database, reporting, options, caplog):
    """No error is logged, and no session is opened that wasn't there."""
    caplog.set_level(logging.INFO)
    save(database)
    connections[database].close()
    tasks.relay(reporting)
    assert f"Database 'reporting' is {database!r} with a user who may not write" in caplog.text
    assert not [record for record in caplog.records if record.name.startswith(OURS) and record.levelno > logging.INFO]
    assert connections[database].connection is None


@with_roles
def test_role__that_may_not_write_and_has_no_other_alias__error_with_the_mend(
    database, reporting, options, caplog, aliases
):
    """Else the events would never go out, without a word."""
    save(database)
    aliases(reporting)
    tasks.relay(reporting)
    (record,) = [record for record in caplog.records if record.name.startswith(OURS)]
    assert record.levelno == logging.ERROR
    assert "Let the user 'reporter' read and write the tables django_events_sourcing_*" in record.getMessage()


@with_roles
def test_status__of_an_outbox_with_two_aliases__shows_it_once(database, reporting, options, capsys):
    """By the one that may write, whichever comes first; unless it is asked for by name."""
    save(database)
    assert one_of_each_outbox([reporting, database]) == [database]
    assert one_of_each_outbox([database, reporting]) == [database]
    call_command("events", "status", "--json")
    found = json.loads(capsys.readouterr().out)
    assert reporting not in found["databases"]
    call_command("events", "status", "--json", "--database", reporting)
    assert json.loads(capsys.readouterr().out)["pending"] == 1


def test_schemas__and_databases_of_one_server__each_by_itself(postgresql_alias, django_db_blocker):
    """They have tables of their own."""
    with django_db_blocker.unblock():
        execute(postgresql_alias, "CREATE SCHEMA tenant", "CREATE DATABASE beside TEMPLATE template0")
        try:
            with alias_of(postgresql_alias, OPTIONS={"options": "-c search_path=tenant"}) as tenant:
                call_command("migrate", "django_events_sourcing", database=tenant, verbosity=0)
                assert one_of_each_outbox([postgresql_alias, tenant]) == [postgresql_alias, tenant]
            with alias_of(postgresql_alias, NAME="beside") as beside:
                call_command("migrate", "django_events_sourcing", database=beside, verbosity=0)
                assert one_of_each_outbox([postgresql_alias, beside]) == [postgresql_alias, beside]
        finally:
            execute(postgresql_alias, "DROP SCHEMA tenant CASCADE", "DROP DATABASE beside")


def test_alias__through_a_pooler__is_the_same_outbox(pgbouncer_port, postgresql_alias, django_db_blocker, aliases):
    """Wherever it goes through."""
    with django_db_blocker.unblock(), alias_of(postgresql_alias, PORT=pgbouncer_port) as pooled:
        aliases(postgresql_alias, pooled)
        assert one_of_each_outbox([pooled, postgresql_alias]) == [pooled]
        assert writable_twin(postgresql_alias) == pooled
        connections[pooled].close()


@pytest.mark.django_db(databases=["default", "other"])
def test_databases__in_memory__each_by_itself():
    """They have no file."""
    assert one_of_each_outbox(["default", "other"]) == ["default", "other"]
