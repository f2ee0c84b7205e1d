"""Which changes of an entry are worth an event, and what its serializer is told beside."""

import itertools

import pytest
from django.core.checks import run_checks
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import path
from rest_framework import serializers

from django_events_sourcing import emit
from django_events_sourcing.exceptions import SerializationError
from tests.project.models import Order, Place, Product, Restaurant, Shipment, Unregistered


def live(name="pen"):
    """Create, update and delete."""
    product = Product.objects.create(name=name, price=1)
    product.save()
    product.delete()


def names(events):
    return [event.name for event in events]


@pytest.mark.parametrize(
    "actions", [["created"], ("updated", "deleted"), {"deleted"}, ["created", "updated", "deleted"]]
)
def test_actions__of_an_entry__are_those_that_send(events, register, actions):
    """The others send nothing."""
    register(Product, actions=actions)
    live()
    assert names(events) == [f"product__{action}" for action in ("created", "updated", "deleted") if action in actions]
    emit("product__praised", {}, key="project.product:7")
    assert names(events)[-1] == "product__praised"


def test_actions__with_a_status_field__are_of_the_row_not_of_the_status(events, register):
    """What the event is called is another thing."""
    register(Shipment, status_field="status", actions=["updated"])
    shipment = Shipment.objects.create(order=Order.objects.create(number="1", customer="a", total=1), status="started")
    shipment.status = "finished"
    shipment.save()
    shipment.delete()
    assert names(events) == ["shipment__finished"]


def test_actions__without_deletes__leave_them_as_django_does_them(db, register):
    """Rows that nobody hears of need not be read."""
    Unregistered.objects.bulk_create(Unregistered(name=str(number)) for number in range(3))
    register(Unregistered, actions=["created"])
    with CaptureQueriesContext(connection) as queries:
        Unregistered.objects.all().delete()
        Unregistered(pk=7).delete()
    assert [query["sql"].split()[0] for query in queries] == ["DELETE", "DELETE"]


def test_actions__of_a_child_without_deletes__speak_for_its_parents_row(events, settings):
    """As its entry does for saves: a place that nobody heard of as such is not deleted either."""
    settings.MODELS_CRUD_EVENT = [{"model": Place}, {"model": Restaurant, "actions": ["created"]}]
    Restaurant.objects.create(name="a", seats=1).delete()
    Place.objects.create(name="b").delete()
    assert names(events) == ["restaurant__created", "place__created", "place__deleted"]


def is_cheap(product, action):
    """In tests below."""
    return product.price < 10 or action == "deleted"


def asks(instance, action):
    raise {"database": DatabaseError, "key": KeyError}[instance.name](action)


IS_CHEAP = f"{__name__}.is_cheap"


@pytest.mark.parametrize("when", [IS_CHEAP, is_cheap])
def test_when__says_no__nothing_is_sent(events, register, when):
    """It is asked about each change, before the serializer."""
    register(Product, when=when)
    product = Product.objects.create(name="pen", price="9.50")
    product.price = "10.50"
    product.save()
    product.delete()
    assert names(events) == ["product__created", "product__deleted"]


def test_when__is_given_what_the_row_holds(events, register):
    """Not what stood on the instance; the type is the registered one's."""
    seen = []
    register(Product, when=lambda instance, action: seen.append((type(instance), instance.price, action)))
    Product.objects.create(name="pen", price="9.5")
    assert [(model, str(price), action) for model, price, action in seen] == [(Product, "9.50", "created")]
    assert not events


def test_when__raises__save_fails_and_says_whose_it_is(events, register):
    """Row and event agree; an error of the database is passed on as it is."""
    register(Product, when=f"{__name__}.asks")
    with pytest.raises(SerializationError) as caught, transaction.atomic():
        Product.objects.create(name="key", price=1)
    assert str(caught.value).startswith(f"MODELS_CRUD_EVENT[0]['when'], '{__name__}.asks', does not say whether")
    assert str(caught.value).endswith("(created) is worth an event: KeyError: 'created'")
    with pytest.raises(DatabaseError, match="created"):
        Product.objects.create(name="database", price=1)
    assert not events


# The context of a serializer


class LinkedSerializer(serializers.HyperlinkedModelSerializer):
    class Meta:
        model = Order
        fields = ["url", "number"]


class ToldSerializer(serializers.ModelSerializer):
    told = serializers.SerializerMethodField()

    class Meta:
        model = Product
        fields = ["name", "told"]

    def get_told(self, _product):
        told = self.context.setdefault("told", [])  # type: ignore[attr-defined]
        told.append(self.context.get("number"))
        return list(told)


class OwnInitSerializer(ToldSerializer):
    """It is made anew for each event."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)


urlpatterns = [path("orders/<int:pk>", lambda request: None, name="order-detail")]  # type: ignore[arg-type, return-value]

_numbers = itertools.count()


def numbered():
    return {"number": next(_numbers)}


def no_dict():
    return 7


def test_context__of_a_request_that_is_none__makes_links_without_a_host(events, register, settings):
    """HyperlinkedModelSerializer works, and the check has nothing against it."""
    settings.ROOT_URLCONF = __name__
    register(Order, serializer=LinkedSerializer, serializer_context={"request": None})
    assert [message for message in run_checks(databases=[]) if "MODELS_CRUD" in message.msg] == []
    order = Order.objects.create(number="A-1", customer="Eva", total=1)
    order.save()
    assert [event.data["url"] for event in events] == [f"/orders/{order.pk}"] * 2


@pytest.mark.parametrize("serializer", [ToldSerializer, OwnInitSerializer])
def test_context__of_a_function__is_made_for_each_event(events, register, serializer):
    """A dict is the same each time, and what a serializer does to it is undone."""
    register(Product, serializer=serializer, serializer_context=f"{__name__}.numbered")
    live()
    first, *others = [event.data["told"][0] for event in events]
    assert len({first, *others}) == 3
    register(Product, serializer=serializer, serializer_context={"number": 7})
    live()
    assert [event.data["told"] for event in events[3:]] == [[7]] * 3


def test_context__that_is_none__save_fails_and_says_whose_it_is(events, register):
    """It is the entry's, not the serializer's."""
    register(Product, serializer=ToldSerializer, serializer_context=f"{__name__}.no_dict")
    with pytest.raises(
        SerializationError, match=r"^MODELS_CRUD_EVENT\[0\]\['serializer_context'\], .*no_dict', makes no"
    ):
        live()
    assert not events
