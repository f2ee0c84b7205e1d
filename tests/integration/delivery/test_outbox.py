"""The delivery "outbox" up to the commit: what is in the tables, on each database."""

import asyncio
import json
from uuid import UUID

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext, override_settings

from django_events_sourcing import Event
from django_events_sourcing.delivery.deliver import deliver
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.models import LogEntry, QueueEntry
from django_events_sourcing.outbox.clock import from_microseconds
from django_events_sourcing.outbox.partitioning import object_hash, partition_of
from tests.project.models import Order, Product, Unregistered


@pytest.fixture(autouse=True)
def _outbox(settings):
    settings.EVENTS_SOURCING = {"DELIVERY": "outbox"}


def log(using):
    return list(LogEntry.objects.using(using).order_by("sequence"))


def queued(using):
    return sorted(QueueEntry.objects.using(using).values_list("sequence", flat=True))


def names(using):
    return [entry.name for entry in log(using)]


def test_save__of_a_registered_model__logged_and_queued(database):
    """A row of the log holds the event as it will be published, one of the queue that it is pending."""
    product = Product.objects.using(database).create(name="é€😀", price="1.20")
    (entry,) = log(database)
    (waiting,) = QueueEntry.objects.using(database)
    assert (entry.service, entry.name, entry.object) == ("shop", "product__created", f"project.product:{product.pk}")
    assert isinstance(entry.event_id, UUID)
    assert entry.event_id.version == 7
    assert json.loads(entry.body)["name"] == "é€😀"
    assert entry.headers == "{}"
    assert (waiting.sequence, waiting.object_hash) == (entry.sequence, object_hash(entry.object))
    assert waiting.partition == partition_of(entry.object)


def test_event__handed_over__kept_as_it_is(database):
    """Every field of the event can be had from the log again, the time to the microsecond."""
    event = Event(name="n", service="s", object="o" * 1000, body='{"text": "\\u0000 é€😀"}', headers={"user": "é€😀"})
    deliver([event], database)
    (entry,) = log(database)
    assert (entry.event_id, entry.name, entry.service, entry.object, entry.body) == (
        event.id,
        event.name,
        event.service,
        event.object,
        event.body,
    )
    assert from_microseconds(entry.time) == event.time
    assert json.loads(entry.headers) == event.headers


@pytest.mark.parametrize("use_tz", [True, False])
def test_event__whatever_use_tz__has_the_same_time(database, settings, use_tz):
    """The time of an event is no matter of the project's time zone."""
    settings.USE_TZ = use_tz
    event = Event(name="n", service="s", object="o", body="{}")
    deliver([event], database)
    assert from_microseconds(log(database)[0].time) == event.time


def test_changes__of_an_object__in_order(database):
    """The log's ids grow with each change of an object; the queue has them all."""
    product = Product.objects.using(database).create(name="pen", price=1)
    product.save()
    product.delete()
    assert names(database) == ["product__created", "product__updated", "product__deleted"]
    assert queued(database) == [entry.sequence for entry in log(database)]


def test_async_changes__of_an_object__logged_too(database):
    """The async twins of save and delete write events as well."""

    async def change():
        product = Product(name="pen", price=1)
        await product.asave(using=database)
        await product.adelete(using=database)

    asyncio.run(change())
    assert names(database) == ["product__created", "product__deleted"]


def test_unregistered_model__saved__writes_no_row(database):
    """Other models pay nothing."""
    with CaptureQueriesContext(connections[database]) as queries:
        Unregistered.objects.using(database).create(name="x")
    assert len(queries) == 1
    assert names(database) == []


def test_save__in_a_transaction__adds_the_outbox_statements_only(database):
    """One statement on PostgreSQL, two elsewhere."""
    with transaction.atomic(using=database), CaptureQueriesContext(connections[database]) as queries:
        Product.objects.using(database).create(name="pen", price=1)
    assert len(queries) == {"postgresql": 2}.get(connections[database].vendor, 3)


