"""Which saves and deletes make which events."""

from decimal import Decimal
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync
from django.apps import apps
from django.core import serializers
from django.db import connection
from django.db.models import F
from django.db.models.signals import post_delete, post_migrate, post_save, pre_delete, pre_migrate
from django.db.transaction import atomic
from django.test.utils import CaptureQueriesContext

from django_events_sourcing.delivery import migrating
from django_events_sourcing.exceptions import PayloadTooLarge, SerializationError
from tests.project.models import (
    ArchivedOrder,
    ExpressOrder,
    Kind,
    NaturalThing,
    Order,
    Place,
    Product,
    Restaurant,
    Shipment,
    Ticket,
    Unregistered,
    UUIDThing,
)


def names(events):
    return [event.name for event in events]


def new_order(model=Order, **fields):
    return model.objects.create(**{"number": "A-1", "customer": "Ann", "total": Decimal("9.50"), **fields})


def test_save_and_delete__registered_model__three_events(events):
    """Create, update and delete are one event each, with the state of that moment."""
    product = Product.objects.create(name="pen", price=Decimal("1.20"))
    product.name = "red pen"
    product.save()
    pk = product.pk
    product.delete()
    assert names(events) == ["product__created", "product__updated", "product__deleted"]
    assert [event.data["name"] for event in events] == ["pen", "red pen", "red pen"]
    assert {event.object for event in events} == {f"project.product:{pk}"}
    assert {event.service for event in events} == {"shop"}
    assert events[2].data["id"] == pk


def test_event__id_and_time__uuid7_and_utc(events):
    """Every event has an id of its own, sortable by time, and a time in UTC."""
    for _ in range(2):
        Product.objects.create(name="pen", price=1)
    first, second = events
    assert first.id.version == second.id.version == 7
    assert first.id < second.id
    assert first.time.utcoffset().total_seconds() == 0


@pytest.mark.parametrize("method", ["create", "get_or_create", "update_or_create"])
def test_manager_methods__new_row__created(events, method):
    """However the row is made by the ORM one by one, it is one created event."""
    getattr(UUIDThing.objects, method)(name="x")
    assert names(events) == ["u_u_i_d_thing__created"]


def test_update_fields__one_updated_event(events):
    """A partial save is an update; one that names no field writes nothing and sends nothing."""
    product = Product.objects.create(name="pen", price=1)
    product.save(update_fields=["name"])
    product.save(update_fields=[])
    assert names(events) == ["product__created", "product__updated"]


def test_queryset_delete_and_cascade__one_event_for_each_object(events):
    """Deleting a set deletes each object with an event, those that go with it by cascade, too."""
    order = new_order()
    Shipment.objects.create(order=order, status="started")
    Shipment.objects.create(order=order, status="started")
    events.clear()
    Order.objects.all().delete()
    assert sorted(names(events)) == ["order__deleted", "shipment__deleted", "shipment__deleted"]


def test_status_field__names_every_save(events):
    """With a status field, each save is named by its value, and a delete is a delete."""
    shipment = Shipment.objects.create(order=new_order(), status="started")
    shipment.status = "finished"
    shipment.save()
    shipment.save()
    shipment.delete()
    assert names(events)[1:] == ["shipment__started", "shipment__finished", "shipment__finished", "shipment__deleted"]


def test_status_field__enumeration_member__its_value(events):
    """A member of a TextChoices names the event by its value, as the database has it."""
    Shipment.objects.create(order=new_order(), status=Shipment.Status.STARTED)
    assert names(events)[1:] == ["shipment__started"]


@pytest.mark.parametrize("status_field", ["kind", "stage"])
def test_status_field__enumeration_of_any_kind__the_stored_value(register, events, status_field):
    """`class Kind(str, Enum)` prints its name, but is stored by its value; so is what a property returns."""
    register(Ticket, status_field=status_field)
    Ticket.objects.create(kind=Kind.NEW)
    Ticket.objects.get().save()
    assert names(events) == ["ticket__new"] * 2
    assert [event.data["kind"] for event in events] == ["new"] * 2


