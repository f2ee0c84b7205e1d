"""Checks of what the events' bodies would hold."""

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's own name
from rest_framework.serializers import BaseSerializer

from django_events_sourcing.capture.registration import Registration
from django_events_sourcing.capture.registry import registry
from django_events_sourcing.capture.serialization import hyperlinked_field
from django_events_sourcing.capture.trial import try_out
from django_events_sourcing.exceptions import ConfigurationError

__all__ = ["check_bodies"]

_OF_ONES_OWN = "in 'serializer' name one of your own"


def check_bodies(**_kwargs: Any) -> list[CheckMessage]:
    """E004, E015, E018 and W007 to W009: each entry's serializer, tried without a database on instances made for it."""
    return [message for registration in registry.registrations for message in _messages(registration)]


def _messages(registration: Registration) -> Iterator[CheckMessage]:
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
    try:
        serializers = registration.serializers
    except ConfigurationError:  # E024
        return
    if link := hyperlinked_field(serializers.new):
        yield Error(
            f"{registration.where}['serializer'], {serializer_class.__qualname__}: its field {link!r} makes a "
            "hyperlink, which takes the request that it is an answer to; an event has none.",
            hint="Use a ModelSerializer, whose relations are primary keys; or give the entry 'serializer_context': "
            "{'request': None}, which makes links without a host.",
            id="django_events_sourcing.E015",
        )
        return
    yield from _trial_messages(registration, serializer_class)


def _trial_messages(registration: Registration, serializer_class: type[BaseSerializer[Any]]) -> Iterator[CheckMessage]:
    found = try_out(registration)
    model = registration.model._meta.label
    if registration.serializer is None:
        subject = f"{registration.where}: the serializer with all fields of {model}"
    else:
        subject = f"{registration.where}['serializer'], {serializer_class.__qualname__}"
    for field, problem in found.unusable.items():
        whose = f" fails at its field {field!r}" if field else " cannot be used"
        yield Error(
            f"{subject}{whose}, and a save of {model} with it. {problem}",
            hint=f"Give {field!r} a serializer field that makes text, a number or other JSON of it: {_OF_ONES_OWN}."
            if field and registration.serializer is None
            else "Mend the serializer.",
            id="django_events_sourcing.E018",
        )
    if found.is_for:
        yield Warning(
            f"{subject} is for {found.is_for._meta.label}, not for {model}.",
            hint="Name the serializer of the entry's model.",
            id="django_events_sourcing.W007",
        )
    for field in found.python:
        yield Warning(
            f"{subject} writes {field!r} as Python does, {{'key': None}}, where JSON is meant.",
            hint=f"Give it a JSONField of REST framework: {_OF_ONES_OWN}.",
            id="django_events_sourcing.W008",
        )
    if found.secrets:
        names = ", ".join(map(repr, found.secrets))
        yield Warning(
            f"{subject} sends {names} to whoever listens to its events: a secret, by its name.",
            hint=f"Leave it out: {_OF_ONES_OWN}, with the fields that others may see.",
            id="django_events_sourcing.W009",
        )