def test_rollback__of_transaction_or_savepoint__leaves_nothing(database):
    """What did not happen is not reported."""
    with transaction.atomic(using=database):
        with transaction.atomic(using=database):
            Product.objects.using(database).create(name="savepoint", price=1)
            transaction.set_rollback(True, using=database)
        Order.objects.using(database).create(number="1", customer="Ann", total=1)
    with transaction.atomic(using=database):
        Product.objects.using(database).create(name="whole", price=1)
        transaction.set_rollback(True, using=database)
    assert names(database) == ["order__created"]
    assert len(queued(database)) == 1


@pytest.fixture
def without_queue(database):
    """The database while its queue is away."""
    table = QueueEntry._meta.db_table
    connection = connections[database]
    with connection.schema_editor() as editor:
        editor.alter_db_table(QueueEntry, table, "elsewhere")
    yield database
    with connection.schema_editor() as editor:
        editor.alter_db_table(QueueEntry, "elsewhere", table)


def test_queue__takes_no_row__none_in_the_log_either(without_queue):
    """An event handed over outside of any transaction is written as a whole or not at all."""
    with pytest.raises(ConfigurationError):
        deliver([Event(name="n", service="s", object="o", body="{}")], without_queue)
    assert log(without_queue) == []


def test_manual_transactions__saved_in__written_in_the_users_own_transaction(database):
    """The outbox needs no commit hook: its rows live and die with the transaction that the user commits."""
    transaction.set_autocommit(False, using=database)
    try:
        Product.objects.using(database).create(name="pen", price=1)
        transaction.rollback(using=database)
        Product.objects.using(database).create(name="pencil", price=1)
        transaction.commit(using=database)
        transaction.commit(using=database)
    finally:
        transaction.set_autocommit(True, using=database)
    assert [json.loads(entry.body)["name"] for entry in log(database)] == ["pencil"]
    assert len(queued(database)) == 1


def test_other_database__saved_in__its_own_log(sqlite_alias, postgresql, django_db_blocker):
    """Rows go where the instance went."""
    Product.objects.using(postgresql).create(name="pen", price=1)
    assert names(postgresql) == ["product__created"]
    assert names(sqlite_alias) == []


@pytest.fixture
def without_tables(database):
    call_command("migrate", "django_events_sourcing", "zero", database=database, verbosity=0)
    connections[database].close()  # as of a process that starts then: a session's first event finds out
    yield database
    call_command("migrate", database=database, verbosity=0)


def test_missing_tables__saved__error_that_says_what_to_run(without_tables):
    """A project that forgot to migrate hears of it, and nothing is stored without its event."""
    with pytest.raises(ConfigurationError, match=f"manage.py migrate --database={without_tables}"):
        Product.objects.using(without_tables).create(name="pen", price=1)
    assert not Product.objects.using(without_tables).exists()


def test_missing_tables__checked_with_the_database__warning(without_tables):
    """``check --database`` says so beforehand; as a warning, since an error would keep ``migrate`` from running."""
    (warning,) = [m for m in run_checks(databases=[without_tables]) if "django_events_sourcing" in (m.id or "")]
    assert warning.id == "django_events_sourcing.W003"
    assert f"manage.py migrate --database={without_tables}" in (warning.hint or "")
    assert warning.level < 40


def test_missing_tables__that_a_router_forbids__hint_names_the_router(without_tables):
    """Running ``migrate`` would not help there."""

    class Router:
        def allow_migrate(self, db, app_label, **hints):
            return app_label != "django_events_sourcing"

    with override_settings(DATABASE_ROUTERS=[Router()]), pytest.raises(ConfigurationError, match="allow_migrate"):
        Product.objects.using(without_tables).create(name="pen", price=1)


def test_tables__all_there__no_warning(database):
    """Nothing to report."""
    assert not [m for m in run_checks(databases=[database]) if "django_events_sourcing" in (m.id or "")]


def test_migrations__beside_the_models__complete(database):
    """``makemigrations`` has nothing to add."""
    call_command("makemigrations", "django_events_sourcing", check=True, dry_run=True, verbosity=0)
