"""Bulk writes on each database: one event for each row that was written, which says what the row holds."""

import json
import uuid
from datetime import datetime
from functools import partial

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import FieldDoesNotExist, FieldError
from django.db import IntegrityError, connections, transaction
from django.db.models import Count, F, OuterRef, Subquery, Value
from django.db.models.functions import Concat, Lower, Upper
from django.db.models.signals import post_save
from django.test.utils import CaptureQueriesContext

from django_events_sourcing import EventManager, EventQuerySet
from django_events_sourcing.capture import rows
from django_events_sourcing.delivery import on_commit
from django_events_sourcing.exceptions import BulkWriteRefused, SerializationError
from django_events_sourcing.models import LogEntry
from django_events_sourcing.testing import disable_dispatcher, disable_model_obj_dispatcher
from tests.integration.capture.conftest import in_thread, take_entries
from tests.integration.conftest import in_use
from tests.project.models import (
    Anything,
    Article,
    Club,
    Comment,
    Hidden,
    Hotel,
    Loan,
    NaturalThing,
    Order,
    Pizzeria,
    Place,
    Product,
    Profile,
    Restaurant,
    Row,
    Seat,
    Shipment,
    UUIDThing,
)


@pytest.fixture
def register(register_in_outbox):
    """Register models, with ``bulk``."""
    return partial(register_in_outbox, bulk=True)


def told(using):
    """What was told since the last time: names and bodies."""
    return [(entry.name, json.loads(entry.body)) for entry in take_entries(using)]


def names(using):
    return [name for name, _ in told(using)]


def changed(using):
    headers = LogEntry.objects.using(using).order_by("sequence").values_list("headers", flat=True)
    return [json.loads(each).get("event_changed") for each in headers]


@pytest.fixture
def orders(database, register):
    """Three orders, of which nothing is told, and the manager of all orders."""
    register(Order)
    manager = Order.objects.using(database)
    with disable_dispatcher():
        manager.bulk_create([Order(number=f"A-{number}", customer="Eva", total=number) for number in range(3)])
    return manager


def test_created__each_is_told(database, register):
    """With the key that the database gave it, and values as rows have them."""
    register(Product)
    made = Product.objects.using(database).bulk_create([Product(name=name, price="1.5") for name in "abc"])
    entries = told(database)
    moments = [datetime.fromisoformat(body.pop("created_at")) for _, body in entries]
    assert moments == list(Product.objects.using(database).order_by("pk").values_list("created_at", flat=True))
    assert entries == [
        (
            "product__created",
            {
                "id": product.pk,
                "name": product.name,
                "price": "1.50",
                "weight": None,
            },
        )
        for product in made
    ]


def test_created__with_keys_of_their_own(database, register):
    register(UUIDThing, NaturalThing)
    things = UUIDThing.objects.using(database).bulk_create(
        [UUIDThing(name="a"), UUIDThing(id=str(uuid.uuid4()), name="b")]
    )
    NaturalThing.objects.using(database).bulk_create(NaturalThing(code=code) for code in "xy")
    assert told(database) == [
        *(("u_u_i_d_thing__created", {"id": str(thing.pk), "name": thing.name}) for thing in things),
        *(("natural_thing__created", {"code": code}) for code in "xy"),
    ]


def test_created__what_only_the_database_knows__is_asked_for_once(database, register):
    """Expressions, defaults of the database's, generated columns; many-to-many fields of new rows are empty."""
    register(Row, Order, Seat, Article)
    with CaptureQueriesContext(connections[database]) as queries:
        Row.objects.using(database).bulk_create([Row(price=2, pieces=number) for number in range(20)])
    assert len(queries) < 12
    assert [body["total"] for _, body in told(database)] == [2 * number for number in range(20)]
    with CaptureQueriesContext(connections[database]) as queries:
        Order.objects.using(database).bulk_create(
            [Order(number=Lower(Value(f"A-{number}")), customer="Eva", total=1) for number in range(20)]
        )
    assert len(queries) < 12
    assert [body["number"] for _, body in told(database)] == [f"a-{number}" for number in range(20)]
    Seat.objects.using(database).bulk_create([Seat(hall="A", number=1), Seat(hall="A", number=2, price=7)])
    assert [(body["number"], body["price"]) for _, body in told(database)] == [(1, 5), (2, 7)]
    with CaptureQueriesContext(connections[database]) as queries:
        Article.objects.using(database).bulk_create([Article(title=str(number)) for number in range(20)])
    assert len(queries) < 12
    assert [body["products"] for _, body in told(database)] == [[]] * 20


