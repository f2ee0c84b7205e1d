"""The user's session with the database, in which an event is written: all is as without the library.

Where the event's INSERT fails, the code around a save sees what it would see if the row's own INSERT had failed.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.db import DatabaseError, DataError, connections, transaction
from django.db.backends.postgresql.psycopg_any import is_psycopg3
from django.test.utils import CaptureQueriesContext

from django_events_sourcing import Event
from django_events_sourcing.delivery.deliver import deliver
from django_events_sourcing.models import LogEntry
from tests.integration.conftest import connect, execute
from tests.project.models import Article, Product

LOG, PRODUCT = "django_events_sourcing_log", "project_product"
ON_POSTGRESQL = pytest.mark.parametrize("database", ["postgresql", "binding"], indirect=True)


@pytest.fixture(autouse=True)
def _outbox(settings):
    settings.EVENTS_SOURCING = {"DELIVERY": "outbox"}


@contextmanager
def failing(using: str, table: str) -> Iterator[None]:
    """Within it the table takes no row."""
    vendor = connections[using].vendor
    if vendor == "postgresql":
        with reacting(using, f"BEFORE INSERT ON {table}", "RAISE 'not today'"):
            yield
        return
    what = "BEGIN SELECT RAISE(ABORT, 'not today'); END"
    if vendor == "mysql":
        what = "FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not today'"
    execute(using, f"CREATE TRIGGER not_today BEFORE INSERT ON {table} {what}")
    try:
        yield
    finally:
        execute(using, "DROP TRIGGER not_today")


@contextmanager
def reacting(using: str, when: str, what: str, kind: str = "TRIGGER") -> Iterator[None]:
    """Within it PostgreSQL does something at each row."""
    body = f"$$ BEGIN {what}; RETURN NEW; END $$"
    function = f"CREATE FUNCTION react() RETURNS trigger LANGUAGE plpgsql AS {body}"
    execute(using, function, f"CREATE {kind} react {when} FOR EACH ROW EXECUTE FUNCTION react()")
    try:
        yield
    finally:
        execute(using, "DROP FUNCTION react CASCADE")


def save(using: str, name: str = "pen") -> Product:
    return Product.objects.using(using).create(name=name, price=1)


def counts(using: str) -> tuple[int, int]:
    """How many products and events there are, as another session sees it."""
    found: list[tuple[int, int]] = []

    def count() -> None:
        found.append((Product.objects.using(using).count(), LogEntry.objects.using(using).count()))
        connections[using].close()

    thread = threading.Thread(target=count)
    thread.start()
    thread.join(30)
    return found[0]


# What people write around a save. Each notes what it sees.


def alone(using: str, seen: list[str]) -> None:
    save(using)


def in_a_transaction(using: str, seen: list[str]) -> None:
    with transaction.atomic(using=using):
        transaction.on_commit(lambda: seen.append("committed"), using=using)
        save(using)
        seen.append("went on")


def in_a_durable_transaction(using: str, seen: list[str]) -> None:
    with transaction.atomic(using=using, durable=True):
        save(using)
        seen.append("went on")


def caught_around_a_transaction(using: str, seen: list[str]) -> None:
    """Django's own documented pattern."""
    try:
        with transaction.atomic(using=using):
            transaction.on_commit(lambda: seen.append("committed"), using=using)
            save(using)
            seen.append("went on")
    except DatabaseError:
        seen.append("caught")
    Article.objects.using(using).create(title="after")


def caught_around_a_savepoint(using: str, seen: list[str]) -> None:
    with transaction.atomic(using=using):
        transaction.on_commit(lambda: seen.append("committed"), using=using)
        Article.objects.using(using).create(title="before")
        try:
            with transaction.atomic(using=using):
                transaction.on_commit(lambda: seen.append("inner committed"), using=using)
                save(using)
                seen.append("went on")
        except DatabaseError:
            seen.append("caught")
        seen.append(f"needs rollback: {transaction.get_rollback(using)}")
        Article.objects.using(using).create(title="after")


def followed_by_a_savepoint(using: str, seen: list[str]) -> None:
    """The save itself isn't within the block whose errors are caught."""
    with transaction.atomic(using=using):
        transaction.on_commit(lambda: seen.append("committed"), using=using)
        save(using)
        seen.append("went on")
        try:
            with transaction.atomic(using=using):
                Article.objects.using(using).create(title="inner")
        except DatabaseError:
            seen.append("caught what is not theirs")


def caught_without_a_savepoint(using: str, seen: list[str]) -> None:
    with transaction.atomic(using=using):
        try:
            save(using)
        except DatabaseError:
            seen.append(f"caught, needs rollback: {transaction.get_rollback(using)}")
        Article.objects.using(using).create(title="after")


