"""Checks of ``MODELS_CRUD_EVENT``."""

from typing import TYPE_CHECKING, Any

from django.core.checks import CheckMessage, Error

from django_events_sourcing.capture.registry import registry
from django_events_sourcing.checks.options import service_name_doubts
from django_events_sourcing.checks.readable import readable_settings

if TYPE_CHECKING:
    from django_events_sourcing.capture.registration import Registration

__all__ = ["check_models"]


def check_models(**_kwargs: Any) -> list[CheckMessage]:
    """``MODELS_CRUD_EVENT``: E001 to E003, E005, E006, E008, E011, E012, W002 and W004."""
    messages = list(registry.problems)
    settings = readable_settings()
    by_name: dict[tuple[str, str], Registration] = {}
    for registration in registry.registrations:
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