def test_created__from_a_related_manager(database, register):
    register(Comment)
    article = Article.objects.using(database).create(title="a")
    article.comment_set.bulk_create([Comment(article=article, text="one"), Comment(article=article, text="two")])
    assert [body["text"] for _, body in told(database)] == ["one", "two"]


def test_created__in_chunks__all_are_told(database, register, monkeypatch):
    """More of them than are looked at at a time."""
    monkeypatch.setattr(rows, "CHUNK", 3)
    register(Product)
    products = Product.objects.using(database)
    products.bulk_create([Product(name=str(number), price=1) for number in range(10)], batch_size=4)
    assert [body["name"] for _, body in told(database)] == [str(number) for number in range(10)]
    products.update(name=Concat("name", Value("!")))
    assert [body["name"] for _, body in told(database)] == [f"{number}!" for number in range(10)]


def test_many__are_one_insert_and_one_wake_up(database, register, monkeypatch):
    """However many there are in a chunk, and however many chunks in a transaction."""
    woken = []
    monkeypatch.setattr(on_commit, "wake", lambda *arguments: woken.append(arguments))
    monkeypatch.setattr(rows, "CHUNK", 50)
    register(Order)
    with CaptureQueriesContext(connections[database]) as queries:
        Order.objects.using(database).bulk_create(
            [Order(number=str(number), customer="Eva", total=1) for number in range(100)]
        )
    inserts = [query for query in queries if "INSERT INTO" in query["sql"] and "_log" in query["sql"]]
    assert len(inserts) == 2
    assert len(woken) == 1
    assert len(told(database)) == 100


def test_async_twins__are_told(database, orders):
    """They do the same in a thread."""
    async_to_sync(orders.filter(total=1).aupdate)(total=5)
    order = async_to_sync(orders.aget)(number="A-0")
    order.total = 6
    async_to_sync(orders.abulk_update)([order], ["total"])
    async_to_sync(orders.abulk_create)([Order(number="A-9", customer="Eva", total=7)])
    assert [(name, body["total"]) for name, body in told(database)] == [
        ("order__updated", "5.00"),
        ("order__updated", "6.00"),
        ("order__created", "7.00"),
    ]


def test_update__each_row_is_told(database, orders):
    """With what it holds then: expressions are the database's to compute."""
    assert orders.filter(total__gt=0).update(total=F("total") + 1, number=Lower("number")) == 2
    assert [(name, body["number"], body["total"]) for name, body in told(database)] == [
        ("order__updated", "a-1", "2.00"),
        ("order__updated", "a-2", "3.00"),
    ]


def test_update__of_what_it_is_filtered_by(database, orders):
    """The rows that it wrote are told, though they match no more, and those that match by then are not."""
    assert orders.filter(total=1).update(total=2) == 1
    assert [body["number"] for _, body in told(database)] == ["A-1"]


@pytest.mark.parametrize(
    "select",
    [
        lambda orders: orders.filter(shipment__status="started"),
        lambda orders: orders.exclude(shipment__isnull=True),
        lambda orders: orders.filter(shipment__isnull=False).distinct(),
        lambda orders: orders.annotate(shipments=Count("shipment")).filter(shipments__gt=0),
        lambda orders: orders.filter(pk__in=Shipment.objects.using(orders.db).values("order")),
        lambda orders: orders.select_for_update().filter(shipment__status="started"),
        lambda orders: orders.only("number").filter(shipment__status="started").order_by("-total"),
        lambda orders: orders.extra(where=["total = 1"]),
        lambda orders: orders.filter(total=1) | orders.filter(number="A-1"),
        lambda orders: orders.filter(total=1).values("customer"),
        lambda orders: orders.filter(total=1).order_by("customer").reverse(),
        lambda orders: Order.objects.using(orders.db).filter(total=1).defer("customer").filter(number__startswith="A"),
    ],
)
def test_update__of_any_queryset__is_of_its_rows(database, orders, select):
    order = orders.get(number="A-1")
    Shipment.objects.using(database).create(order=order, status="started")
    told(database)
    assert select(orders).update(customer="Ida") == 1
    assert [(body["number"], body["customer"]) for _, body in told(database)] == [("A-1", "Ida")]


