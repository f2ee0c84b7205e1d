"""An event's INSERT on PostgreSQL, whose answer the session's next statement waits for."""

import gc
import time
import weakref
from contextlib import contextmanager

import psycopg
import pytest
from django.db import DatabaseError, DataError, InternalError, OperationalError, connections, transaction
from django.test.utils import CaptureQueriesContext

from django_events_sourcing import Event, prepared_statements
from django_events_sourcing.delivery import deliver
from django_events_sourcing.models import LogEntry
from tests.integration.conftest import connect
from tests.project.models import Product

SLOW = 0.5


@pytest.fixture
def database(postgresql_alias, django_db_blocker, settings):
    """Alias of PostgreSQL, empty, with a session that has written an event before."""
    settings.EVENTS_SOURCING = {"DELIVERY": "outbox"}
    with django_db_blocker.unblock():
        save(postgresql_alias)
        empty(postgresql_alias)
        yield postgresql_alias
        connections[postgresql_alias].close()
        empty(postgresql_alias)


@pytest.fixture
def other(database):
    """Another session."""
    with connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def trigger(other):
    """Have the database run something for each event that is written."""

    @contextmanager
    def trigger(what):
        other.execute(
            f"CREATE FUNCTION react() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {what}; RETURN NEW; END $$; "
            "CREATE TRIGGER react BEFORE INSERT ON django_events_sourcing_log FOR EACH ROW EXECUTE FUNCTION react()"
        )
        yield
        other.execute("DROP FUNCTION react CASCADE")

    return trigger


@pytest.fixture
def slow(trigger):
    """The database takes its time for each event."""
    with trigger(f"PERFORM pg_sleep({SLOW})"):
        yield


@pytest.fixture
def failing(trigger):
    """The database takes no event."""
    with trigger("RAISE 'no event today'"):
        yield


def empty(using):
    with connect(using, autocommit=True) as connection:
        connection.execute("TRUNCATE project_product, django_events_sourcing_log, django_events_sourcing_queue CASCADE")


def save(using, name="pen"):
    return Product.objects.using(using).create(name=name, price=1)


def logged(session):
    return [key for (key,) in session.execute("SELECT object FROM django_events_sourcing_log ORDER BY sequence")]


def products(session):
    return [name for (name,) in session.execute("SELECT name FROM project_product ORDER BY id")]


def seconds(action):
    began = time.monotonic()
    action()
    return time.monotonic() - began


def is_in_flight(using):
    session = connections[using].connection
    return session.pgconn.transaction_status == psycopg.pq.TransactionStatus.ACTIVE


def commit_by_a_statement(using):
    with connections[using].cursor() as cursor:
        cursor.execute("COMMIT")


def commit_by_psycopg(using):
    connections[using].connection.execute("COMMIT")


def copy(using):
    with connections[using].connection.cursor() as cursor, cursor.copy("COPY project_product TO STDOUT") as rows:
        assert len(list(rows)) == 1


def pipeline(using):
    with connections[using].connection.pipeline():
        cursor = connections[using].connection.execute("SELECT count(*) FROM project_product")
    assert cursor.fetchone() == (1,)


def psycopgs_savepoint(using):
    with connections[using].connection.transaction():
        save(using)
        save(using)


def server_side_cursor(using):
    for product in Product.objects.using(using).iterator(1):
        product.save()


def stream(using):
    with connections[using].connection.cursor() as cursor:
        assert list(cursor.stream("SELECT count(*) FROM project_product")) == [(1,)]


def nothing(using):
    """The transaction ends."""


@pytest.mark.usefixtures("slow")
def test_save__in_a_transaction__is_not_held_up_by_its_event(database, other):
    """The database is still at it when the save returns; the next statement waits for both."""
    with transaction.atomic(using=database):
        took = seconds(lambda: save(database))
        assert is_in_flight(database)
        waited = seconds(lambda: Product.objects.using(database).get())
        assert not is_in_flight(database)
    assert took < SLOW / 2 < waited
    assert len(logged(other)) == 1


@pytest.mark.usefixtures("slow")
def test_saves__on_end__each_waits_for_the_event_before(database, other):
    """One statement at most is in flight, and events are in the order of the saves."""
    with transaction.atomic(using=database):
        first, second = save(database), save(database)
        first.save()
    assert logged(other) == [f"project.product:{product.pk}" for product in (first, second, first)]


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("commit", [commit_by_a_statement, commit_by_psycopg])
def test_commit__however_it_is_sent__is_of_the_event_too(database, other, commit):
    """It's before the COMMIT, whatever Django knows of that."""
    with transaction.atomic(using=database):
        save(database)
        assert is_in_flight(database)
        commit(database)
        assert len(logged(other)) == len(products(other)) == 1


