"""The event has what the row holds, whatever Python type stood on the instance."""

import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, models
from django.db.models import F, Value
from django.test.utils import CaptureQueriesContext
from django.utils import timezone as django_timezone
from django.utils import translation
from django.utils.functional import lazystr
from django.utils.translation import gettext_lazy
from rest_framework import serializers

from django_events_sourcing.exceptions import SerializationError
from tests.project.models import Anything, Hidden, Kind, Order, Product, Row, Shipment, Shouted

TODAY = date(2026, 1, 2)
UUID = "00000000-0000-0000-0000-000000000001"

# What stands on the instance, and what the body holds: what it holds after a reload, too.
VALUES = {
    "text, enumeration": ("text", Kind.NEW, "new"),
    "text, lazy": ("text", lazystr("pen"), "pen"),
    "text, number": ("text", 5, "5"),
    "char, enumeration": ("char", Kind.NEW, "new"),
    "integer, text": ("integer", "4", 4),
    "integer, flag": ("integer", True, 1),
    "integer, float": ("integer", 4.0, 4),
    "float, integer": ("float", 4, 4.0),
    "float, text": ("float", "0.5", 0.5),
    "decimal, text": ("decimal", "1.5", "1.50"),
    "decimal, float": ("decimal", 1.5, "1.50"),
    "decimal, more places": ("decimal", Decimal("1.234"), "1.23"),
    "decimal, half": ("decimal", Decimal("0.125"), None),
    "decimal, other half": ("decimal", Decimal("0.375"), None),
    "decimal, large": ("large", Decimal("123456789012345678.12"), None),
    "own class, None": ("blank", None, ""),
    "boolean, text": ("boolean", "1", True),
    "boolean, number": ("boolean", 0, False),
    "date, datetime": ("date", datetime(2026, 1, 2, 3, 4, tzinfo=UTC), "2026-01-01"),
    "date, text": ("date", "2026-1-2", "2026-01-02"),
    "time, text": ("time", "3:04", "03:04:00"),
    "time, datetime": ("time", datetime(2026, 1, 2, 3, 4), "03:04:00"),
    "moment, text": ("moment", "2026-01-02T03:04:00Z", "2026-01-01T21:04:00-06:00"),
    "moment, elsewhere": (
        "moment",
        datetime(2026, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=9))),
        "2026-01-01T12:04:00-06:00",
    ),
    "uuid, text": ("uuid", "0" * 31 + "1", UUID),
    "uuid, number": ("uuid", 1, UUID),
    "uuid": ("uuid", uuid.UUID(int=1), UUID),
    "address, long": ("address", "2001:0::0:01", "2001::1"),
    "json, as its encoder has it": ("json", {"sum": Decimal("1.10"), "day": (date(2026, 1, 2),)}, None),
    "own class": ("shout", "pen", "PEN"),
    "own class, other type": ("shout", Kind.NEW, "KIND.NEW"),
    "own class with a descriptor": ("described", Shouted("pen"), "PEN"),
    "own class with an object": ("point", complex(1, 2), "(1+2j)"),
    "own class with its text": ("point", "1;2", "(1+2j)"),
}


VALUE_FIELDS = [
    "text",
    "char",
    "integer",
    "float",
    "decimal",
    "boolean",
    "moment",
    "uuid",
    "address",
    "json",
    "described",
]


class AnythingSerializer(serializers.ModelSerializer):
    """Reads the instance's own values, too."""

    raw = serializers.SerializerMethodField()

    class Meta:
        model = Anything
        fields = "__all__"

    def get_raw(self, anything):
        values = {name: getattr(anything, name) for name in VALUE_FIELDS}
        return {name: f"{type(value).__name__} {value!r}" for name, value in values.items()}


@pytest.fixture
def anything(register):
    register(Anything, serializer=AnythingSerializer)
    return Anything


@pytest.mark.filterwarnings("ignore:DateTimeField")
@pytest.mark.parametrize("case", VALUES)
def test_value__of_another_type__as_after_a_reload(anything, events, case):
    """The first save, one after a reload, and the delete have the same body; the instance keeps its value."""
    name, given, expected = VALUES[case]
    instance = anything(started=TODAY, **{name: given})
    before = vars(instance)[name]
    instance.save()
    assert vars(instance)[name] is before
    anything.objects.get().save()
    instance.delete()
    bodies = [event.data for event in events]
    assert bodies[0] == bodies[1] == bodies[2]
    if expected is not None:
        assert bodies[0][name] == expected