def test_update__by_a_subquery_or_annotation(database, orders):
    newest = Order.objects.using(database).filter(pk=OuterRef("pk")).values("number")[:1]
    if database != "mariadb":  # which can't read the table that it writes
        orders.filter(total=1).update(customer=Subquery(newest))
        assert [body["customer"] for _, body in told(database)] == ["A-1"]
    orders.annotate(loud=Upper("customer")).filter(total=0).update(customer=F("loud"))
    assert [body["customer"] for _, body in told(database)] == ["EVA"]


def test_update__of_nothing__tells_nothing(database, orders):
    assert orders.none().update(total=5) == orders.filter(total=99).update(total=5) == orders.update() == 0
    assert told(database) == []


@pytest.mark.parametrize(
    ("select", "values", "error"),
    [
        (lambda orders: orders.all()[:1], {"total": 1}, TypeError),
        (lambda orders: orders.union(orders.all()), {"total": 1}, Exception),
        (lambda orders: orders, {"price": 1}, Exception),
        (lambda orders: orders, {"shipment": 1}, Exception),
        (lambda orders: orders, {"number": None}, IntegrityError),
    ],
)
def test_update__that_django_refuses__is_refused_by_it(database, orders, register, select, values, error):
    """With the same error, and nothing told."""
    with pytest.raises(error) as with_events:
        select(orders).update(**values)
    assert told(database) == []
    register()
    with pytest.raises(error) as without:
        select(Order.objects.using(database)).update(**values)
    assert (with_events.type, str(with_events.value)) == (without.type, str(without.value))


def test_error_of_djangos__leaves_the_transaction_as_it_does(database, orders):
    """Whoever catches what Django found out by itself goes on; after the database's, nobody can."""
    with transaction.atomic(using=database):
        with pytest.raises(FieldError):
            orders.update(total=F("nothing"))
        with pytest.raises(FieldDoesNotExist):
            orders.bulk_create([Order()], update_conflicts=True, unique_fields=["x"], update_fields=["number"])
        orders.filter(total=1).update(total=5)
    assert [body["total"] for _, body in told(database)] == ["5.00"]
    with transaction.atomic(using=database):
        with pytest.raises(IntegrityError):
            orders.update(number=None)
        assert connections[database].needs_rollback
        transaction.set_rollback(True, using=database)


def test_update__of_an_evaluated_queryset__is_seen_in_it(database, orders):
    some = orders.filter(total__gt=0)
    assert [order.customer for order in some] == ["Eva"] * 2
    some.update(customer="Ida")
    assert [order.customer for order in some] == ["Ida"] * 2


def test_update__names_what_it_changed__and_leaves_out_what_it_did_not(database, register):
    """With ``track_changes``: by what the rows held, also of generated columns."""
    register(Row, track_changes=True)
    rows = Row.objects.using(database)
    rows.bulk_create([Row(price=1, pieces=1), Row(price=2, pieces=1)])
    told(database)
    assert rows.update(price=2) == 2
    assert changed(database) == [["price", "total"]]
    assert [body["total"] for _, body in told(database)] == [2]


def test_bulk_update__each_object_is_told(database, register):
    register(Order, track_changes=True)
    manager = Order.objects.using(database)
    made = manager.bulk_create([Order(number=str(number), customer="Eva", total=1) for number in range(3)])
    told(database)
    for order in made[:2]:
        order.customer = "Ida"
    made[1].total = F("total") + 5
    assert manager.bulk_update(iter(made), ["customer", "total"], batch_size=2) == 3
    assert changed(database) == [["customer"], ["customer", "total"]]
    assert [(body["customer"], body["total"]) for _, body in told(database)] == [("Ida", "1.00"), ("Ida", "6.00")]


