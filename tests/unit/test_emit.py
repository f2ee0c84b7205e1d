"""Events of a project's own, handed to the delivery with those of changes."""

import asyncio
import inspect
import subprocess
import sys
import uuid
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, connections, transaction

import django_events_sourcing
from django_events_sourcing import aemit, emit
from django_events_sourcing.capture import emitting
from django_events_sourcing.exceptions import ConfigurationError, EventsSourcingError, InvalidEvent, PayloadTooLarge
from django_events_sourcing.outbox import queries
from django_events_sourcing.testing import disable_dispatcher, disable_model_obj_dispatcher
from tests.project.models import (
    ArchivedOrder,
    Business,
    ExpressOrder,
    Hotel,
    NaturalThing,
    Order,
    Pizzeria,
    Place,
    Product,
    Unregistered,
    UUIDThing,
)


@pytest.fixture
def order(events):
    order = Order.objects.create(number="A-1", customer="Eva", total=10)
    events.clear()
    return order


def test_event__of_an_instance__is_one_of_its_changes_but_for_name_and_body(events, order):
    """By object, service and what consumers learn of it."""
    returned = emit("order__refunded", {"amount": Decimal("2.50"), "on": date(2026, 1, 2)}, instance=order)
    order.save()
    refunded, updated = events
    assert refunded is returned
    assert (refunded.name, refunded.data) == ("order__refunded", {"amount": "2.50", "on": "2026-01-02"})
    assert (
        (refunded.object, refunded.service)
        == (updated.object, updated.service)
        == (f"project.order:{order.pk}", "shop")
    )
    assert refunded.id < updated.id


def test_payload__of_more_bytes_than_it_may_have__is_refused(events, settings):
    """Nothing is sent."""
    settings.EVENTS_SOURCING = {"MAX_PAYLOAD_BYTES": 10}
    emit("thing__done", "12345678", key="thing:1")
    with pytest.raises(PayloadTooLarge, match="has 11 bytes, more than EVENTS_SOURCING"):
        emit("thing__done", "123456789", key="thing:1")
    assert len(events) == 1


def test_key__that_no_message_could_carry__is_refused(events):
    """As that of a row may be."""
    thing = NaturalThing(code="k" * 20_000)
    with (
        pytest.raises(PayloadTooLarge, match=r"has a key of 20,021 characters, more than the 16,000"),
        transaction.atomic(),
    ):
        thing.save()
    assert events == []


@pytest.mark.parametrize("payload", [{}, [], None, "text", 1.5, [uuid.UUID(int=7)]])
def test_payload__whatever_json__is_the_body(events, payload):
    """As REST framework would have it."""
    emit("cart__abandoned", payload, key="shop.cart:17")
    assert events[0].data == (payload if payload != [uuid.UUID(int=7)] else [str(uuid.UUID(int=7))])


@pytest.mark.parametrize(("coerce", "amount"), [(True, "2.50"), (False, 2.5)])
def test_payload__with_decimals__has_them_as_the_projects_serializers_do(events, settings, coerce, amount):
    """Texts, unless REST framework is told otherwise."""
    settings.REST_FRAMEWORK = {"COERCE_DECIMAL_TO_STRING": coerce}
    emit("cart__abandoned", {"amount": Decimal("2.50")}, key="shop.cart:17")
    assert events[0].data == {"amount": amount}


def test_payload__changed_afterwards__is_sent_as_it_was(events):
    """It is the moment's."""
    payload = {"lines": [1]}
    emit("cart__abandoned", payload, key="shop.cart:17")
    payload["lines"].append(2)
    assert events[0].data == {"lines": [1]}


def test_object__is_that_of_the_models_own_events(events, register):
    """Behind proxies and parents, whether a model is registered or not, and whatever stands on the instance."""
    thing = UUIDThing.objects.create(name="a")
    pizzeria = Pizzeria.objects.create(name="a", seats=1)
    known = [
        (ExpressOrder.objects.create(number="1", customer="a", total=1), "project.order"),
        (ArchivedOrder.objects.create(number="1", customer="a", total=1), "project.order"),
        (NaturalThing.objects.create(code="x,y"), "project.naturalthing"),
        (Unregistered.objects.create(name="a"), "project.unregistered"),
        (pizzeria, "project.restaurant"),
    ]
    events.clear()
    for instance, label in known:
        assert emit("it__happened", {}, instance=instance).object == f"{label}:{instance.pk}"
    thing.pk = str(thing.pk).upper()
    assert emit("it__happened", {}, instance=thing).object == f"project.uuidthing:{str(thing.pk).lower()}"
    register(Place)
    assert emit("it__happened", {}, instance=pizzeria).object == f"project.place:{pizzeria.pk}"


