"""The settings, as ``manage.py check`` sees them; and which events they have sent."""

from collections.abc import Iterator

from django.core.checks import ERROR, CheckMessage

from django_events_sourcing.capture.registration import Registration
from django_events_sourcing.capture.registry import registry
from django_events_sourcing.checks import CHECKS
from django_events_sourcing.doctor.findings import Finding, Item, Level
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.texts import counted
from django_events_sourcing.types import Alias

__all__ = ["event_names", "examine_settings", "finding_of", "may_be_a_status"]


def examine_settings() -> Iterator[Finding]:
    """What the checks say, but those that ask a database."""
    messages = [message for check in CHECKS for message in check()]
    yield from (finding_of(message, Item.SETTINGS) for message in messages)
    models = len(registry.registrations)
    if not models:
        problem = "No model is registered, so that there are no events."
        yield Finding(Item.SETTINGS, Level.WARNING, problem, "Name models in MODELS_CRUD_EVENT.")
    elif not messages:
        yield Finding(Item.SETTINGS, Level.OK, f"{counted(models, 'model', ('is', 'are'))} registered.")


def finding_of(message: CheckMessage, item: Item, database: Alias | None = None) -> Finding:
    """What a check says, as a finding."""
    level = Level.FAILING if message.level >= ERROR else Level.WARNING
    return Finding(item, level, f"{message.msg} ({message.id})", str(message.hint or ""), database)


def event_names() -> dict[str, set[str]]:
    """By service, the names of the events that its models have sent, as far as they are known beforehand."""
    names: dict[str, set[str]] = {}
    for registration in registry.registrations:
        try:
            names.setdefault(registration.service, set()).update(_names(registration))
        except ConfigurationError:  # it has no service, which the checks say
            continue
    return names


def may_be_a_status(service: str, name: str) -> bool:
    """Whether a model of the service may have an event of that name sent, as its status may come to be anything."""
    return any(
        name.startswith(f"{registration.prefix}__")
        for registration in registry.registrations
        if registration.status_field and registration.service == service
    )


def _names(registration: Registration) -> Iterator[str]:
    actions = ["created", "updated"]
    if registration.status_field:
        field = next((each for each in registration.model._meta.fields if each.name == registration.status_field), None)
        actions = [str(value) for value, _ in getattr(field, "flatchoices", ()) if value not in {None, ""}]
    yield from (f"{registration.prefix}__{action}" for action in (*actions, "deleted"))