def test_tracked_instance__after_a_bulk_update__is_compared_with_the_row(database, register):
    """Not with what it was read with: its own bulk update was told."""
    register(Order, track_changes=True)
    order = Order.objects.using(database).create(number="1", customer="Eva", total=1)
    order = Order.objects.using(database).get()
    order.customer = "Ida"
    Order.objects.using(database).bulk_update([order], ["customer"])
    order.customer = "Eva"
    order.save()
    assert changed(database)[1:] == [["customer"], ["customer"]]
    copy = Order.objects.using(database).get()
    copy.pk, copy.customer = None, "Ida"
    Order.objects.using(database).bulk_create([copy])
    copy.customer = "Eva"
    copy.save()
    assert changed(database)[3:] == [None, ["customer"]]


def test_related_managers__ways_to_update__are_told(database, register):
    register(Anything)
    order = Order.objects.using(database).create(number="1", customer="Eva", total=1)
    things = [Anything.objects.using(database).create() for _ in range(2)]
    told(database)
    order.anything_set.add(*things)
    assert [body["order"] for _, body in told(database)] == [order.pk] * 2
    order.anything_set.update(char="x")
    assert [body["char"] for _, body in told(database)] == ["x"] * 2
    order.anything_set.remove(things[0])
    assert [body["order"] for _, body in told(database)] == [None]
    order.anything_set.clear()
    assert [body["order"] for _, body in told(database)] == [None]
    order.anything_set.set(things)
    assert [body["order"] for _, body in told(database)] == [order.pk] * 2
    order.delete()
    assert [body["order"] for _, body in told(database)] == [None] * 2  # by SET_NULL


def test_delete__that_sets_a_default__is_told_of_those_it_sets(database, register):
    """They are read first, and written in another way than by SET_NULL."""
    register(Loan, track_changes=True)
    order = Order.objects.using(database).create(number="1", customer="Eva", total=1)
    loans = Loan.objects.using(database).bulk_create([Loan(order=order), Loan(order=order), Loan()])
    told(database)
    order.delete()
    assert changed(database) == [["order"]] * 2
    assert [body for _, body in told(database)] == [{"id": loan.pk, "order": None} for loan in loans[:2]]


def test_rows_that_the_base_manager_hides__are_told(database, register):
    register(Hidden)
    everything = Hidden.everything.using(database)
    everything.bulk_create([Hidden(name="a", hidden=True)])
    everything.update(stock=F("stock") + 1)
    assert [(name, body["stock"]) for name, body in told(database)] == [("hidden__created", 0), ("hidden__updated", 1)]


def test_composite_key__by_the_models_own_manager(database, register):
    """No key of its entry asks for it."""
    register(Seat, bulk=False)
    seats = Seat.objects.using(database)
    seats.bulk_create([Seat(hall="A", number=number) for number in range(3)])
    assert seats.filter(number__gt=0).update(guest="Eva", price=F("price") + 1) == 2
    made = list(seats.order_by("number"))
    made[0].guest = "Ida"
    assert seats.bulk_update(made, ["guest"]) == 3
    objects = list(LogEntry.objects.using(database).order_by("sequence").values_list("object", flat=True))
    assert objects == [f"project.seat:A,{number}" for number in (0, 1, 2, 1, 2, 0, 1, 2)]
    assert [(body["guest"], body["price"]) for _, body in told(database)][3:] == [
        ("Eva", 6),
        ("Eva", 6),
        ("Ida", 5),
        ("Eva", 6),
        ("Eva", 6),
    ]


def test_event_queryset__of_a_model_that_has_another_manager__tells(database, register):
    """Whatever the fields are called: ``name`` among them."""
    register(Product, bulk=False)
    told_ones: EventQuerySet[Product] = EventQuerySet(Product, using=database)
    told_ones.bulk_create([Product(name="a", price=1)])
    told_ones.update(name="b")
    product = told_ones.get()
    product.name = "c"
    told_ones.bulk_update([product], ["name"])
    assert [body["name"] for _, body in told(database)] == ["a", "b", "c"]


def test_event_queryset__and_the_entry__tell_once(database, register):
    register(Seat)
    Seat.objects.using(database).bulk_create([Seat(hall="A", number=1)])
    Seat.objects.using(database).update(guest="Eva")
    assert names(database) == ["seat__created", "seat__updated"]


