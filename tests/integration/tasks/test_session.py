"""The session of a relay's thread on PostgreSQL, which keeps the plans of what runs again and again."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, connections
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from django_events_sourcing.models import Failure, QueueEntry
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.partitioning import PARTITIONS, partition_of
from django_events_sourcing.tasks import session
from django_events_sourcing.tasks.session import end_after, use_own_session
from tests.backlog import fill
from tests.integration.conftest import connect

pytestmark = pytest.mark.skipif(not is_psycopg3, reason="psycopg 2 prepares nothing; there it's an ordinary session")

TIMES = 12  # PostgreSQL makes a plan for all values when it has made some for given ones


@pytest.fixture
def in_thread(django_db_blocker: Any) -> Callable[[Callable[[], Any]], Any]:
    """Run something in a thread, whose connections are its own; returns what it returns."""

    def in_thread(action: Callable[[], Any]) -> Any:
        def run() -> Any:
            with django_db_blocker.unblock():
                try:
                    return action()
                finally:
                    connections.close_all()

        with ThreadPoolExecutor(1) as threads:
            return threads.submit(run).result(60)

    return in_thread


@pytest.fixture
def through_pgbouncer(postgresql_alias, pgbouncer_port):
    """Have Django reach the database through pgbouncer."""
    known = connections.settings[postgresql_alias]
    connections[postgresql_alias].close()
    connections.settings[postgresql_alias] = {**known, "PORT": pgbouncer_port}
    yield
    connections.settings[postgresql_alias] = known


def relay_once(using):
    """What a relay runs for a lone event, and for many."""
    owner = uuid4()
    queries.look(using, dead_blocks=False)
    for numbers in ([3], range(PARTITIONS)):
        taken = queries.take(using, owner, list(numbers), 30, only_well=True)
        assert taken == set(numbers)
        current = queries.start_pass(using, numbers, 20, 1000, dead_blocks=False)
        found = queries.read(using, current, dict.fromkeys(numbers, 0), 20, 1000)
        queries.settle(using, owner, [row for row, _ in found[:10]], lambda: False)
        queries.release(using, owner, taken)


def asked(using, sql):
    with connections[using].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def forget_the_plans(using):
    """Behind psycopg's back."""
    with connections[using].cursor() as cursor:
        cursor.execute("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$")


def divide_by_zero(using):
    asked(using, "SELECT 1 / 0")


def prepared(using):
    return asked(using, "SELECT name, statement, parameter_types::text[] FROM pg_prepared_statements")


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_session__of_a_relays_thread__keeps_plans(database, in_thread, settings):
    """A lone event's statements among them; no other session of the process does, nor commits without the disk."""
    with connect(database, autocommit=True) as connection:
        fill(connection, settings.SERVICE_NAME, 0, 1000)

    def relay():
        use_own_session(database)
        for _ in range(3):
            relay_once(database)
        return [statement for _, statement, _ in prepared(database)], asked(database, "SHOW synchronous_commit")

    kept, commits = in_thread(relay)
    assert commits == [("off",)]
    for start in ("UPDATE", "SELECT s.*", "DELETE"):
        assert any(statement.strip().startswith(start) for statement in kept)
    for _ in range(3):
        relay_once(database)
    assert prepared(database) == []
    assert asked(database, "SHOW synchronous_commit") == [("on",)]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_plans__made_for_empty_tables__go_by_an_index_when_there_are_many_events(database, in_thread, settings):
    """PostgreSQL keeps them until somebody analyses the tables."""

    def relay():
        use_own_session(database)
        for _ in range(TIMES):
            relay_once(database)
        with connect(database, autocommit=True) as connection:
            fill(connection, settings.SERVICE_NAME, 20_000, 50_000)
        relay_once(database)
        plans = []
        for name, statement, types in prepared(database):
            if re.search("queue|log", statement) and "pg_prepared" not in statement:
                values = ", ".join("'{1}'" if each.endswith("[]") else "'1'" for each in types)
                values = re.sub("'1'", "NULL", values) if {"uuid", "boolean"} & set(types) else values
                lines = asked(database, f'EXPLAIN EXECUTE "{name}"' + (f"({values})" if values else ""))
                plans.append(f"{statement[:1000]}\n" + "\n".join(line for (line,) in lines))
        return plans, asked(database, "SELECT sum(generic_plans) FROM pg_prepared_statements")[0][0]

    with connect(database, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    plans, generic = in_thread(relay)
    assert len(plans) >= 5
    assert generic > TIMES
    for plan in plans:
        assert not re.search(r"Seq Scan on django_events_sourcing_(log|queue)|Hash|Merge", plan), plan


@pytest.mark.usefixtures("through_pgbouncer")
def test_session__through_pgbouncer__keeps_none(postgresql_alias, in_thread, monkeypatch):
    """It might be another session the next time; nor are its settings changed."""

    def relay():
        use_own_session(postgresql_alias)
        for _ in range(3):
            relay_once(postgresql_alias)
        shown = asked(
            postgresql_alias, "SELECT current_setting('enable_seqscan'), current_setting('synchronous_commit')"
        )
        return prepared(postgresql_alias), shown

    monkeypatch.setattr(session, "_behind_something", set())
    assert in_thread(relay) == ([], [("on", "on")])
    assert session._behind_something == {postgresql_alias}


@pytest.mark.parametrize("database", ["binding"], indirect=True)
def test_session__that_the_project_has_its_say_on__is_as_it_says(database, in_thread):
    """Prepared at once there, and with PostgreSQL's own plans."""

    def relay():
        use_own_session(database)
        return asked(database, "SHOW enable_seqscan"), connections[database].connection.prepare_threshold

    assert in_thread(relay) == ([("on",)], 0)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("disturb", "keeps"), [(forget_the_plans, False), (divide_by_zero, True)])