def test_object__of_one_parent_of_two__has_that_ones_key(events, register):
    """As its saves have."""
    Business.objects.create(tax_number="before")  # so that the keys differ
    hotel = Hotel.objects.create(name="a", tax_number="1")
    register(Business)
    events.clear()
    hotel.save()
    assert (
        emit("it__happened", {}, instance=hotel).object == events[0].object == f"project.business:{hotel.business_id}"
    )
    assert hotel.business_id != hotel.pk


def test_key__of_a_row__is_that_rows(events, order):
    """A task has the primary key, and need not read the row."""
    for key in (f"project.order:{order.pk}", f"project.Order:{order.pk}", f"project.ExpressOrder:0{order.pk}"):
        assert emit("order__refunded", {}, key=key).object == f"project.order:{order.pk}"
    assert emit("it__happened", {}, key="project.naturalthing:x:y,z").object == "project.naturalthing:x:y,z"


@pytest.mark.parametrize("key", ["shop.cart:17", "cart", "auth:7", "a.b.c:d", "project.nosuch:1", "Wagen:ä"])
def test_key__of_no_row__is_taken_as_it_stands(events, key):
    """What a project calls its things is its own."""
    assert emit("cart__abandoned", {}, key=key).object == key
    assert [event.object for event in events] == [key]


def test_service__passed_or_of_the_entry_or_of_the_settings(events, settings, order):
    """The nearest one counts."""
    assert emit("cart__abandoned", {}, key="shop.cart:17").service == "shop"
    settings.MODELS_CRUD_EVENT = [{"model": "project.Order", "service_name": "sales"}]
    assert emit("order__refunded", {}, instance=order).service == "sales"
    assert emit("order__refunded", {}, key=f"project.order:{order.pk}").service == "sales"
    assert emit("order__refunded", {}, instance=order, service="money").service == "money"
    settings.SERVICE_NAME = None
    with pytest.raises(
        ConfigurationError, match=r"^emit\('cart__abandoned'\): SERVICE_NAME is not set\. Set it, or pass"
    ):
        emit("cart__abandoned", {}, key="shop.cart:17")


def test_headers__go_along_in_json(events):
    """Those that are None do not, as with nameko."""
    emit("cart__abandoned", {}, key="shop.cart:17", headers={"why": uuid.UUID(int=7), "tags": ("a", 1), "who": None})
    assert events[0].headers == {"why": str(uuid.UUID(int=7)), "tags": ["a", 1]}


class Odd:
    """Its repr is long, and it is no JSON."""

    def __repr__(self):
        return "odd " * 100


LOOP: list[object] = []
LOOP.append(LOOP)
GOOD: dict[str, Any] = {"name": "a__b", "payload": {}, "key": "shop.cart:17"}