def test_event_queryset__of_what_is_not_registered__is_djangos(database, register):
    register(Order)
    Seat.objects.using(database).bulk_create([Seat(hall="A", number=1)])
    assert Seat.objects.using(database).update(guest="Eva") == 1
    assert told(database) == []
    assert issubclass(EventManager._queryset_class, EventQuerySet)  # type: ignore[attr-defined]


def test_without_bulk__nothing_is_told(database, register):
    register(Order, bulk=False)
    manager = Order.objects.using(database)
    with CaptureQueriesContext(connections[database]) as queries:
        manager.bulk_create([Order(number="1", customer="Eva", total=1)], ignore_conflicts=True)
        manager.update(total=2)
    assert len([query for query in queries if "django_events" in query["sql"]]) == 0
    assert told(database) == []


def test_multi_table_child__is_told_as_by_a_save(database, register):
    """By the entry of the nearest class; columns of its parents are its own."""
    register(Restaurant, Place, track_changes=True)
    Restaurant.objects.using(database).create(name="a", seats=1)
    Pizzeria.objects.using(database).create(name="b", seats=1)
    Hotel.objects.using(database).create(name="c", tax_number="1")
    told(database)
    assert Restaurant.objects.using(database).filter(seats=1).update(name="d", seats=2) == 2
    assert changed(database) == [["name", "seats"]] * 2
    assert [(name, body["name"], body["seats"]) for name, body in told(database)] == [
        ("restaurant__updated", "d", 2)
    ] * 2
    assert Pizzeria.objects.using(database).filter(name="d").update(name="e", ovens=3) == 1
    assert Hotel.objects.using(database).update(beds=2, name="f", tax_number="2") == 1
    assert Place.objects.using(database).filter(name="f").update(name="g") == 1
    assert [(name, body["name"]) for name, body in told(database)] == [
        ("restaurant__updated", "e"),
        ("place__updated", "f"),
        ("place__updated", "g"),
    ]


def test_rolled_back__wholly_or_to_a_savepoint__tells_nothing(database, orders):
    with transaction.atomic(using=database):
        with transaction.atomic(using=database):
            orders.update(total=5)
            orders.bulk_create([Order(number="x", customer="Eva", total=1)])
            transaction.set_rollback(True, using=database)
        orders.filter(number="A-0").update(total=6)
    with transaction.atomic(using=database):
        orders.update(total=7)
        transaction.set_rollback(True, using=database)
    assert [(body["number"], body["total"]) for _, body in told(database)] == [("A-0", "6.00")]


def test_event_that_cannot_be_made__undoes_the_write(database, orders, settings):
    """Outside of a transaction; within one, that can only be rolled back, as after any error of a save."""

    def broken(instance, action):
        raise ValueError("no")

    settings.MODELS_CRUD_EVENT = [{"model": Order, "bulk": True, "when": broken}]
    with pytest.raises(SerializationError):
        orders.update(total=5)
    with pytest.raises(SerializationError):
        orders.bulk_create([Order(number="x", customer="Eva", total=1)])
    assert sorted(orders.values_list("total", flat=True)) == [0, 1, 2]
    with transaction.atomic(using=database):
        with pytest.raises(SerializationError):
            orders.update(total=5)
        assert connections[database].needs_rollback
        transaction.set_rollback(True, using=database)


def test_autocommit_off__it_is_part_of_that_transaction(database, orders):
    transaction.set_autocommit(False, using=database)
    try:
        orders.update(total=5)
        transaction.rollback(using=database)
        orders.filter(number="A-1").update(total=6)
        transaction.commit(using=database)
    finally:
        transaction.set_autocommit(True, using=database)
    assert [(body["number"], body["total"]) for _, body in told(database)] == [("A-1", "6.00")]


def test_switches__hold(database, orders):
    first = orders.get(number="A-0")
    with disable_dispatcher(["project.Order"]):
        orders.update(total=5)
        orders.bulk_create([Order(number="x", customer="Eva", total=1)], ignore_conflicts=True)
    with disable_model_obj_dispatcher(first):
        orders.filter(number__startswith="A").update(total=6)
    receivers, post_save.receivers = post_save.receivers, []
    post_save.sender_receivers_cache.clear()
    try:
        orders.update(total=7)
    finally:
        post_save.receivers = receivers
        post_save.sender_receivers_cache.clear()
    assert [body["number"] for _, body in told(database)] == ["A-1", "A-2"]


