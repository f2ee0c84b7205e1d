"""Bodies: what JSON values become, and how errors name the culprit."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

import pytest
from django.db import OperationalError
from django.utils import timezone, translation
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from django_events_sourcing.exceptions import EventsSourcingError, SerializationError
from django_events_sourcing.serialization import default_serializer, kept_serializer, serialize
from tests.project.models import Anything, Kind, Product, Restaurant, Shipment, UUIDThing

VALUES = {
    "decimal": (Decimal("1.10"), 1.1),  # a serializer's DecimalField makes it text beforehand, unless told not to
    "uuid": (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    "datetime": (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z"),
    "date": (date(2026, 1, 2), "2026-01-02"),
    "time": (time(3, 4), "03:04:00"),
    "timedelta": (timedelta(minutes=2), "120.0"),
    "lazy": (gettext_lazy("pen"), "pen"),
    "bytes": (b"pen", "pen"),
    "nested": ({"lines": [{"price": Decimal(2)}, (1, None, True)]}, {"lines": [{"price": 2.0}, [1, None, True]]}),
    "text": ('é€😀 "quoted"', 'é€😀 "quoted"'),
}


class AnythingSerializer(serializers.BaseSerializer):
    """Gives out whatever a test put here."""

    output: object = None

    def to_representation(self, instance):
        return {"name": instance.name, "value": type(self).output}


class RaisingFieldSerializer(serializers.ModelSerializer):
    """One field is broken."""

    margin = serializers.SerializerMethodField()

    class Meta:
        model = Product
        fields = ["name", "margin"]

    def get_margin(self, product):
        raise ZeroDivisionError("no costs")


class QueryFailsSerializer(serializers.BaseSerializer):
    """The database fails while it reads."""

    def to_representation(self, instance):
        raise OperationalError("deadlock detected")


@pytest.fixture
def save_as(settings, events, monkeypatch):
    """Save a product with the given serializer; its value, if given, is what AnythingSerializer gives out."""

    def save(serializer=AnythingSerializer, value=None):
        settings.MODELS_CRUD_EVENT = [{"model": "project.Product", "serializer": serializer}]
        monkeypatch.setattr(AnythingSerializer, "output", value)
        Product.objects.create(name="pen", price=1)
        return events[-1]

    return save


@pytest.mark.parametrize("kind", VALUES)
def test_value__of_python__is_json(save_as, kind):
    """What DRF serializers commonly hold becomes JSON as in DRF's own answers."""
    given, expected = VALUES[kind]
    assert json.loads(save_as(value=given).body) == {"name": "pen", "value": expected}


@pytest.mark.parametrize(
    "value, path",
    [
        (float("nan"), "value"),
        (float("inf"), "value"),
        ({"lines": [{"price": 1.0}, {"price": float("nan")}]}, "value.lines.1.price"),
        (object(), "value"),
        (b"\xff", "value"),
        ({(1, 2): "x"}, "value"),
    ],
    ids=["nan", "inf", "nested", "object", "bytes", "key"],
)
def test_value__no_json__error_names_model_and_field(save_as, value, path):
    """What is no JSON fails the save, with the model, the serializer and the path of the value."""
    with pytest.raises(SerializationError) as caught:
        save_as(value=value)
    message = str(caught.value)
    assert "project.Product" in message
    assert "AnythingSerializer" in message
    assert f"field '{path}'" in message


def test_nan__in_a_model_field__error_names_it(events):
    """The default serializer tells it, too."""
    with pytest.raises(SerializationError, match="field 'weight'"):
        Product.objects.create(name="pen", price=1, weight=float("nan"))


def test_serializer__raises__error_names_field_and_keeps_cause(save_as):
    """A serializer that raises fails the save with its own error as the cause."""
    with pytest.raises(
        SerializationError, match=r"project\.Product .*RaisingFieldSerializer, field 'margin'"
    ) as caught:
        save_as(RaisingFieldSerializer)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert isinstance(caught.value, EventsSourcingError)


@pytest.mark.django_db(transaction=True)
def test_serializer__raises_in_autocommit__nothing_is_saved(settings):
    """State and event agree: what can't be told does not happen, also outside any transaction."""
    settings.MODELS_CRUD_EVENT = [{"model": "project.Product", "serializer": RaisingFieldSerializer}]
    with pytest.raises(SerializationError):
        Product.objects.create(name="pen", price=1)
    assert not Product.objects.exists()