def test_status_field__empty__the_action_stands_in(events):
    """An empty status makes no half of a name."""
    Shipment.objects.create(order=new_order(), status="")
    assert names(events)[1:] == ["shipment__created"]


def test_status_field__deleted__fails_the_save(events):
    """A living object's event would pass for that of a delete; a delete of one that has that state is one."""
    shipment = Shipment.objects.create(order=new_order(), status="started")
    shipment.status = "deleted"
    with (
        pytest.raises(SerializationError, match=r"its status, 'deleted', would name this event shipment__deleted"),
        atomic(),
    ):
        shipment.save()
    shipment.refresh_from_db()
    assert shipment.status == "started"
    Shipment._base_manager.update(status="deleted")
    Shipment.objects.get().delete()
    assert names(events)[1:] == ["shipment__started", "shipment__deleted"]


def test_body__of_more_than_it_may_have__fails_the_save(events, settings):
    """With no bound, none does."""
    settings.EVENTS_SOURCING = {"MAX_PAYLOAD_BYTES": 1000}
    Product.objects.create(name="pen", price=1)
    problem = r"'product__created' of 'project.product:\d+' has 1,\d+ bytes, more than EVENTS_SOURCING"
    with pytest.raises(PayloadTooLarge, match=problem), atomic():
        Product.objects.create(name="x" * 1000, price=1)
    assert [product.name for product in Product.objects.all()] == ["pen"]
    assert names(events) == ["product__created"]
    settings.EVENTS_SOURCING = {"MAX_PAYLOAD_BYTES": None}
    Product.objects.create(name="x" * 1000, price=1)


def test_prefix_and_service__of_the_entry__win(events, settings):
    """event_name_prefix and service_name of an entry win over the model's name and SERVICE_NAME."""
    settings.MODELS_CRUD_EVENT = [
        {"model": "project.Product", "event_name_prefix": "article", "service_name": "catalogue"},
    ]
    Product.objects.create(name="pen", price=1)
    assert (events[0].name, events[0].service) == ("article__created", "catalogue")


def test_model__given_as_class__is_registered(events, settings):
    """The model may be the class, and the serializer, too."""
    settings.MODELS_CRUD_EVENT = [{"model": Product}]
    Product.objects.create(name="pen", price=1)
    new_order()
    assert names(events) == ["product__created"]


def test_proxy__registered__named_for_itself(events):
    """A registered proxy is an entry of its own; its object is the row, whatever class it was saved by."""
    order = new_order(ExpressOrder)
    Order.objects.get(pk=order.pk).save()
    assert names(events) == ["express_order__created", "order__updated"]
    assert len({event.object for event in events}) == 1


def test_proxy__unregistered__recorded_as_the_model_behind_it(events):
    """A row of a registered model that is changed through an unregistered proxy has still changed."""
    order = new_order()
    archived = ArchivedOrder.objects.get(pk=order.pk)
    archived.save()
    archived.delete()
    assert names(events) == ["order__created", "order__updated", "order__deleted"]


def test_multi_table_child__one_event_of_the_saved_class(events):
    """A child's row is in two tables, but one save or delete is one event: the child's."""
    restaurant = Restaurant.objects.create(name="Roma", seats=12)
    restaurant.save()
    restaurant.delete()
    assert names(events) == ["restaurant__created", "restaurant__updated", "restaurant__deleted"]
    assert {event.data["name"] for event in events} == {"Roma"}


def test_multi_table_child__deleted_as_a_set__one_event_each(events):
    """The same by a queryset."""
    for name in ("Roma", "Napoli"):
        Restaurant.objects.create(name=name, seats=12)
    events.clear()
    Restaurant.objects.all().delete()
    assert names(events) == ["restaurant__deleted"] * 2