def test_actions_and_status__are_as_for_saves(database, settings):
    settings.EVENTS_SOURCING = {"DELIVERY": "outbox"}
    settings.MODELS_CRUD_EVENT = [
        {"model": Shipment, "status_field": "status", "bulk": True},
        {"model": Order, "actions": ["updated"], "bulk": True},
    ]
    order = Order.objects.using(database).bulk_create([Order(number="1", customer="Eva", total=1)])[0]
    Shipment.objects.using(database).bulk_create([Shipment(order=order, status="started")])
    Shipment.objects.using(database).update(status="finished")
    Order.objects.using(database).update(total=2)
    assert names(database) == ["shipment__started", "shipment__finished", "order__updated"]


def test_primary_key__updated__is_refused(database, register):
    register(NaturalThing, Restaurant)
    NaturalThing.objects.using(database).create(code="a")
    told(database)
    with pytest.raises(BulkWriteRefused, match=r"update\(\) of project.NaturalThing changes the primary key"):
        NaturalThing.objects.using(database).update(code="b")
    with pytest.raises(BulkWriteRefused, match="primary key"):
        Restaurant.objects.using(database).update(place_ptr=5)
    assert told(database) == []


def test_distinct_fields__are_refused(database, orders):
    with pytest.raises(BulkWriteRefused, match=r"distinct\('customer'\)"):
        orders.distinct("customer").update(total=1)


def test_ignored_conflicts__are_refused(database, orders):
    with pytest.raises(BulkWriteRefused, match="ignore_conflicts=True"):
        orders.bulk_create([Order(number="x", customer="Eva", total=1)], ignore_conflicts=True)
    assert orders.count() == 3
    assert told(database) == []


def test_keys_that_the_database_keeps_to_itself__are_refused(database, orders, monkeypatch):
    """As MySQL does, and MariaDB of old."""
    features = type(connections[database].features)
    monkeypatch.setattr(features, "can_return_rows_from_bulk_insert", property(lambda _: False))
    with pytest.raises(BulkWriteRefused, match="does not give back the primary keys"):
        orders.bulk_create([Order(number="x", customer="Eva", total=1)])
    assert orders.count() == 3
    orders.bulk_create([Order(pk=77, number="x", customer="Eva", total=1)])
    assert [body["id"] for _, body in told(database)] == [77]


class TestUpserts:
    """``update_conflicts``: each row is told as what it is, created or updated."""

    @pytest.fixture(params=["sqlite", "postgresql", "binding"])
    def database(self, request, django_db_blocker):
        """One that allows it."""
        with in_use(request.getfixturevalue(f"{request.param}_alias"), django_db_blocker) as alias:
            yield alias

    def test_rows__created_and_updated__are_told_as_such(self, database, register):
        register(Club)
        clubs = Club.objects.using(database)
        clubs.create(code="b")
        told(database)
        clubs.bulk_create(
            [Club(code=code) for code in "abc"], update_conflicts=True, unique_fields=["code"], update_fields=["code"]
        )
        assert [(name, body["code"]) for name, body in sorted(told(database), key=lambda each: each[1]["code"])] == [
            ("club__created", "a"),
            ("club__updated", "b"),
            ("club__created", "c"),
        ]

    def test_keys_of_their_own__are_not_those_of_the_rows_that_were_there(self, database, register):
        register(Club)
        clubs = Club.objects.using(database)
        there = clubs.create(code="b")
        told(database)
        clubs.bulk_create(
            [
                Club(pk=1001, code="a"),
                Club(pk=1002, code="b"),
                Club(pk=1003, code=None),
                Club(code="d"),
                Club(code=None),
            ],
            update_conflicts=True,
            unique_fields=["code"],
            update_fields=["code"],
        )
        rows = told(database)
        assert {(name, body["id"]) for name, body in rows if body["code"]} >= {
            ("club__created", 1001),
            ("club__updated", there.pk),
        }
        assert len(rows) == 5
        assert {name for name, body in rows if body["id"] != there.pk} == {"club__created"}

    def test_by_the_primary_key__says_what_the_row_holds(self, database, register):
        """Of the columns that are not updated, too."""
        register(Seat, track_changes=True)
        seats = Seat.objects.using(database)
        seats.create(hall="A", number=1, guest="Eva", price=9)
        seats.create(hall="A", number=3, guest="Ida")
        told(database)
        seats.bulk_create(
            [Seat(hall="A", number=number, guest="Ida") for number in (1, 2, 3)],
            update_conflicts=True,
            unique_fields=["hall", "number"],
            update_fields=["guest"],
        )
        assert changed(database) == [None, ["guest"]]
        assert [(name, body["number"], body["guest"], body["price"]) for name, body in told(database)] == [
            ("seat__created", 2, "Ida", 5),
            ("seat__updated", 1, "Ida", 9),
        ]

    def test_only_updates_are_told(self, database, register):
        register(NaturalThing, actions=["updated"])
        NaturalThing.objects.using(database).create(code="a")
        Profile.objects.using(database).create(owner_id="a")
        register(Profile, actions=["updated"])
        Profile.objects.using(database).bulk_create(
            [Profile(pk=Profile.objects.using(database).get().pk, owner_id="a")],
            update_conflicts=True,
            unique_fields=["pk"],
            update_fields=["owner"],
        )
        assert names(database) == ["profile__updated"]


