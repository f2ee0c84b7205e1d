"""One registered model: how its changes are named, serialized and made into events."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property, partial
from typing import Any

from django.db.models import Model
from rest_framework.serializers import BaseSerializer

from django_events_sourcing.capture.changes import Comparison, comparison_of, differences, values_of
from django_events_sourcing.capture.default_serializer import default_serializer
from django_events_sourcing.capture.functions import function_of, imported, naming
from django_events_sourcing.capture.kept_serializers import KeptSerializers
from django_events_sourcing.capture.keys import keys_of
from django_events_sourcing.capture.no_queries import without_queries
from django_events_sourcing.capture.serialization import as_text, project_locale, represent
from django_events_sourcing.capture.stored import StoredForm
from django_events_sourcing.conf import get_settings
from django_events_sourcing.context import context_headers
from django_events_sourcing.events import Event
from django_events_sourcing.exceptions import ConfigurationError, SerializationError
from django_events_sourcing.tracing import trace_context
from django_events_sourcing.types import Alias

__all__ = ["ACTIONS", "MAX_NAME_BYTES", "Registration", "snake_case"]

#: What may happen to a row.
ACTIONS = ("created", "updated", "deleted")

#: AMQP's short string: the longest routing key that a broker takes.
MAX_NAME_BYTES = 255


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
        actions: Those that send events, of ``ACTIONS``.
        track_changes: Whether an update names what it changed, and sends nothing if that is nothing.
        when: Whether a change is worth an event: called with the instance and the action, or its dotted path; None if
            each is.
        bulk: Whether bulk writes by any QuerySet are told.
        m2m: The many-to-many fields whose changes are told as updates.
        serializer_context: What the serializer has as ``context``: a dict, what makes one for each event, or its dotted
            path.
    """

    model: type[Model]
    where: str
    serializer: str | type[BaseSerializer[Any]] | None = None
    status_field: str | None = None
    event_name_prefix: str | None = None
    service_name: str | None = None
    actions: Collection[str] = ACTIONS
    when: str | Callable[[Model, str], object] | None = None
    track_changes: bool = False
    bulk: bool = False
    m2m: Collection[str] = ()
    serializer_context: str | Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None = None

    def draft(self, instance: Model, using: Alias, action: str) -> partial[Event] | None:
        """The event of what just happened to ``instance``, or is about to, with its state of this moment.

        Args:
            instance: What is saved or deleted: of the model, of a proxy, or of a model derived from it.
            using: Alias of the database that it happens in.
            action: ``"created"``, ``"updated"`` or ``"deleted"``.

        Returns:
            What makes the event, with its id and time, when called; None if the change is worth none.

        Raises:
            ConfigurationError: What the entry names can't be imported, or no service name is set.
            SerializationError: The instance can't be serialized, its status makes no event name, or the entry's own
                ``when`` or ``serializer_context`` raised.
        """
        stored = self._stored_form.of(instance, using, action=action)
        with project_locale():
            told = self._told(instance, stored, action)
        return None if told is None else self._maker(using)(stored, *told)

    def events(self, instances: Sequence[Model], using: Alias, action: str) -> list[Event]:
        """Those of instances that were written together, as ``draft`` makes them; arguments and errors as there."""
        forms = self._stored_form.of_many(instances, using, action=action)
        with project_locale():
            told = [self._told(each, stored, action) for each, stored in zip(instances, forms, strict=True)]
        make = self._maker(using)
        return [make(stored, *each)() for stored, each in zip(forms, told, strict=True) if each]

    def _maker(self, using: Alias) -> Callable[[Model, str, str, list[str] | None], partial[Event]]:
        """What makes drafts of rows' name, body and changes."""
        key, of_tenant = keys_of(self.model, using)
        service, trace = self.service, trace_context()

        def draft(stored: Model, name: str, body: str, changed: list[str] | None) -> partial[Event]:
            headers = {**context_headers(), **trace, **of_tenant}
            if changed is not None:
                headers["event_changed"] = changed
            return partial(Event, name=name, service=service, object=key(stored.pk), body=body, headers=headers)

        return draft

    def _told(self, instance: Model, stored: Model, action: str) -> tuple[str, str, list[str] | None] | None:
        """An event's name, its body, and what an update changed in that; None if the change is worth no event."""
        if not self._is_worth_it(stored, action):
            return None
        comparison = comparison_of(instance) if self.compares else None
        before = comparison and _differences(comparison, stored, action)
        if before == {}:
            return None
        name = self.event_name(stored, action)
        data = represent(stored, self.serializers)
        changed = None
        if comparison and (before or comparison.related):
            before = before or {}
            earlier = self._stored_form.earlier(stored, before)
            changed = self.serializers.changed(earlier, data, before.keys(), comparison.related)
            if changed == [] and not self._is_named_otherwise(earlier, action, name):
                return None
        return name, as_text(stored, self.serializers, data), changed

    def event_name(self, instance: Model, action: str) -> str:
        """``<model>__<action>``; with a status field ``<model>__<its value>`` for every save.

        A status that is None or empty names no state, so that the action stands in for it.
        """
        suffix = action
        if self.status_field and action != "deleted":
            status = getattr(instance, self.status_field)
            if isinstance(status, Enum):  # of a property: a field's is its value already
                status = status.value
            suffix = action if status is None or status == "" else str(status)
            if suffix == "deleted":
                raise SerializationError(
                    f"{self.model._meta.label} {instance.pk}: its {self.status_field}, 'deleted', would name this "
                    f"event {self.prefix}__deleted, as if the object were gone. Call the state something else."
                )
        name = f"{self.prefix}__{suffix}"
        if len(name.encode()) > MAX_NAME_BYTES:
            raise SerializationError(
                f"{self.model._meta.label} {instance.pk}: the event name {name[:60]!r}… is longer than the "
                f"{MAX_NAME_BYTES} bytes that AMQP allows; shorten the value of {self.status_field!r}."
            )
        return name

    def _is_worth_it(self, stored: Model, action: str) -> bool:
        if self.when_function is None:
            return True
        with naming(
            f"{self.where}['when'], {self.when!r}, does not say whether {stored._meta.label} {stored.pk} ({action}) is "
            "worth an event"
        ):
            return bool(self.when_function(stored, action))

    def _is_named_otherwise(self, earlier: Model, action: str, name: str) -> bool:
        """Whether an event would have had another name before, as far as that can be told without the database."""
        if not self.status_field:
            return False
        try:
            with without_queries():
                return self.event_name(earlier, action) != name
        except Exception:  # noqa: BLE001 - of the project's own property
            return True

    @property
    def compares(self) -> bool:
        """Whether a save is to be compared with what was there before."""
        return self.track_changes and "updated" in self.actions

    @cached_property
    def when_function(self) -> Callable[[Model, str], object] | None:
        """``when`` itself; raises ConfigurationError if it is no such function."""
        return None if self.when is None else function_of(f"{self.where}['when']", self.when, "instance", "action")

    @cached_property
    def context_function(self) -> Callable[[], dict[str, Any]] | None:
        """What gives a serializer its context; raises ConfigurationError if it is no such function."""
        if self.serializer_context is None:
            return None
        if isinstance(self.serializer_context, Mapping):
            return partial(dict, self.serializer_context)
        where = f"{self.where}['serializer_context']"
        make = function_of(where, self.serializer_context)

        def context() -> dict[str, Any]:
            with naming(f"{where}, {self.serializer_context!r}, makes no dict"):
                return dict(make())

        return context

    def forget_serializers(self) -> None:
        """Have serializers be made anew, as settings that they follow have changed."""
        for name in ("serializers", "_stored_form", "serializer_class"):
            vars(self).pop(name, None)

    @cached_property
    def serializers(self) -> KeptSerializers:
        """What represents its instances."""
        return KeptSerializers(self.serializer_class, self.context_function)

    @cached_property
    def _stored_form(self) -> StoredForm:
        return StoredForm(self.model)

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
        found = imported(f"{self.where}['serializer']", self.serializer)
        if not (isinstance(found, type) and issubclass(found, BaseSerializer)):
            raise ConfigurationError(
                f"{self.where}['serializer'], {self.serializer!r}, is no serializer class of Django REST framework."
            )
        return found


def _differences(comparison: Comparison, stored: Model, action: str) -> dict[str, Any] | None:
    """What was there before of the values that an update has changed; None where that is not known."""
    comparison.after |= (after := values_of(stored))
    return differences(comparison.before, after) if action == "updated" and comparison.before else None


def snake_case(name: str) -> str:
    """``name`` with an underscore before each inner capital, in lower case: ModelWithStatus, model_with_status."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
