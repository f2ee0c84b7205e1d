"""Checks of ``MODELS_CRUD_EVENT``."""

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error

from django_events_sourcing.capture.registration import Registration
from django_events_sourcing.capture.registry import registry
from django_events_sourcing.capture.serialization import hyperlinked_field
from django_events_sourcing.checks.options import service_name_doubts
from django_events_sourcing.checks.readable import readable_settings
from django_events_sourcing.exceptions import ConfigurationError

__all__ = ["check_models"]


def check_models(**_kwargs: Any) -> list[CheckMessage]:
    """``MODELS_CRUD_EVENT``: E001 to E006, E008, E011, E012, E015 and W002."""
    messages = list(registry.problems)
    settings = readable_settings()
    by_name: dict[tuple[str, str], Registration] = {}
    for registration in registry.registrations:
        messages += _serializer_problems(registration)
        messages += service_name_doubts(f"{registration.where}['service_name']", registration.service_name)
        service = registration.service_name or (settings and settings.service_name)
        if service:
            first = by_name.setdefault((service, registration.prefix), registration)
            if first is not registration:
                messages.append(
                    Error(
                        f"{registration.where} and {first.where} have the same event names, {registration.prefix}__…, "
                        f"at service {service!r}: nobody could distinguish {registration.model._meta.label} from "
                        f"{first.model._meta.label}.",
                        hint="Give one of them an 'event_name_prefix' or a 'service_name' of its own.",
                        id="django_events_sourcing.E012",
                    )
                )
        elif settings is not None:
            messages.append(
                Error(
                    f"{registration.where} has no 'service_name', and SERVICE_NAME is not set.",
                    hint="Set SERVICE_NAME to the name of the service that the events come from.",
                    id="django_events_sourcing.E006",
                )
            )
    return messages


def _serializer_problems(registration: Registration) -> Iterator[Error]:
    try:
        serializer_class = registration.serializer_class
    except ConfigurationError as exc:
        yield Error(
            str(exc),
            hint="Give the dotted path of a serializer, such as 'app.serializers.ModelSerializer', or leave "
            "'serializer' out for one with all fields.",
            id="django_events_sourcing.E004",
        )
        return
    if field := hyperlinked_field(serializer_class):
        yield Error(
            f"{registration.where}['serializer'], {serializer_class.__qualname__}: its field {field!r} makes a "
            "hyperlink, which takes the request that it is an answer to; an event has none.",
            hint="Use a ModelSerializer, whose relations are primary keys.",
            id="django_events_sourcing.E015",
        )