def test_upsert__on_mariadb__is_refused(mariadb_alias, django_db_blocker, register):
    """It says nothing of what it did."""
    register(Club)
    with django_db_blocker.unblock(), pytest.raises(BulkWriteRefused, match="MariaDB does not say"):
        Club.objects.using(mariadb_alias).bulk_create([Club(code="a")], update_conflicts=True, update_fields=["code"])


def test_rows_that_another_took__are_not_told(concurrent, register):
    """Two workers want the same rows: who comes second updates none, and tells of none."""
    register(Shipment, status_field="status")
    order = Order.objects.using(concurrent).create(number="1", customer="Eva", total=1)
    waiting = Shipment.objects.using(concurrent).filter(status="started")
    waiting.bulk_create([Shipment(order=order, status="started") for _ in range(3)])
    told(concurrent)
    taken = []
    with transaction.atomic(using=concurrent):
        assert waiting.filter(pk__gt=waiting.earliest("pk").pk).update(status="finished") == 2
        thread = in_thread(concurrent, lambda: taken.append(waiting.all().update(status="lost")))
        assert thread.is_alive()
    thread.join()
    assert taken == [1]
    assert names(concurrent) == ["shipment__finished"] * 2 + ["shipment__lost"]


def test_save__beside_an_update__is_told_in_order(concurrent, register):
    """Who saves a row waits for the update, and the other way round."""
    register(Order)
    order = Order.objects.using(concurrent).create(number="1", customer="Eva", total=1)
    told(concurrent)

    def save():
        order.total = 7
        order.save()

    with transaction.atomic(using=concurrent):
        Order.objects.using(concurrent).update(total=5)
        thread = in_thread(concurrent, save)
        assert thread.is_alive()
    thread.join()
    with transaction.atomic(using=concurrent):
        order.save()
        thread = in_thread(concurrent, lambda: Order.objects.using(concurrent).update(total=F("total") + 1))
        assert thread.is_alive()
    thread.join()
    assert [body["total"] for _, body in told(concurrent)] == ["5.00", "7.00", "7.00", "8.00"]


def test_upsert__of_what_another_creates_meanwhile__is_an_update(postgresql_alias, django_db_blocker, register):
    register(Club)
    with in_use(postgresql_alias, django_db_blocker) as using:

        def upsert():
            Club.objects.using(using).bulk_create(
                [Club(code="a"), Club(code="b")],
                update_conflicts=True,
                unique_fields=["code"],
                update_fields=["code"],
            )

        with transaction.atomic(using=using):
            Club.objects.using(using).create(code="a")
            thread = in_thread(using, upsert)
            assert thread.is_alive()
        thread.join()
        assert [(name, body["code"]) for name, body in told(using)] == [
            ("club__created", "a"),
            ("club__created", "b"),
            ("club__updated", "a"),
        ]
