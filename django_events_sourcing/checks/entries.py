"""Checks of ``MODELS_CRUD_EVENT``."""

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error

from django_events_sourcing.capture.registration import Registration
from django_events_sourcing.capture.registry import registry
from django_events_sourcing.checks.options import service_name_doubts
from django_events_sourcing.checks.readable import readable_settings
from django_events_sourcing.exceptions import ConfigurationError

__all__ = ["check_models"]


_FUNCTIONS = {
    "when_function": (
        "E023",
        "Give the dotted path of a function (instance, action) -> bool, or leave 'when' out.",
    ),
    "context_function": (
        "E024",
        "Give a dict, or the dotted path of a function () -> dict, or leave 'serializer_context' out.",
    ),
}


def _function_problems(registration: Registration) -> Iterator[CheckMessage]:
    for name, (code, hint) in _FUNCTIONS.items():
        try:
            getattr(registration, name)
        except ConfigurationError as exc:
            yield Error(str(exc), hint=hint, id=f"django_events_sourcing.{code}")


def _status_problems(registration: Registration) -> Iterator[CheckMessage]:
    """E029: a state whose events would pass for those of a delete."""
    name = registration.status_field
    field = next((each for each in registration.model._meta.concrete_fields if each.attname == name), None)
    if field is not None and "deleted" in dict(field.flatchoices):
        yield Error(
            f"{registration.where}['status_field'], {name!r}, has the choice 'deleted': a save of such an object, "
            f"which is still there, would send {registration.prefix}__deleted. It fails in place of that.",
            hint="Call the state something else, 'archived' say; or leave 'status_field' out, and read it in the body.",
            id="django_events_sourcing.E029",
        )


def check_models(**_kwargs: Any) -> list[CheckMessage]:
    """``MODELS_CRUD_EVENT``: E001 to E003, E005, E006, E008, E011, E012, E022 to E027, E029, W002 and W004."""
    messages = list(registry.problems)
    settings = readable_settings()
    by_name: dict[tuple[str, str], Registration] = {}
    for registration in registry.registrations:
        messages += _function_problems(registration)
        messages += _status_problems(registration)
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