def test_serializer__database_error__passed_on(save_as):
    """Code that retries after a deadlock sees the deadlock."""
    with pytest.raises(OperationalError, match="deadlock"):
        save_as(QueryFailsSerializer)


class ProductSerializer(serializers.ModelSerializer):
    """Without code of its own."""

    title = serializers.CharField(source="name", read_only=True)
    tags = serializers.ListField(child=serializers.CharField(), source="name", read_only=True)

    class Meta:
        model = Product
        fields = ["title", "price", "tags"]


class DerivedSerializer(ProductSerializer):
    class Meta(ProductSerializer.Meta):
        fields = ["title"]


class LoudField(serializers.CharField):
    def to_representation(self, value):
        return str(value).upper()


def variant(**attributes):
    """A class that derives from ProductSerializer and has ``attributes``."""
    meta = type(
        "Meta", (ProductSerializer.Meta,), {"fields": [*ProductSerializer.Meta.fields, *attributes.pop("more", [])]}
    )
    return type("Variant", (ProductSerializer,), {"Meta": meta, "__module__": __name__, **attributes})


def takes_its_own(self, *args, **kwargs):
    super(ProductSerializer, self).__init__(*args, **kwargs)


OWN_CODE = {
    "a method": variant(to_representation=lambda self, instance: {"id": id(self.instance)}),
    "a method field": RaisingFieldSerializer,
    "data": variant(data=property(lambda self: {"id": id(self.instance)})),
    "__init__": variant(__init__=takes_its_own),
    "an attribute": variant(seen=0),
    "a field class": variant(loud=LoudField(source="name"), more=["loud"]),
    "a field class within": variant(loud=serializers.ListField(child=LoudField(), source="name"), more=["loud"]),
    "a nested serializer": variant(inner=RaisingFieldSerializer(source="*"), more=["inner"]),
    "no serializer fields": AnythingSerializer,
    "one that can't be made": variant(more=["nosuch"]),
}


@pytest.mark.parametrize("serializer_class", [ProductSerializer, DerivedSerializer, default_serializer(Product)])
def test_kept_serializer__without_code_of_the_project__kept(serializer_class):
    """Declarations alone can look at nothing but the instance that is represented."""
    kept = kept_serializer(serializer_class)
    assert kept is not None
    for name in ("pen", "ink"):
        product = Product(name=name, price=1)
        assert serialize(product, serializer_class, kept) == serialize(product, serializer_class)


DAY = date(2026, 1, 1)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
INSTANCES = [
    Product(pk=1, name="pen", price=Decimal("1.50"), weight=0.5, created_at=datetime(2026, 1, 1, tzinfo=UTC)),
    Product(pk=2, name=Kind.NEW, price=1, weight=None),
    Product(pk="3", name=7, price="1.5", weight=1),
    Shipment(pk=1, order_id=4, status=Shipment.Status.STARTED),
    Restaurant(pk=1, name="The Pen", seats=30),
    UUIDThing(name="x"),
    Anything(text="é", char="c", integer=True, float=1, date=DAY, json={"a": [1]}, started=DAY),
    Anything(integer=5, float=1.5, boolean=False, described="x", shout="y", started=DAY),
    Anything(
        decimal=Decimal("1.5"), time=time(3, 4), moment=NOON, duration=timedelta(1), uuid=uuid.UUID(int=1), started=DAY
    ),
    Anything(
        decimal="1.5", time="03:04", moment=NOON.isoformat(), uuid="0" * 32, address="::1", order_id=1, started=DAY
    ),
]


@pytest.mark.parametrize("instance", INSTANCES, ids=lambda instance: type(instance).__name__)
def test_kept_serializer__any_instance__gives_what_a_new_one_does(instance):
    """Whatever stands on it: types that a field leaves as they are, and others; None; what a descriptor makes."""
    serializer_class = default_serializer(type(instance))
    kept = kept_serializer(serializer_class)
    assert kept is not None
    for _ in range(2):
        found, expected = kept.represent(instance), serializer_class(instance).data
        assert list(found.items()) == list(expected.items())
        assert list(map(type, found.values())) == list(map(type, expected.values()))