@pytest.mark.parametrize(
    "use", [copy, pipeline, psycopgs_savepoint, server_side_cursor, stream, nothing], ids=lambda use: use.__name__
)
def test_session__used_in_other_ways__works_as_ever(database, other, use):
    """With a statement in flight, all that psycopg can do it does."""
    with transaction.atomic(using=database):
        save(database)
        assert is_in_flight(database)
        use(database)
    assert set(logged(other)) == {
        f"project.product:{key}" for (key,) in other.execute("SELECT id FROM project_product")
    }
    assert products(other)


@pytest.mark.usefixtures("failing")
def test_event__that_fails__fails_the_save(database, other):
    """Outside of a transaction of the project's, the save raises; nothing is stored."""
    with pytest.raises(DatabaseError, match="no event today"):
        save(database)
    assert products(other) == []


@pytest.mark.usefixtures("failing")
def test_event__that_fails_within_a_transaction__fails_what_follows(database, other):
    """The error says whose it is; the transaction is not committed, the session goes on."""
    pid = connections[database].connection.info.backend_pid
    with pytest.raises(DatabaseError, match="no event today") as raised, transaction.atomic(using=database):
        save(database)
    assert "INSERT of an event" in "".join(getattr(raised.value.__cause__, "__notes__", ()))
    assert products(other) == []
    assert Product.objects.using(database).count() == 0
    assert connections[database].connection.info.backend_pid == pid


@pytest.mark.usefixtures("failing")
def test_event__that_fails_within_a_savepoint__undoes_that_alone(database, other):
    """As any error of the database's there."""
    with transaction.atomic(using=database):
        Product.objects.using(database).bulk_create([Product(name="kept", price=1)])
        with pytest.raises(DatabaseError, match="no event today"), transaction.atomic(using=database):
            save(database)
    assert products(other) == ["kept"]


@pytest.mark.usefixtures("failing")
def test_event__that_fails_before_a_rollback__is_forgotten(database, other):
    """The error that the project rolls back for is the one that it sees."""
    pid = connections[database].connection.info.backend_pid

    def change_of_mind():
        with transaction.atomic(using=database):
            save(database)
            raise LookupError

    with pytest.raises(LookupError):
        change_of_mind()
    assert products(other) == []
    assert connections[database].connection.info.backend_pid == pid


def test_commit__behind_an_event__is_waited_for_once(database, other, monkeypatch):
    """The answers to both come at once: there are as many waits as without the event."""
    waits = []
    wait = psycopg.waiting.wait

    def counted(*args, **kwargs):
        waits.append(args)
        return wait(*args, **kwargs)

    def waits_of_commit(write):
        with monkeypatch.context() as patch, transaction.atomic(using=database):
            write()
            waits.clear()
            patch.setattr("psycopg.waiting.wait", counted)
        return len(waits)

    plain = waits_of_commit(lambda: Product.objects.using(database).bulk_create([Product(name="untold", price=1)]))
    assert waits_of_commit(lambda: save(database)) == plain
    assert len(logged(other)) == 1


def test_commit__that_fails__is_told_as_its_own(database, other):
    """A constraint that is checked at the end, say; nothing is stored, the session goes on."""
    other.execute(
        "CREATE FUNCTION object() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today'; END $$; "
        "CREATE CONSTRAINT TRIGGER object AFTER INSERT ON project_product DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION object()"
    )
    pid = connections[database].connection.info.backend_pid
    with pytest.raises(DatabaseError, match="not today") as raised:
        save(database)
    assert not hasattr(raised.value.__cause__, "__notes__")
    assert products(other) == logged(other) == []
    other.execute("DROP FUNCTION object CASCADE")
    save(database)
    assert len(products(other)) == len(logged(other)) == 1
    assert connections[database].connection.info.backend_pid == pid


def test_commit__where_psycopg_allows_none__refused(database, other):
    """In a transaction of psycopg's own, the end of which is its end."""
    session = connections[database].connection
    with transaction.atomic(using=database), session.transaction():
        save(database)
        with pytest.raises(psycopg.ProgrammingError, match="forbidden"):
            session.commit()
        assert logged(other) == []
    assert len(logged(other)) == 1


