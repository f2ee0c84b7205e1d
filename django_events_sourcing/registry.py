"""Which models' changes become events, and how each is named and serialized."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from django.apps import apps
from django.core.checks import Error
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Model
from django.utils.module_loading import import_string
from rest_framework.serializers import BaseSerializer

from django_events_sourcing.conf import get_settings, model_entries, unknown_key
from django_events_sourcing.events import Event
from django_events_sourcing.exceptions import ConfigurationError, SerializationError
from django_events_sourcing.serialization import default_serializer, serialize, with_stored_values

__all__ = ["ENTRY_KEYS", "Registration", "Registry", "registry", "snake_case"]

ENTRY_KEYS = ["model", "serializer", "status_field", "event_name_prefix", "service_name"]

# AMQP's short string: the longest routing key that a broker takes.
_MAX_NAME_BYTES = 255


@dataclass(frozen=True)
class Registration:
    """One entry of ``MODELS_CRUD_EVENT``.

    Attributes:
        model: The registered model.
        where: The entry's place in the settings, for messages.
        serializer: A serializer class or its dotted path; None for a ModelSerializer with all fields.
        status_field: Name of the field whose value names the event, or None.
        event_name_prefix: What event names start with; None for the model's name in snake case.
        service_name: Where its events come from; None for ``SERVICE_NAME``.
    """

    model: type[Model]
    where: str
    serializer: str | type[BaseSerializer[Any]] | None = None
    status_field: str | None = None
    event_name_prefix: str | None = None
    service_name: str | None = None

    def event(self, instance: Model, action: str) -> Event:
        """The event that tells what just happened to ``instance``, with its state of this moment.

        Args:
            instance: What was saved or deleted.
            action: ``"created"``, ``"updated"`` or ``"deleted"``.

        Raises:
            ConfigurationError: The entry's serializer can't be imported, or no service name is set.
            SerializationError: The instance can't be serialized, or its status makes no event name.
        """
        stored = with_stored_values(instance)
        pk = ",".join(map(str, stored.pk)) if isinstance(stored.pk, tuple) else stored.pk
        return Event(
            name=self.event_name(stored, action),
            service=self.service,
            object=f"{self.model._meta.concrete_model._meta.label_lower}:{pk}",  # type: ignore[union-attr]
            body=serialize(stored, self.serializer_class),
        )

    def event_name(self, instance: Model, action: str) -> str:
        """``<model>__<action>``; with a status field ``<model>__<its value>`` for every save.

        A status that is None or empty names no state, so that the action stands in for it.
        """
        status = getattr(instance, self.status_field) if self.status_field and action != "deleted" else None
        suffix = action if status is None or status == "" else str(status)
        name = f"{self.prefix}__{suffix}"
        if len(name.encode()) > _MAX_NAME_BYTES:
            raise SerializationError(
                f"{self.model._meta.label} {instance.pk}: the event name {name[:60]!r}… is longer than the "
                f"{_MAX_NAME_BYTES} bytes that AMQP allows; shorten the value of {self.status_field!r}."
            )
        return name

    @cached_property
    def prefix(self) -> str:
        """What the names of its events start with."""
        return self.event_name_prefix or snake_case(self.model.__name__)

    @property
    def service(self) -> str:
        """The service that its events come from."""
        service = self.service_name or get_settings().service_name
        if not service:
            raise ConfigurationError(f"{self.where} has no 'service_name', and SERVICE_NAME is not set.")
        return service

    @cached_property
    def serializer_class(self) -> type[BaseSerializer[Any]]:
        """The serializer that makes the bodies of its events."""
        if self.serializer is None:
            return default_serializer(self.model)
        found = self.serializer
        if isinstance(found, str):
            try:
                found = import_string(found)
            except Exception as exc:
                raise ConfigurationError(
                    f"{self.where}['serializer'], {self.serializer!r}, can't be imported: {exc}"
                ) from exc
        if not (isinstance(found, type) and issubclass(found, BaseSerializer)):
            raise ConfigurationError(
                f"{self.where}['serializer'], {self.serializer!r}, is no serializer class of Django REST framework."
            )
        return found


class Registry:
    """The registrations by model, made from ``MODELS_CRUD_EVENT``.

    Attributes:
        problems: What is wrong with the entries, as check messages.
    """

    def __init__(self) -> None:
        self._by_model: dict[type[Model], Registration] = {}
        self.problems: list[Error] = []

    def __iter__(self) -> Iterator[type[Model]]:
        """Every model whose saves and deletes make events."""
        return iter(self._by_model)

    @property
    def registrations(self) -> list[Registration]:
        """The entries that are registered."""
        return [registration for model, registration in self._by_model.items() if model is registration.model]

    def __getitem__(self, model: type[Model]) -> Registration:
        """How ``model`` is registered; an unregistered proxy is registered as the model behind it."""
        return self._by_model[model]

    def load(self) -> None:
        """Read ``MODELS_CRUD_EVENT`` anew. An entry that is wrong becomes a problem, the others are registered."""
        self._by_model, self.problems = {}, []
        entries = model_entries()
        if not isinstance(entries, list | tuple):
            self.problems.append(
                _error(
                    "E001",
                    f"MODELS_CRUD_EVENT is {type(entries).__name__}, not a list.",
                    "Make it a list of dicts.",
                )
            )
            return
        for index, entry in enumerate(entries):
            registration = self._parse(f"MODELS_CRUD_EVENT[{index}]", entry)
            if registration is None:
                continue
            if (first := self._by_model.setdefault(registration.model, registration)) is not registration:
                self.problems.append(
                    _error(
                        "E008",
                        f"{registration.where}['model']: {registration.model._meta.label} is registered by "
                        f"{first.where} already, which is the one that counts.",
                        "Remove one of the two.",
                    )
                )
        self._add_proxies()

    def _add_proxies(self) -> None:
        for model in apps.get_models():
            behind: type[Model] | None = model
            while behind is not None and behind not in self._by_model:
                behind = behind._meta.proxy_for_model if behind._meta.proxy else None
            if behind is not None:
                self._by_model[model] = self._by_model[behind]

    def _parse(self, where: str, entry: object) -> Registration | None:
        if not isinstance(entry, Mapping) or "model" not in entry:
            self.problems.append(
                _error(
                    "E001",
                    f"{where} is {entry!r}: not a dict with a 'model'.",
                    "Write {'model': 'app.Model'}.",
                )
            )
            return None
        self.problems += [unknown_key(where, key, ENTRY_KEYS) for key in entry if key not in ENTRY_KEYS]
        model = self._find_model(where, entry["model"])
        if model is None:
            return None
        registration = Registration(where=where, **{**{k: entry[k] for k in ENTRY_KEYS if k in entry}, "model": model})
        self.problems += _entry_problems(registration)
        return registration

    def _find_model(self, where: str, name: object) -> type[Model] | None:
        if isinstance(name, type) and issubclass(name, Model):
            return name
        if isinstance(name, str) and name.count(".") == 1:
            try:
                return apps.get_model(name)
            except LookupError:
                pass
        known = [model._meta.label for model in apps.get_models()]
        near = get_close_matches(str(name), known, n=1, cutoff=0.5)
        self.problems.append(
            _error(
                "E003",
                f"{where}['model'], {name!r}, is no model of an installed app: its changes send no events.",
                f"Did you mean {near[0]!r}?"
                if near
                else "Write 'app_label.ModelName', or add the app to INSTALLED_APPS.",
            )
        )
        return None


def snake_case(name: str) -> str:
    """``name`` with an underscore before each inner capital, in lower case: ModelWithStatus, model_with_status."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _entry_problems(registration: Registration) -> Iterator[Error]:
    where, model = registration.where, registration.model
    for key in ("status_field", "event_name_prefix", "service_name"):
        value = getattr(registration, key)
        if value is not None and not (isinstance(value, str) and value):
            yield _error("E001", f"{where}[{key!r}] is {value!r}.", "It must be a string with something in it.")
            return
    status_field = registration.status_field
    if status_field and not _has_attribute(model, status_field):
        names = [field.name for field in model._meta.get_fields()]
        near = get_close_matches(status_field, names, n=1, cutoff=0.5)
        yield _error(
            "E005",
            f"{where}['status_field']: {model._meta.label} has no field {status_field!r}.",
            f"Did you mean {near[0]!r}?" if near else f"Its fields: {', '.join(names)}.",
        )


def _has_attribute(model: type[Model], name: str) -> bool:
    try:
        model._meta.get_field(name)
    except FieldDoesNotExist:
        return hasattr(model, name)  # a property will do
    return True


def _error(code: str, message: str, hint: str) -> Error:
    return Error(message, hint=hint, id=f"django_events_sourcing.{code}")


#: The registry in force; loaded when Django's apps are ready, and again when tests override its setting.
registry = Registry()