def rolled_back_to_a_savepoint(using: str, seen: list[str]) -> None:
    with transaction.atomic(using=using):
        Article.objects.using(using).create(title="before")
        savepoint = transaction.savepoint(using=using)
        try:
            save(using)
        except DatabaseError:
            seen.append("caught")
        transaction.savepoint_rollback(savepoint, using=using)
        transaction.set_rollback(False, using=using)
        Article.objects.using(using).create(title="after")


def rolled_back_for_an_error_of_ones_own(using: str, seen: list[str]) -> None:
    with transaction.atomic(using=using):
        try:
            save(using)
        finally:
            seen.append("cleaned up")
            raise LookupError


PATTERNS = [
    alone,
    in_a_transaction,
    in_a_durable_transaction,
    caught_around_a_transaction,
    caught_around_a_savepoint,
    followed_by_a_savepoint,
    caught_without_a_savepoint,
    rolled_back_to_a_savepoint,
    rolled_back_for_an_error_of_ones_own,
]


def seen_by(pattern: Callable[[str, list[str]], None], using: str) -> list[Any]:
    """What code that saves sees, what becomes of its session, and what is stored in the end."""
    seen: list[Any] = []
    try:
        pattern(using, seen)
    except Exception as exc:  # noqa: BLE001 - whatever it is, it is compared
        seen.append(f"raised {type(exc).__name__}")
    connection = connections[using]
    seen += [connection.in_atomic_block, connection.needs_rollback, connection.get_autocommit(), connection.is_usable()]
    return [*seen, *Article.objects.using(using).values_list("title", flat=True)]


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.__name__)
def test_events_insert__that_fails__is_seen_as_that_of_the_row_would_be(database, settings, pattern):
    """By the call that caused it, with the same state of each block, the same callbacks, the same rows."""
    with failing(database, LOG):
        seen = seen_by(pattern, database)
    assert counts(database) == (0, 0)
    Article.objects.using(database).all().delete()
    settings.MODELS_CRUD_EVENT = []
    with failing(database, PRODUCT):
        assert seen == seen_by(pattern, database)
    assert counts(database) == (0, 0)


@contextmanager
def interrupted(by: type[BaseException], after: float) -> Iterator[None]:
    """Within it a signal's handler raises, after so many seconds."""

    def interrupt(*_: object) -> None:
        raise by

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@contextmanager
def locked_log(using: str, seconds: float) -> Iterator[None]:
    """As ``CREATE INDEX`` locks it, by another session; for so long at most."""
    is_locked, may_end = threading.Event(), threading.Event()
    vendor = connections[using].vendor
    *lock, unlock = {
        "postgresql": ("BEGIN", f"LOCK TABLE {LOG} IN SHARE MODE", "COMMIT"),
        "mysql": (f"LOCK TABLES {LOG} READ", "UNLOCK TABLES"),
        "sqlite": ("BEGIN IMMEDIATE", "COMMIT"),
    }[vendor]

    def hold() -> None:
        execute(using, *lock)
        is_locked.set()
        may_end.wait(seconds)
        execute(using, unlock)
        connections[using].close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert is_locked.wait(30)
    try:
        yield
    finally:
        may_end.set()
        thread.join(30)


def assert_session_is_well(using: str) -> None:
    """The next save is committed, whatever became of the one that was interrupted; rows and events are one."""
    with suppress(DatabaseError):  # a session that was broken off in a statement says so once, as without the library
        save(using, "next")
    save(using, "after")
    connection = connections[using]
    assert connection.get_autocommit()
    assert not connection.in_atomic_block
    products, events = counts(using)
    assert 1 <= products == events
    assert Product.objects.using(using).filter(name="after").exists()


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SoftTimeLimitExceeded])
@pytest.mark.parametrize("around", [alone, in_a_transaction])
def test_save__interrupted_while_its_event_waits__raises_that(database, interrupt, around):
    """The save that is interrupted is the one that raises; the session goes on, or is given up."""
    save(database)
    with locked_log(database, 1), pytest.raises(interrupt), interrupted(interrupt, 0.3):
        around(database, [])
    assert_session_is_well(database)


@ON_POSTGRESQL
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SoftTimeLimitExceeded])
@pytest.mark.parametrize("table", [LOG, PRODUCT])
def test_save__interrupted_while_its_commit_waits__raises_that(database, interrupt, table):
    """Where a statement is a transaction by itself without the library, the COMMIT with it is the library's matter."""
    save(database)
    slow = f"AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED"
    with reacting(database, slow, "PERFORM pg_sleep(1)", "CONSTRAINT TRIGGER"):
        with pytest.raises(interrupt), interrupted(interrupt, 0.3):
            save(database)
        assert connections[database].get_autocommit()
    assert_session_is_well(database)


def copy(using: str) -> None:
    with connections[using].connection.cursor() as cursor, cursor.copy(f"COPY {PRODUCT} TO STDOUT") as rows:
        assert list(rows)