def test_multi_table_child__deleted_without_its_parent__the_parent_goes_on(events):
    """A parent that was kept is recorded when it is deleted later, by whatever instance."""
    restaurant = Restaurant.objects.create(name="Roma", seats=12)
    place = restaurant.place_ptr  # type: ignore[attr-defined]
    restaurant.delete(keep_parents=True)
    place.delete()
    assert names(events) == ["restaurant__created", "restaurant__deleted", "place__deleted"]


def test_multi_table_parent__saved_and_deleted__is_recorded(events):
    """A parent without a child is an object of its own."""
    place = Place.objects.create(name="Park")
    place.delete()
    assert names(events) == ["place__created", "place__deleted"]


def test_uuid_and_natural_keys__name_the_object(events):
    """The event's object carries the primary key as text, whatever its type."""
    thing = UUIDThing.objects.create(name="x")
    NaturalThing.objects.create(code="de-DE")
    assert [event.object for event in events] == [f"project.uuidthing:{thing.pk}", "project.naturalthing:de-DE"]
    assert UUID(events[0].data["id"]) == thing.pk


def test_fixture__raw__no_event(events):
    """Loading a fixture sends nothing."""
    text = serializers.serialize("json", [Product.objects.create(name="pen", price=1)])
    events.clear()
    for loaded in serializers.deserialize("json", text):
        loaded.save()
    assert Product.objects.exists()
    assert events == []


def test_deferred_fields__saved_and_deleted__whole_body(events):
    """Fields that were not loaded are in the body all the same, after a delete, too."""
    product = Product.objects.create(name="pen", price=Decimal("1.20"))
    Product.objects.only("name").get().save()
    Product.objects.defer("price").get().delete()
    assert [event.data["price"] for event in events] == ["1.20"] * 3
    assert events[2].object == f"project.product:{product.pk}"


def test_expression__saved__the_stored_value(events):
    """After saving F("price") + 1 the event has what the database made of it, also that of a delete."""
    product = Product.objects.create(name="pen", price=Decimal("1.20"))
    product.price = F("price") + 1
    product.save()
    assert events[1].data["price"] == "2.20"
    assert hasattr(product.price, "resolve_expression") or product.price == Decimal("2.20")  # as Django left it
    product.delete()
    assert events[2].data["price"] == "2.20"


@pytest.mark.django_db(databases=["default", "other"])
def test_using__second_database__event_of_its_row(events):
    """An instance saved to another database is read from there."""
    product = Product(name="pen", price=Decimal("1.20"))
    product.save(using="other")
    Product.objects.using("other").only("name").get().delete(using="other")
    assert names(events) == ["product__created", "product__deleted"]
    assert events[1].data["price"] == "1.20"


@pytest.mark.django_db(transaction=True)
def test_async__asave_and_adelete__events(events):
    """The async twins of save and delete send the same events."""

    @async_to_sync
    async def run():
        product = await Product.objects.acreate(name="pen", price=1)
        await product.asave()
        await product.adelete()

    run()
    assert names(events) == ["product__created", "product__updated", "product__deleted"]


def test_unregistered_model__costs_nothing(events):
    """No receiver is connected to it, no query is added, nothing is sent."""
    for signal in (post_save, pre_delete, post_delete):
        assert not signal.has_listeners(Unregistered)
    with CaptureQueriesContext(connection) as queries:
        Unregistered.objects.create(name="x")
    assert len(queries) == 1
    assert events == []


def test_save__default_serializer__no_query_of_its_own(events):
    """Making the event asks the database nothing."""
    with CaptureQueriesContext(connection) as queries:
        Product.objects.create(name="pen", price=1)
    assert len(queries) == 1
    assert names(events) == ["product__created"]


def test_migrations_signals__sent_by_hand__taken(db):
    """As tests of receivers of post_migrate do: without the alias."""
    config = apps.get_app_config("django_events_sourcing")
    last = [each for each in apps.get_app_configs() if each.models_module][-1]
    pre_migrate.send(sender=config)
    for sender in (config, last):
        post_migrate.send(sender=sender, app_config=sender, verbosity=0)
    assert not migrating._migrating
