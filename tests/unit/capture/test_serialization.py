"""Bodies: what JSON values become, and how errors name the culprit."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest
from django.db import OperationalError
from django.utils.translation import gettext_lazy
from rest_framework import serializers

from django_events_sourcing.exceptions import EventsSourcingError, SerializationError
from tests.project.models import Product

VALUES = {
    "decimal": (Decimal("1.10"), 1.1),  # a serializer's DecimalField makes it text beforehand, unless asked not to
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
    """The default serializer reports it, too."""
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
    """State and event agree: what can't be serialized does not happen, also outside any transaction."""
    settings.MODELS_CRUD_EVENT = [{"model": "project.Product", "serializer": RaisingFieldSerializer}]
    with pytest.raises(SerializationError):
        Product.objects.create(name="pen", price=1)
    assert not Product.objects.exists()


def test_serializer__database_error__passed_on(save_as):
    """Code that retries after a deadlock sees the deadlock."""
    with pytest.raises(OperationalError, match="deadlock"):
        save_as(QueryFailsSerializer)


def test_time_zone__overridden__followed(events, settings):
    """In tests, as with the settings of the framework."""
    Product.objects.create(name="pen", price=1)
    settings.TIME_ZONE = "Asia/Tokyo"
    Product.objects.create(name="pen", price=1)
    assert [event.data["created_at"][-6:] for event in events] == ["-06:00", "+09:00"]


def test_settings_of_the_framework__overridden__followed(events, settings):
    """The default serializer, which is kept from one event to the next, is made anew."""
    Product.objects.create(name="pen", price=1)
    settings.REST_FRAMEWORK = {"COERCE_DECIMAL_TO_STRING": False}
    Product.objects.create(name="pen", price=1)
    assert [event.data["price"] for event in events] == ["1.00", 1.0]


def test_default_serializer__in_several_threads__each_its_own_body(settings):
    """Each thread keeps one of its own."""
    from django_events_sourcing.capture.registry import registry

    settings.MODELS_CRUD_EVENT = [{"model": Product}]
    (registration,) = registry.registrations
    products = [Product(pk=number, name=f"no. {number}", price=number) for number in range(1, 200)]
    with ThreadPoolExecutor(8) as pool:
        drafts = list(pool.map(lambda product: registration.draft(product, "default", "deleted"), products))
    events = [draft() for draft in drafts if draft]
    assert [(event.data["id"], event.data["name"]) for event in events] == [
        (product.pk, product.name) for product in products
    ]