def pipeline(using: str) -> None:
    with connections[using].connection.pipeline():
        cursor = connections[using].connection.execute(f"SELECT count(*) > 0 FROM {PRODUCT}")
    assert cursor.fetchone() == (True,)


def psycopgs_savepoint(using: str) -> None:
    with connections[using].connection.transaction():
        save(using)
        save(using)


def server_side_cursor(using: str) -> None:
    for product in Product.objects.using(using).iterator(1):
        product.save()


def cursor_made_before(using: str) -> None:
    session = connections[using].connection
    plain, named = session.cursor(), session.cursor("named")
    save(using)
    assert list(plain.stream(f"SELECT count(*) > 0 FROM {PRODUCT}")) == [(True,)]
    save(using)
    assert named.execute(f"SELECT count(*) > 0 FROM {PRODUCT}").fetchall() == [(True,)]
    named.close()


def chunked_cursor(using: str) -> None:
    with connections[using].chunked_cursor() as cursor:
        cursor.execute(f"SELECT id FROM {PRODUCT}")
        save(using)
        assert cursor.fetchall()


def cancel(using: str) -> None:
    """There is nothing that it could hit."""
    connections[using].connection.cancel_safe()
    assert Product.objects.using(using).count()


@ON_POSTGRESQL
@pytest.mark.skipif(not is_psycopg3, reason="psycopg 2 has none of these")
@pytest.mark.parametrize(
    "use",
    [copy, pipeline, psycopgs_savepoint, server_side_cursor, cursor_made_before, chunked_cursor, cancel],
    ids=lambda use: use.__name__,
)
def test_session__after_a_save__works_in_all_ways(database, use):
    """All that psycopg can do with it, it does; and it says of itself what is so."""
    with transaction.atomic(using=database):
        save(database)
        session = connections[database].connection
        assert type(session) is psycopg.Connection
        assert session.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        assert session.pgconn.pipeline_status == psycopg.pq.PipelineStatus.OFF
        use(database)
    products, _ = counts(database)
    saved = Product.objects.using(database).values_list("pk", flat=True)
    assert {entry.object for entry in LogEntry.objects.using(database)} == {f"project.product:{pk}" for pk in saved}
    assert products == len(saved)


@ON_POSTGRESQL
@pytest.mark.parametrize("commit", ["a cursor", "psycopg"])
def test_commit__that_django_knows_nothing_of__is_of_the_event_too(database, commit):
    """It's a statement before that COMMIT as any other."""
    with transaction.atomic(using=database):
        save(database)
        if commit == "psycopg":
            connections[database].connection.cursor().execute("COMMIT")
        else:
            execute(database, "COMMIT")
        assert counts(database) == (1, 1)


@ON_POSTGRESQL
def test_session__with_another_search_path__inserts_there(database):
    """A project may have a schema for each tenant."""
    execute(
        database,
        "CREATE SCHEMA tenant",
        f"CREATE TABLE tenant.{LOG} (LIKE public.{LOG} INCLUDING ALL)",
        "SET search_path = tenant, public",
    )
    save(database)
    connections[database].close()
    with connect(database, autocommit=True) as connection:
        assert connection.execute(f"SELECT count(*) FROM tenant.{LOG}").fetchone() == (1,)
        connection.execute("DROP SCHEMA tenant CASCADE")
    assert not LogEntry.objects.using(database).exists()


@pytest.mark.parametrize("text", ["'", "\\", "%s %b %", "é€😀", "\n\r\t\x01", "$1", "E'\\047'"])
def test_values__whatever_they_are__kept_as_they_are(database, text):
    """They are quoted for the session that they are sent in."""
    deliver([Event(name=text, service=text, object=text, body=text)], database)
    entry = LogEntry.objects.using(database).get()
    assert (entry.name, entry.service, entry.object, entry.body) == (text,) * 4


@ON_POSTGRESQL
def test_value__that_postgresql_can_not_hold__refused(database):
    """Rather than cut off at its NUL."""
    with pytest.raises((DataError, ValueError), match="NUL"), transaction.atomic(using=database):
        save(database)
        deliver([Event(name="n", service="s", object="a\0b", body="{}")], database)
    assert counts(database) == (0, 0)


def test_statement__that_somebody_looks_at__is_seen(database):
    """assertNumQueries counts it, execute_wrapper may forbid it."""

    def forbid(execute, sql, params, many, context):
        assert LOG not in sql, "forbidden"
        return execute(sql, params, many, context)

    with CaptureQueriesContext(connections[database]) as queries:
        save(database)
    assert any(LOG in query["sql"] for query in queries)
    with pytest.raises(AssertionError, match="forbidden"), connections[database].execute_wrapper(forbid):
        save(database)
    assert counts(database) == (1, 1)
