"""Names."""

import pytest

from django_events_sourcing.capture.registration import Registration, snake_case
from django_events_sourcing.exceptions import ConfigurationError, SerializationError
from tests.project.models import Product, Shipment


@pytest.mark.parametrize(
    "name, expected",
    [
        ("Order", "order"),
        ("ModelWithStatus", "model_with_status"),
        ("Model1", "model1"),
        ("HTTPServer", "h_t_t_p_server"),
        ("order", "order"),
    ],
)
def test_snake_case__inner_capitals(name, expected):
    """An underscore before each inner capital, as version 0.8.0 has it."""
    assert snake_case(name) == expected


def test_event_name__longer_than_amqp_allows__error_says_so():
    """A status that makes no routing key fails the save rather than the worker."""
    registration = Registration(model=Shipment, where="MODELS_CRUD_EVENT[0]", status_field="status")
    with pytest.raises(SerializationError, match=r"longer than the 255 bytes.*'status'"):
        registration.event_name(Shipment(status="é" * 130), "created")


def test_service__neither_in_entry_nor_settings__error_names_both(settings):
    """Without a service there is no exchange to publish to."""
    settings.SERVICE_NAME = None
    with pytest.raises(ConfigurationError, match=r"MODELS_CRUD_EVENT\[3\] has no 'service_name'.*SERVICE_NAME"):
        _ = Registration(model=Product, where="MODELS_CRUD_EVENT[3]").service


def test_serializer__of_another_kind__error_names_it():
    """A class that is no serializer is reported as such, not by an AttributeError later."""
    registration = Registration(model=Product, where="MODELS_CRUD_EVENT[0]", serializer="decimal.Decimal")
    with pytest.raises(ConfigurationError, match="'decimal.Decimal', is no serializer class"):
        _ = registration.serializer_class