REFUSED = {
    "name empty": ({"name": ""}, "name is ''"),
    "name blank": ({"name": "  "}, "name is '  '"),
    "name no text": ({"name": 7}, "emit(): name is 7,"),
    "name too long": ({"name": "ä" * 128}, "It must be a text of 1 to 255 bytes"),
    "name in two lines": ({"name": "a\nb"}, r"emit('a\nb'): name is 'a\nb'"),
    "name with half a character": ({"name": "a\ud800"}, "without control characters"),
    "service empty": ({"service": ""}, "service is ''"),
    "service too long": ({"service": "s" * 249}, "It must be a text of 1 to 248 bytes"),
    "service no text": ({"service": Odd()}, "…, which AMQP"),
    "payload": ({"payload": {"lines": [{"price": Odd()}]}}, "payload, at 'lines.0.price', is no JSON. TypeError"),
    "payload itself": ({"payload": object()}, "payload is no JSON. TypeError"),
    "payload NaN": ({"payload": {"a": float("nan")}}, "payload, at 'a', is no JSON. ValueError"),
    "payload with a key": ({"payload": {"a": {(1, 2): 3}}}, "payload, at 'a', is no JSON. TypeError"),
    "payload within itself": ({"payload": LOOP}, "payload is no JSON. ValueError: Circular"),
    "payload a row": ({"payload": {"order": Product(name="a")}}, "payload, at 'order', is no JSON"),
    "no object": ({"key": None}, "pass either instance= or key="),
    "two objects": ({"instance": Product(pk=1)}, "pass either instance= or key="),
    "instance unsaved": (
        {"key": None, "instance": Product(pk=1)},
        "a project.Product that is not saved, or was deleted",
    ),
    "instance of nothing": ({"key": None, "instance": {"pk": 1}}, "instance is {'pk': 1}, which is no instance"),
    "key empty": ({"key": " "}, "key is ' ', no text"),
    "key no text": ({"key": 17}, "key is 17, no text"),
    "key in two lines": ({"key": "a\n"}, r"key is 'a\n', no text"),
    "key too long": ({"key": "k" * 256}, "no text of 1 to 255 characters"),
    "key of no row": ({"key": "project.order:x"}, "'x' is no primary key of project.Order. ValidationError"),
    "key of none": ({"key": "project.order"}, "'' is no primary key of project.Order"),
    "headers": ({"headers": ["a"]}, "headers is list, no dict"),
    "header of the library's": ({"headers": {"event_id": 1}}, "the header 'event_id' is written by the library itself"),
    "header of nameko's": ({"headers": {"call_id_stack": []}}, "the header 'call_id_stack' is written by"),
    "header of the trace's": ({"headers": {"traceparent": "x"}}, "the header 'traceparent' is written by"),
    "header without a name": ({"headers": {"": 1}}, "'' is no name of a header"),
    "header of a number": ({"headers": {7: 1}}, "'7' is no name of a header"),
    "header with a long name": ({"headers": {"x" * 241: 1}}, "is no name of a header"),
    "header in two lines": ({"headers": {"a\r": 1}}, r"'a\r' is no name of a header"),
    "header no JSON": ({"headers": {"a": Odd()}}, "the header 'a' is no JSON"),
    "header NaN": ({"headers": {"a": float("inf")}}, "the header 'a' is no JSON"),
    "header too large a number": ({"headers": {"a": [2**63]}}, "has more than 64 bits"),
    "header with a long key": ({"headers": {"a": {"x" * 241: 1}}}, "A key has more than 240 bytes"),
    "header with half a character": ({"headers": {"a": "\ud800"}}, "the header 'a' is no JSON"),
    "header within itself": ({"headers": {"a": LOOP}}, "the header 'a' is no JSON"),
    "headers too large": ({"headers": {"a": "x" * 40_000}}, "the headers have 40,009 bytes, of at most 32,768"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_argument__that_can_be_no_events__is_refused_in_one_line(events, change, message):
    """It says which, what it is, and what it must be; nothing is sent."""
    with pytest.raises(InvalidEvent) as caught:
        emit(**{**GOOD, **change})
    assert message in str(caught.value)
    assert str(caught.value).startswith("emit(")
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()
    assert isinstance(caught.value, ValueError)
    assert not events


def test_instance__whose_row_was_deleted__is_refused(events, order):
    """It has no key any more; who has one may pass that."""
    pk = order.pk
    order.delete()
    with pytest.raises(InvalidEvent, match="was deleted"):
        emit("order__archived", {}, instance=order)
    emit("order__archived", {}, key=f"project.order:{pk}")
    assert [event.name for event in events] == ["order__deleted", "order__archived"]


def test_database__that_does_not_exist__is_refused(events):
    """By Django."""
    with pytest.raises(Exception, match="nosuch"):
        emit(**GOOD, using="nosuch")
    assert not events


@pytest.mark.parametrize("models", [None, ["project.Order"]])
def test_dispatcher_disabled__for_the_model_or_all__nothing_is_sent(events, order, models):
    """As nothing of its changes; the event is returned all the same."""
    with disable_dispatcher(models):
        assert emit("order__refunded", {}, instance=order).name == "order__refunded"
        emit("order__refunded", {}, key=f"project.order:{order.pk}")
        emit("order__refunded", {}, instance=ArchivedOrder.objects.get())
        assert not events
    emit("order__refunded", {}, instance=order)
    assert len(events) == 1


def test_dispatcher_disabled__for_other_models__event_is_sent(events, order):
    """A key of no row is no model's."""
    with disable_dispatcher(["project.Product"]):
        emit("order__refunded", {}, instance=order)
        emit("cart__abandoned", {}, key="shop.cart:17")
    assert len(events) == 2
    with disable_dispatcher():
        emit("cart__abandoned", {}, key="shop.cart:17")
    assert len(events) == 2


def test_dispatcher_disabled__for_an_unregistered_model__nothing_is_sent(events):
    """It is the instance's model that counts."""
    instance = Unregistered.objects.create(name="a")
    with disable_dispatcher([Unregistered]):
        emit("it__happened", {}, instance=instance)
    assert not events


def test_dispatcher_disabled__for_an_instance__nothing_of_it_is_sent(events, order):
    """Nor of another that stands for its row."""
    other = Order.objects.create(number="A-2", customer="Eva", total=10)
    events.clear()
    with disable_model_obj_dispatcher(order):
        emit("order__refunded", {}, instance=Order.objects.get(pk=order.pk))
        emit("order__refunded", {}, instance=other)
        emit("cart__abandoned", {}, key="shop.cart:17")
    assert [event.object for event in events] == [f"project.order:{other.pk}", "shop.cart:17"]


def test_tenant__of_the_connection__owns_what_is_no_row(events, order, settings, monkeypatch):
    """Two tenants may have a cart of the same number."""
    monkeypatch.setattr(connection, "schema_name", "acme", raising=False)
    settings.SHARED_APPS, settings.TENANT_APPS = ["tests.project"], []
    cart, shared = emit("cart__abandoned", {}, key="shop.cart:17"), emit("order__refunded", {}, instance=order)
    assert (cart.object, cart.headers) == ("acme/shop.cart:17", {"event_tenant": "acme"})
    assert (shared.object, shared.headers) == (f"project.order:{order.pk}", {})


@pytest.mark.django_db(transaction=True)
def test_async_code__emits_from_a_thread_of_djangos(handed_over):
    """Beside the async twins of a save."""

    async def change():
        product = await Product.objects.acreate(name="a", price=1)
        return await aemit("product__praised", {"stars": 5}, instance=product, headers={"a": 1})

    event = asyncio.run(change())
    assert [each.name for each in handed_over] == ["product__created", "product__praised"]
    assert handed_over[1] is event


def test_signature__of_both__is_the_same():
    """They are one function."""
    assert inspect.signature(aemit) == inspect.signature(emit)


def test_using__goes_to_the_delivery(monkeypatch, order, db):
    """By default the database that a save would go to."""
    went = []
    monkeypatch.setattr(emitting, "deliver", lambda events, using: went.append(using))
    monkeypatch.setattr(queries, "lock_object", lambda using, key: None)
    with transaction.atomic():
        emit(**GOOD)
        emit("order__refunded", {}, instance=order)
    assert went == ["default", "default"]
    assert set(connections) >= {"default", "other"}


BEFORE = """
import django_events_sourcing
from django_events_sourcing.exceptions import EventsSourcingError
{prepare}
try:
    django_events_sourcing.emit("order__refunded", {{}}, key="shop.cart:17")
except EventsSourcingError as exc:
    print(exc)
"""


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        ("", "emit('order__refunded') was called before Django was set up. Call it from a function that runs later"),
        (
            "from django.conf import settings\nsettings.configure()\nimport django\ndjango.setup()",
            "emit('order__refunded'): add 'django_events_sourcing' to INSTALLED_APPS, and run `manage.py migrate`.",
        ),
    ],
    ids=["before the apps", "without the app"],
)
def test_emit__before_django_is_set_up__says_so(prepare, message):
    """In a module that is imported, say; to import the name is fine."""
    found = subprocess.run(
        [sys.executable, "-c", BEFORE.format(prepare=prepare)], capture_output=True, text=True, check=True, env={}
    )
    assert found.stdout.startswith(message)
    assert found.stderr == ""


def test_emit__in_a_test_without_the_app__sends_nothing(settings, events):
    """As changes do: Django's available_apps takes the library away."""
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django_events_sourcing"]
    assert emit(**GOOD).name == "a__b"
    assert not events


def test_errors__of_emit__are_the_librarys():
    """One class catches them all."""
    assert issubclass(InvalidEvent, EventsSourcingError)
    assert {"emit", "aemit", "event_context", "Event", "EventManager", "EventQuerySet"} == set(
        django_events_sourcing.__all__
    )