@pytest.mark.parametrize(
    "given",
    [
        "123456789012345499",
        "1234567890123456789012345499",
        "-123456789012345499.5",
        "1E+20",
        "123456789012345.675",
        "0",
    ],
)
def test_decimal__of_more_digits_than_sqlite_keeps__as_after_a_reload(anything, events, given):
    """Each time: what was read back may be kept as another number when it is saved again."""
    instance = anything(started=TODAY, large=Decimal(given))
    for _ in range(3):
        instance.save()
        instance = anything.objects.get()
        assert Decimal(events[-1].data["large"]) == instance.large


@pytest.mark.filterwarnings("ignore:DateTimeField")
@pytest.mark.parametrize("given", [date(2026, 1, 2), datetime(2026, 1, 2)], ids=["date", "naive"])
def test_moment__without_a_time_zone__midnight_in_the_project(anything, events, given):
    """A date or a naive datetime in a DateTimeField is a moment in the project's time zone, as the database has it."""
    anything.objects.create(moment=given, started=TODAY)
    anything.objects.get().save()
    assert [event.data["moment"] for event in events] == ["2026-01-02T00:00:00-06:00"] * 2


def test_date__default_that_gives_a_datetime__row_can_be_created(anything, events):
    """`DateField(default=timezone.now)` is common, and Django takes it."""
    anything.objects.create()
    assert date.fromisoformat(events[0].data["started"])


def test_foreign_key__text__as_after_a_reload(events):
    """A key from a form or a URL is text; the JSON doesn't depend on it."""
    order = Order.objects.create(number="A-1", customer="Ann", total=1)
    shipment = Shipment(order_id=str(order.pk), status="started")
    shipment.save()
    Shipment.objects.get().save()
    assert events[1].data["order"] == events[2].data["order"] == order.pk
    assert vars(shipment)["order_id"] == str(order.pk)


def test_foreign_key__text_beside_a_loaded_object__no_query(events, django_assert_num_queries):
    """The related object that is there already is not read again."""
    order = Order.objects.create(number="A-1", customer="Ann", total=1)
    shipment = Shipment(order=order, status="started")
    shipment.order_id = str(order.pk)
    with django_assert_num_queries(1):
        shipment.save()


def test_primary_key__text__same_object(events, settings):
    """However its key was written, an object is one object: its events have an order."""
    settings.MODELS_CRUD_EVENT = [{"model": "project.UUIDThing"}]
    from tests.project.models import UUIDThing

    UUIDThing.objects.create(pk="0" * 31 + "1", name="x")
    UUIDThing.objects.get().save()
    assert {event.object for event in events} == {f"project.uuidthing:{UUID}"}


def test_attributes_that_are_no_fields__left_alone(anything, events):
    """A queryset kept by cached_property, or an expression in an attribute of the project's own, is no field."""
    instance = anything.objects.create(started=TODAY)
    assert list(instance.siblings) == []
    instance.__dict__["total"] = F("integer") + 1
    instance.save()
    instance.delete()
    assert [event.name for event in events] == ["anything__created", "anything__updated", "anything__deleted"]


def test_generated_field__recorded_as_computed(register, events):
    """After an update Django may keep the old value; with update_fields and in a delete, too."""
    register(Row)
    row = Row.objects.create(price=2, pieces=3)
    row.pieces = 10
    row.save()
    row.pieces = 20
    row.save(update_fields=["pieces"])
    Row.objects.update(price=1)
    row.delete()
    assert [event.data["total"] for event in events] == [6, 20, 40, 20]


def test_expression__in_any_save__what_the_database_made_of_it(anything, events):
    """Also on create, with update_fields, and where the delete comes before the save."""
    instance = anything(integer=Value(3) + 4, started=TODAY)
    instance.save()
    instance.integer = F("integer") + 1
    instance.save(update_fields=["integer"])
    instance.integer = F("integer") + 1
    instance.delete()
    assert [event.data["integer"] for event in events] == [7, 8, 8]


def test_value_that_converts_to_nothing_known__read_back(anything, events, monkeypatch):
    """What only the database can make something of is asked for."""
    from django_events_sourcing.capture import conversion

    def fail(field):
        def convert(value, using):
            raise ValueError

        return conversion.Conversion(int, convert)

    monkeypatch.setitem(conversion._KINDS, models.IntegerField, fail)
    with CaptureQueriesContext(connection) as queries:
        anything.objects.create(integer="4", started=TODAY)
        anything.objects.create(integer=4, started=TODAY)
    assert [event.data["integer"] for event in events] == [4, 4]
    assert len(queries) == 3