def test_error__in_such_a_session__ends_it(database, in_thread, monkeypatch, disturb, keeps):
    """After one that says that a statement isn't there, as behind an odd pooler, none of the database's keeps plans."""
    monkeypatch.setattr(session, "_behind_something", set())

    def relay():
        use_own_session(database)
        for _ in range(3):
            relay_once(database)
        pid = asked(database, "SELECT pg_backend_pid()")
        with pytest.raises(DatabaseError) as raised:
            disturb(database)
            relay_once(database)
        end_after(database, raised.value)
        use_own_session(database)
        for _ in range(3):
            relay_once(database)
        assert asked(database, "SELECT pg_backend_pid()") != pid
        return bool(prepared(database))

    assert in_thread(relay) is keeps


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_session__whose_options_the_project_has_set__keeps_them(database, in_thread, monkeypatch):
    """Ours come after those."""
    options = {"options": "-c search_path=public,pg_catalog -c enable_seqscan=on", "application_name": "shop"}
    monkeypatch.setitem(connections.settings[database], "OPTIONS", options)

    def relay():
        use_own_session(database)
        names = ("search_path", "application_name", "enable_seqscan")
        return [asked(database, f"SHOW {name}")[0][0] for name in names]

    assert in_thread(relay) == ["public,pg_catalog", "shop", "off"]
    assert connections.settings[database]["OPTIONS"] == options


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("place", ["environment", "service file"])
def test_session__whose_options_libpq_finds_by_itself__has_them(database, in_thread, monkeypatch, tmp_path, place):
    """It looks for them only where it is given none."""
    if place == "environment":
        monkeypatch.setenv("PGOPTIONS", "-c default_transaction_isolation=serializable")
    else:
        services = tmp_path / "services"
        services.write_text("[shop]\noptions=-c default_transaction_isolation=serializable\n")
        monkeypatch.setenv("PGSERVICEFILE", str(services))
        monkeypatch.setitem(connections.settings[database], "OPTIONS", {"service": "shop"})

    def relay():
        use_own_session(database)
        return [asked(database, f"SHOW {name}")[0][0] for name in ("transaction_isolation", "enable_seqscan")]

    assert in_thread(relay) == ["serializable", "off"]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_session__that_a_pooler_comes_between__begins_as_an_ordinary_one(
    database, in_thread, monkeypatch, pgbouncer_port
):
    """pgbouncer takes no connection with options that it doesn't know; the first error has the thread go without."""
    monkeypatch.setattr(session, "_behind_something", set())
    known = connections.settings[database]

    def relay():
        use_own_session(database)
        relay_once(database)
        connections[database].close()
        connections[database].settings_dict["PORT"] = known["PORT"] = pgbouncer_port
        with pytest.raises(DatabaseError) as raised:
            relay_once(database)
        end_after(database, raised.value)
        relay_once(database)
        use_own_session(database)
        relay_once(database)
        return prepared(database)

    port = known["PORT"]
    try:
        assert in_thread(relay) == []
    finally:
        known["PORT"] = port


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_event__found_dead_in_such_a_session__is_on_the_disk(database, in_thread, emit):
    """What an operator was shown is not lost with the server."""
    event = emit("thing:1")
    seen: list[tuple[str]] = []

    def look(execute, sql, params, many, context):
        result = execute(sql, params, many, context)
        if "django_events_sourcing_failure" in sql and sql.startswith("INSERT"):
            seen.extend(asked(database, "SHOW synchronous_commit"))
        return result

    def refuse(max_attempts):
        use_own_session(database)
        owner = uuid4()
        queries.ensure_partitions(database)
        number = partition_of(event.object)
        assert queries.take(database, owner, {number}, 30)
        row = QueueEntry.objects.using(database).get()
        queued = queries.Queued(row.partition, row.sequence, row.object_hash)
        with connections[database].execute_wrapper(look):
            counted = queries.refuse(database, owner, queued, "no", queries.RefusalPolicy(max_attempts, lambda _: 0.0))
        queries.release(database, owner, {number})
        Failure.objects.using(database).all().delete()
        return counted.is_dead if counted else None, asked(database, "SHOW synchronous_commit")

    assert in_thread(lambda: refuse(2)) == (False, [("off",)])
    assert in_thread(lambda: refuse(1)) == (True, [("off",)])
    assert seen == [("off",), ("on",)]
