"""Events of a project's own in the outbox, on each database: part of the transaction, in order with changes."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from threading import Thread

import pytest
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext

from django_events_sourcing import emit
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.models import LogEntry, ObjectLock, PublishedCount, QueueEntry
from tests.integration.conftest import execute
from tests.project.models import Order, Profile, Restaurant, Shipment, Unregistered, UUIDThing


@pytest.fixture(autouse=True)
def _outbox(settings):
    settings.EVENTS_SOURCING = {"DELIVERY": "outbox"}


@pytest.fixture
def order(database):
    return Order.objects.using(database).create(number="A-1", customer="Eva", total=10)


def names(using):
    return list(LogEntry.objects.using(using).order_by("sequence").values_list("name", flat=True))


def test_event__in_the_outbox__is_as_any(database, order):
    """In the log, and in the queue."""
    event = emit("order__refunded", {"amount": 5}, instance=order, headers={"why": "broken"})
    entry = LogEntry.objects.using(database).get(event_id=event.id)
    assert (entry.name, entry.service, entry.object) == ("order__refunded", "shop", f"project.order:{order.pk}")
    assert (entry.body, entry.headers) == ('{"amount": 5}', '{"why": "broken"}')
    assert QueueEntry.objects.using(database).filter(sequence=entry.sequence).exists()


def test_transaction__rolled_back__takes_it_along(database, order):
    """Wholly or to a savepoint."""
    with transaction.atomic(using=database):
        emit("order__kept", {}, instance=order)
        with transaction.atomic(using=database):
            emit("order__undone", {}, instance=order)
            transaction.set_rollback(True, using=database)
        emit("cart__kept", {}, key="shop.cart:17", using=database)
    with transaction.atomic(using=database):
        emit("order__undone", {}, instance=order)
        transaction.set_rollback(True, using=database)
    assert names(database) == ["order__created", "order__kept", "cart__kept"]
    assert QueueEntry.objects.using(database).count() == 3


def test_transaction__begun_by_hand_or_with_autocommit_off__is_the_events(database, order):
    """The lock and the event are in it, wherever it comes from."""
    execute(database, "BEGIN")
    emit("order__first", {}, instance=order)
    execute(database, "COMMIT")
    connections[database].set_autocommit(False)
    try:
        emit("order__second", {}, instance=order)
        connections[database].commit()
    finally:
        connections[database].set_autocommit(True)
    assert names(database) == ["order__created", "order__first", "order__second"]


def test_emit__in_a_transaction__is_two_statements_on_postgresql(database, order):
    """The lock and the event; in autocommit mode, those of a transaction beside."""
    expected = {"sqlite": 2, "postgresql": 2, "binding": 2, "mariadb": 3}
    with transaction.atomic(using=database), CaptureQueriesContext(connections[database]) as queries:
        emit("order__refunded", {}, instance=order)
    assert len(queries) == expected[database], queries.captured_queries
    with CaptureQueriesContext(connections[database]) as queries:
        emit("order__refunded", {}, instance=order)
    assert len(queries) == expected[database] + 2, queries.captured_queries


def test_rows__of_any_key__are_found(database, settings):
    """A UUID, a text, another row's; two values; a row with parents."""
    settings.MODELS_CRUD_EVENT = [
        {"model": model}
        for model in ("project.UUIDThing", Profile, Restaurant, "django_events_sourcing.PublishedCount")
    ]
    instances = [
        UUIDThing.objects.using(database).create(name="a"),
        Restaurant.objects.using(database).create(name="a", seats=1),
        PublishedCount.objects.using(database).create(minute=7, partition=3, count=1),
    ]
    for instance in instances:
        emit("it__happened", {}, instance=instance)
    emit("it__happened", {}, key="django_events_sourcing.publishedcount:7,3", using=database)
    assert not ObjectLock.objects.using(database).exists()
    objects = LogEntry.objects.using(database).filter(name="it__happened").values_list("object", flat=True)
    assert sorted(objects) == sorted(
        [
            f"project.uuidthing:{instances[0].pk}",
            f"project.restaurant:{instances[1].pk}",
            *["django_events_sourcing.publishedcount:7,3"] * 2,
        ]
    )