@pytest.mark.filterwarnings("ignore:DateTimeField")
def test_plain_values__no_query_and_no_copy(anything, events, monkeypatch):
    """A save of values of the right types reads nothing back, and makes no second instance."""
    monkeypatch.setattr("django_events_sourcing.capture.stored.StoredForm._twin", None)
    plain = {
        "char": "a",
        "integer": 1,
        "decimal": Decimal("1.00"),
        "moment": django_timezone.now(),
        "uuid": uuid.uuid4(),
        "blank": "x",
    }
    with CaptureQueriesContext(connection) as queries:
        anything.objects.create(**plain, date=TODAY, started=TODAY)
    assert len(queries) == 1


def test_deferred_fields__read_by_one_query_when_needed(anything, events):
    """A serializer that reads several has them at once; the caller's instance stays deferred."""
    pk = anything.objects.create(integer=1, char="a", started=TODAY).pk
    instance = anything.objects.only("text").get()
    with CaptureQueriesContext(connection) as queries:
        instance.save()
    assert len(queries) == 2  # the update, and the rest of the row
    assert events[1].data["integer"] == 1
    assert "integer" in instance.get_deferred_fields()
    assert events[1].object == f"project.anything:{pk}"


def test_deferred_fields__that_the_serializer_does_not_read__no_query(register, events):
    """What nobody reads is not asked for."""
    register(Order, serializer="tests.project.serializers.OrderSerializer")
    Order.objects.create(number="A-1", customer="Ann", total=1)
    order = Order.objects.defer("customer").get()
    with CaptureQueriesContext(connection) as queries:
        order.save()
    assert len(queries) == 1


def test_filtered_base_manager__values_are_read_all_the_same(register, events):
    """A manager that hides the row hides nothing from its event."""
    register(Hidden)
    Hidden.everything.create(name="x", hidden=True, stock=1)
    hidden = Hidden.everything.only("stock").get()
    hidden.stock = F("stock") + 1
    with pytest.raises(Hidden.DoesNotExist):
        Hidden.visible.get()
    hidden.delete()
    assert events[-1].data == {"id": events[0].data["id"], "name": "x", "hidden": True, "stock": 1}


@pytest.mark.skipif(not hasattr(models, "FETCH_RAISE"), reason="Django 6.1 has fetch modes")
def test_fetch_mode__that_forbids_fetching__not_for_the_event(events):
    """A project that forbids itself to fetch what it did not ask for can save and delete all the same."""
    order = Order.objects.create(number="A-1", customer="Ann", total=1)
    Shipment.objects.create(order=order, status="started")
    queryset: Any = Shipment.objects.only("status")
    shipment = queryset.fetch_mode(vars(models)["FETCH_RAISE"]).get()
    shipment.save()
    shipment.delete()
    assert [event.data["order"] for event in events[1:]] == [order.pk] * 3


def test_row_that_vanished__clear_error(register, events):
    """A save whose row is not there to be read fails with a sentence."""
    register(Hidden)
    hidden = Hidden.everything.create(name="x")
    hidden.stock = F("stock") + 1
    Hidden.everything.all()._raw_delete("default")
    from django.db.models.signals import post_save

    with pytest.raises(SerializationError, match=r"project\.Hidden .*database 'default' has no such row"):
        post_save.send(Hidden, instance=hidden, created=False, raw=False, using="default", update_fields=None)


class AnswerSerializer(serializers.ModelSerializer):
    answer = serializers.SerializerMethodField()

    class Meta:
        model = Product
        fields = ["created_at", "answer"]

    def get_answer(self, product):
        return str(gettext_lazy("Yes"))


def test_body__whoever_saves__in_the_project_language_and_time_zone(register, events):
    """What a request has activated for its user is not in the body, and is in force again afterwards."""
    register(Product, serializer=AnswerSerializer)
    product = Product.objects.create(name="pen", price=1)
    with django_timezone.override("Asia/Tokyo"), translation.override("de"):
        product.save()
        assert django_timezone.get_current_timezone_name() == "Asia/Tokyo"
        assert translation.get_language() == "de"
    assert events[0].data == events[1].data
    assert events[0].data["answer"] == "Yes"