@pytest.mark.parametrize("as_text", [True, False])
@given(
    decimal=st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**8) + 1, max_value=10**8 - 1, places=2)
    | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**7), max_value=10**7),
    moment=st.datetimes(timezones=st.sampled_from([UTC, ZoneInfo("Asia/Kolkata")])) | st.datetimes(),
)
def test_kept_serializer__any_number_and_moment__gives_what_a_new_one_does(as_text, decimal, moment):
    """Those that need no rounding are not rounded, which tells the same."""

    class ExactSerializer(serializers.ModelSerializer):
        plain = serializers.DecimalField(10, 2, source="decimal", coerce_to_string=as_text)
        short = serializers.DecimalField(10, 2, source="decimal", normalize_output=True)
        free = serializers.DecimalField(None, None, source="decimal")
        year = serializers.DateTimeField(source="moment", format="%Y")
        raw = serializers.DateTimeField(source="moment", format=None)

        class Meta:
            model = Anything
            fields = ["plain", "short", "free", "decimal", "moment", "year", "raw"]

    kept = kept_serializer(ExactSerializer)
    assert kept is not None
    instance = Anything(decimal=decimal, moment=moment)
    try:
        expected = ExactSerializer(instance).data
    except (ValidationError, InvalidOperation, OverflowError) as exc:
        with pytest.raises(type(exc)):
            kept.represent(instance)
    else:
        assert kept.represent(instance, only_quickly=True) == expected


@pytest.mark.parametrize("localize", [False, True])
def test_kept_serializer__whatever_the_language_and_time_zone__tells_the_same(localize):
    """Quickly where no field depends on them."""

    class ChoosingSerializer(serializers.ModelSerializer):
        text = serializers.ChoiceField(choices=[("a", "A")])
        integer = serializers.ChoiceField(choices=[(1, "One")])
        decimal = serializers.DecimalField(max_digits=10, decimal_places=2, localize=localize)
        elsewhere = serializers.DateTimeField(source="moment", default_timezone=ZoneInfo("Asia/Tokyo"))

        class Meta:
            model = Anything
            fields = ["text", "integer", "decimal", "moment", "elsewhere", "order"]

    kept = kept_serializer(ChoosingSerializer)
    assert kept is not None
    instance = Anything(text="a", integer=1, decimal=Decimal("1234.50"), moment=NOON, order_id=5, started=DAY)
    expected = serialize(instance, ChoosingSerializer)
    with timezone.override("Asia/Kolkata"), translation.override("de"):
        assert serialize(instance, ChoosingSerializer, kept) == expected
        assert (kept.represent(instance, only_quickly=True) is None) == localize
        vars(instance)["text"] = gettext_lazy("Yes")
        told_slowly = json.loads(serialize(instance, ChoosingSerializer, kept))
    told = json.loads(expected)
    assert (told["moment"], told["elsewhere"]) == ("2026-01-01T06:00:00-06:00", "2026-01-01T21:00:00+09:00")
    assert told_slowly == {**told, "text": "Yes"}


def test_time_zone__overridden__followed(events, settings):
    """In tests, as with the settings of the framework."""
    Product.objects.create(name="pen", price=1)
    settings.TIME_ZONE = "Asia/Tokyo"
    Product.objects.create(name="pen", price=1)
    assert [event.data["created_at"][-6:] for event in events] == ["-06:00", "+09:00"]


@pytest.mark.parametrize("case", OWN_CODE)
def test_kept_serializer__with_code_of_the_project__each_event_its_own(case):
    """What a method or a field class looks at or remembers nobody knows."""
    assert kept_serializer(OWN_CODE[case]) is None


def test_settings_of_the_framework__overridden__followed(events, settings):
    """The default serializer, which is kept from one event to the next, is made anew."""
    Product.objects.create(name="pen", price=1)
    settings.REST_FRAMEWORK = {"COERCE_DECIMAL_TO_STRING": False}
    Product.objects.create(name="pen", price=1)
    assert [event.data["price"] for event in events] == ["1.00", 1.0]


def test_default_serializer__in_several_threads__each_its_own_body(settings):
    """One instance of it serves all threads at once."""
    from django_events_sourcing.registry import registry

    settings.MODELS_CRUD_EVENT = [{"model": Product}]
    (registration,) = registry.registrations
    products = [Product(pk=number, name=f"no. {number}", price=number) for number in range(1, 200)]
    with ThreadPoolExecutor(8) as pool:
        drafts = list(pool.map(lambda product: registration.draft(product, "default", "deleted")(), products))
    assert [(event.data["id"], event.data["name"]) for event in drafts] == [
        (product.pk, product.name) for product in products
    ]