def test_table__of_locks__stays_small(database):
    """It has a row for many objects, and only on MariaDB."""
    for _ in range(2):
        for number in range(5):
            emit("cart__abandoned", {}, key=f"shop.cart:{number}", using=database)
    assert ObjectLock.objects.using(database).count() == (5 if database == "mariadb" else 0)
    assert len(names(database)) == 10


def test_outbox__without_tables__says_so(database, order):
    """As for a save."""
    table = "django_events_sourcing_log"
    execute(database, f"ALTER TABLE {table} RENAME TO moved")
    try:
        with pytest.raises(ConfigurationError, match="lacks the outbox's tables"):
            emit("order__refunded", {}, instance=order)
    finally:
        execute(database, f"ALTER TABLE moved RENAME TO {table}")


# Each reads what it needs, and returns what then happens in a transaction.


def save_order(using):
    return Order.objects.using(using).get().save


def emit_of_order(using):
    order = Order.objects.using(using).get()
    return lambda: emit("order__emitted", {}, instance=order)


def emit_by_key_of_order(using):
    key = f"project.order:{Order.objects.using(using).get().pk}"
    return lambda: emit("order__emitted", {}, key=key, using=using)


def emit_of_unregistered(using):
    instance = Unregistered.objects.using(using).get()
    return lambda: emit("it__emitted", {}, instance=instance)


def emit_of_cart(using):
    return lambda: emit("cart__emitted", {}, key="shop.cart:17", using=using)


def emit_of_another_cart(using):
    return lambda: emit("cart__emitted", {}, key="shop.cart:18", using=using)


def emit_of_restaurant(using):
    restaurant = Restaurant.objects.using(using).get()
    return lambda: emit("restaurant__emitted", {}, instance=restaurant)


def save_name_of_restaurant(using):
    return partial(Restaurant.objects.using(using).get().save, update_fields=["name"])


def save_seats_of_restaurant(using):
    return partial(Restaurant.objects.using(using).get().save, update_fields=["seats"])


@pytest.fixture
def rows(database, order):
    """One of each."""
    Unregistered.objects.using(database).create(name="a")
    Restaurant.objects.using(database).create(name="a", seats=1)
    return database


@contextmanager
def in_another_transaction(using: str, act: Callable[[], object]) -> Iterator[Thread]:
    """A thread that does it, and commits."""

    def run():
        with closing(connections[using]), transaction.atomic(using=using):
            act()

    thread = Thread(target=run)
    thread.start()
    yield thread
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (save_order, emit_of_order),
        (emit_of_order, save_order),
        (emit_of_order, emit_of_order),
        (save_order, emit_by_key_of_order),
        (emit_by_key_of_order, save_order),
        (emit_of_cart, emit_of_cart),
        (emit_of_unregistered, emit_of_unregistered),
        (emit_of_restaurant, save_name_of_restaurant),
        (emit_of_restaurant, save_seats_of_restaurant),
        (save_name_of_restaurant, emit_of_restaurant),
    ],
)
def test_second_transaction__with_an_event_of_the_same_object__waits_for_the_first(rows, first, second):
    """Else its event could be numbered later and go out earlier: relays rely on that it does not."""
    act, act_then = first(rows), second(rows)
    before = len(names(rows))
    with ExitStack() as stack, transaction.atomic(using=rows):
        act()
        thread = stack.enter_context(in_another_transaction(rows, act_then))
        thread.join(0.2)
        assert thread.is_alive()
    assert len(names(rows)) == before + 2


@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
@pytest.mark.parametrize(
    ("first", "second"),
    [(emit_of_order, emit_of_cart), (emit_of_cart, emit_of_another_cart), (emit_of_cart, save_order)],
)
def test_second_transaction__with_an_event_of_another_object__waits_for_nobody(rows, first, second):
    """A lock is one object's, or of few."""
    act, act_then = first(rows), second(rows)
    with transaction.atomic(using=rows):
        act()
        with in_another_transaction(rows, act_then) as thread:
            thread.join(10)
            assert not thread.is_alive()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_row__whose_event_is_emitted__may_be_pointed_to_by_others(rows):
    """The lock is no stronger than an UPDATE's."""
    order = Order.objects.using(rows).get()
    with transaction.atomic(using=rows):
        emit("order__emitted", {}, instance=order)
        with in_another_transaction(rows, partial(Shipment.objects.using(rows).create, order=order)) as thread:
            thread.join(10)
            assert not thread.is_alive()