def test_session__that_ends_with_an_event_in_flight__stores_nothing(database, other):
    """Neither the row nor its event; and the next save has a new session."""

    def cut_off():
        with transaction.atomic(using=database):
            save(database)
            pid = connections[database].connection.info.backend_pid
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])

    with pytest.raises(OperationalError):
        cut_off()
    assert products(other) == logged(other) == []
    save(database)
    save(database)
    assert len(products(other)) == len(logged(other)) == 2


def prepared(using):
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements")
        return cursor.fetchone()[0]


def test_session__that_sends_many__has_them_prepared(database, other):
    """After a few; how many come in one transaction is all the same."""
    save(database)
    assert prepared(database) == 0
    with transaction.atomic(using=database):
        for _ in range(6):
            save(database)
    assert prepared(database) == 1
    save(database)
    assert len(logged(other)) == len(products(other)) == 8


@pytest.mark.parametrize("cause", ["pooler", "option"])
def test_session__in_which_nothing_may_be_prepared__goes_without(database, other, monkeypatch, cause):
    """A pooler has another process number than the server, and the project may say so."""
    connections[database].close()
    if cause == "pooler":
        monkeypatch.setattr(psycopg.ConnectionInfo, "backend_pid", 1)
    else:
        monkeypatch.setitem(connections[database].settings_dict["OPTIONS"], "prepare_threshold", None)
    for _ in range(8):
        save(database)
    assert prepared(database) == 0
    assert len(logged(other)) == 8
    connections[database].close()


def test_event__that_fails_as_it_is_prepared__fails_that_save_alone(database, trigger, other):
    """Whatever became of the prepared statement, the session goes on without."""
    for _ in range(4):
        save(database)
    with trigger("RAISE 'no event today'"), pytest.raises(DatabaseError, match="no event today"):
        save(database)
    for _ in range(8):
        save(database)
    assert len(logged(other)) == len(products(other)) == 12


def test_session__that_has_lost_what_it_prepared__fails_one_save(database, other, monkeypatch):
    """As somebody discarded it; after that no session of the process prepares any."""
    monkeypatch.setattr(prepared_statements, "_behind_something", set())
    for _ in range(8):
        save(database)
    with connections[database].cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")
    with pytest.raises(DatabaseError, match="does not exist"):
        save(database)
    for _ in range(8):
        save(database)
    connections[database].close()
    for _ in range(8):
        save(database)
    assert prepared(database) == 0
    assert len(logged(other)) == len(products(other)) == 24


def test_session__with_another_search_path__inserts_there(database, other):
    """Prepared or not: a project may have a schema for each tenant."""
    for _ in range(8):
        save(database)
    other.execute(
        "CREATE SCHEMA tenant; CREATE TABLE tenant.django_events_sourcing_log "
        "(LIKE public.django_events_sourcing_log INCLUDING ALL)"
    )
    with connections[database].cursor() as cursor:
        cursor.execute("SET search_path = tenant, public")
    save(database)
    assert other.execute("SELECT count(*) FROM tenant.django_events_sourcing_log").fetchone() == (1,)
    assert len(logged(other)) == 8
    connections[database].close()
    other.execute("DROP SCHEMA tenant CASCADE")


def test_commit__interrupted__is_of_the_event_too(database, other, monkeypatch):
    """Whether it was done is unknown to who was interrupted; the row and its event are one nevertheless."""

    def interrupted_once(*args, **kwargs):
        undo.undo()
        raise TimeoutError

    def commit():
        with transaction.atomic(using=database):
            save(database)
            undo.setattr("psycopg.waiting.wait", interrupted_once)

    with monkeypatch.context() as undo, pytest.raises(TimeoutError):
        commit()
    save(database)
    assert len(logged(other)) == len(products(other)) in {1, 2}


@pytest.mark.usefixtures("slow")
def test_wait__interrupted__goes_on_later(database, other, monkeypatch):
    """A signal's handler may raise while the answer is awaited; whoever goes on nevertheless misses nothing."""
    with transaction.atomic(using=database):
        save(database)
        with monkeypatch.context() as patch:
            patch.setattr("psycopg.waiting.wait", interrupted)
            with pytest.raises(TimeoutError):
                Product.objects.using(database).get()
        assert Product.objects.using(database).get()
    assert len(logged(other)) == 1


def interrupted(*_args, **_kwargs):
    raise TimeoutError


def test_event__larger_than_the_socket_takes__whole(database, other):
    """What could not be sent at once is sent when it is waited for."""
    body = '"' + "é" * 10_000_000 + '"'
    with transaction.atomic(using=database):
        save(database)
        deliver(Event(name="n", service="s", object="large", body=body), database)
        assert is_in_flight(database)
    ((length,),) = other.execute("SELECT octet_length(body) FROM django_events_sourcing_log WHERE object = 'large'")
    assert length == len(body.encode())


@pytest.mark.parametrize("text", ["'", "\\", "%s %b %", "é€😀", "\n\r\t\x01", "$1", "E'\\047'"])
@pytest.mark.parametrize("conforming", ["on", "off"])
def test_values__whatever_they_are__kept_as_they_are(database, text, conforming):
    """They are quoted for the session that they are sent in."""
    with transaction.atomic(using=database):
        with connections[database].cursor() as cursor:
            cursor.execute(f"SET LOCAL standard_conforming_strings = {conforming}")
            cursor.execute("SET LOCAL escape_string_warning = off")
        deliver(Event(name=text, service=text, object=text, body=text), database)
        assert is_in_flight(database)
        entry = LogEntry.objects.using(database).get()
    assert (entry.name, entry.service, entry.object, entry.body) == (text,) * 4


def test_value__that_postgresql_can_not_hold__refused(database, other):
    """Rather than cut off at its NUL."""
    with pytest.raises((DataError, ValueError), match="NUL"), transaction.atomic(using=database):
        save(database)
        deliver(Event(name="n", service="s", object="a\0b", body="{}"), database)
    assert logged(other) == []


def test_statement__that_somebody_looks_at__goes_the_ordinary_way(database):
    """assertNumQueries counts it, execute_wrapper may forbid it."""

    def forbid(execute, sql, params, many, context):
        assert "django_events_sourcing_log" not in sql, "forbidden"
        return execute(sql, params, many, context)

    with transaction.atomic(using=database):
        with CaptureQueriesContext(connections[database]) as queries:
            save(database)
        assert "django_events_sourcing_log" in queries[-1]["sql"]
        with pytest.raises(AssertionError, match="forbidden"), connections[database].execute_wrapper(forbid):
            save(database)
        assert not is_in_flight(database)


def test_transaction__that_failed_before__takes_no_event(database):
    """As Django says of any query in it."""
    with transaction.atomic(using=database):
        save(database)
        with pytest.raises(InternalError, match="aborted"):
            broken(database)
        transaction.set_rollback(True, using=database)


def broken(using):
    with connections[using].cursor() as cursor, pytest.raises(DatabaseError):
        cursor.execute("SELECT 1 / 0")
    deliver(Event(name="n", service="s", object="o", body="{}"), using)


class Waiting(psycopg.Connection):
    def wait(self, *args, **kwargs):
        return super().wait(*args, **kwargs)


class Counting(psycopg.ClientCursor):
    pass


@pytest.mark.parametrize("traced", [{"connect": Waiting.connect}, {"cursor_factory": Counting}], ids=list)
def test_session__that_is_traced__is_let_alone(database, other, monkeypatch, traced):
    """A connection or a cursor that somebody derived sees all that is sent."""
    connection = connections[database]
    connection.close()
    if "connect" in traced:
        monkeypatch.setattr(psycopg, "connect", traced["connect"])
    else:
        monkeypatch.setitem(connection.settings_dict, "OPTIONS", traced)
    with transaction.atomic(using=database):
        save(database)
        save(database)
        assert not is_in_flight(database)
    assert len(logged(other)) == 2
    connection.close()


def test_session__of_an_old_libpq__takes_events_the_ordinary_way(database, other, monkeypatch):
    """It has no pipelines."""
    connections[database].close()
    monkeypatch.setattr(psycopg.Pipeline, "is_supported", lambda: False)
    with transaction.atomic(using=database):
        save(database)
        save(database)
        assert not is_in_flight(database)
    assert len(logged(other)) == 2
    connections[database].close()


def test_session__that_is_forgotten__ends_at_once(database):
    """It's in no cycle of references."""
    reference = weakref.ref(connections[database].connection)
    connections[database].close()
    gc.disable()
    try:
        assert reference() is None
    finally:
        gc.enable()
