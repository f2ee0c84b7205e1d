"""From what ``emit`` is given to an event, in order with those of its object's changes."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.models import Model
from rest_framework.settings import api_settings
from rest_framework.utils.encoders import JSONEncoder

from django_events_sourcing.capture.conversion import conversion_for
from django_events_sourcing.capture.keys import object_key, tenants_key
from django_events_sourcing.capture.registration import MAX_NAME_BYTES, Registration
from django_events_sourcing.capture.registry import registry
from django_events_sourcing.capture.serialization import project_locale, unencodable
from django_events_sourcing.capture.stored import concrete_model, row_tables
from django_events_sourcing.capture.switches import is_silenced
from django_events_sourcing.capture.tenants import current_tenant
from django_events_sourcing.conf import get_settings
from django_events_sourcing.context import checked_headers, context_headers, merged_headers
from django_events_sourcing.delivery.deliver import deliver
from django_events_sourcing.delivery.migrating import lacks_tables
from django_events_sourcing.delivery.transactions import own_transaction
from django_events_sourcing.events import Event
from django_events_sourcing.exceptions import ConfigurationError, InvalidEvent
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.tables import raises_missing_tables
from django_events_sourcing.tracing import trace_context
from django_events_sourcing.types import Alias

__all__ = ["emit"]


class _Encoder(JSONEncoder):
    """That of bodies, with decimals as the project's serializers have them."""

    def default(self, obj: Any) -> Any:
        if isinstance(obj, Decimal) and api_settings.COERCE_DECIMAL_TO_STRING:
            return str(obj)
        return super().default(obj)


_ENCODER = _Encoder(allow_nan=False)

# Longer than any that a person gives, and short enough to be shown.
_MAX_KEY = 255

# Of a value in a message, in characters.
_MOST_SHOWN = 80


def emit(  # noqa: PLR0913
    name: str,
    payload: Any,
    *,
    instance: Model | None,
    key: str | None,
    service: str | None,
    headers: Mapping[str, Any] | None,
    using: Alias | None,
) -> Event:
    """As ``django_events_sourcing.emit``, once the apps are loaded."""
    where = f"emit({name[:80]!r})" if isinstance(name, str) else "emit()"
    _check_name(where, "name", name, MAX_NAME_BYTES)
    subject = _subject(where, instance, key)
    using = subject.database if using is None else connections[using].alias
    subject = subject.as_stored(where, using)
    text, of_tenant = subject.key_in(using)
    event = Event(
        name=name,
        service=_service(where, service, subject.registration),
        object=text,
        body=_body(where, payload),
        headers=merged_headers(
            where, context_headers(), checked_headers(where, headers or {}), trace_context(), of_tenant
        ),
    )
    # a test with available_apps may take the library away, as it does for the events of changes
    if apps.is_installed("django_events_sourcing") and not (subject.is_silenced or lacks_tables(using)):
        with own_transaction(using):
            if get_settings().delivery == "outbox":
                subject.hold(text, using)
            deliver([event], using)
    return event


@dataclass(frozen=True)
class _Subject:
    """What an event is about: a row, or what has none and goes by a key alone.

    Attributes:
        model: The row's; None where there is none.
        pk: The values of its primary key, one for most.
        registration: By which changes of the row are recorded, if they are.
        instance: What stands for the row, if that was given.
        key: In place of a row.
    """

    model: type[Model] | None = None
    pk: tuple[Any, ...] = ()
    registration: Registration | None = None
    instance: Model | None = None
    key: str = ""

    @property
    def database(self) -> Alias:
        """Alias of the one that a save would go to."""
        if self.model is None:
            return DEFAULT_DB_ALIAS
        return router.db_for_write(self.model, **({} if self.instance is None else {"instance": self.instance}))

    @property
    def is_silenced(self) -> bool:
        """Whether a switch keeps its events from being sent."""
        return is_silenced(self.registration.model if self.registration else self.model, self.instance)

    def as_stored(self, where: str, using: Alias) -> "_Subject":
        """Itself, with the primary key as the database gives it back.

        Raises:
            InvalidEvent: It can't be one.
        """
        if self.model is None:
            return self
        fields = self.model._meta.pk_fields
        try:
            stored = tuple(_stored(field, value, using) for field, value in zip(fields, self.pk, strict=True))
        except Exception as exc:
            shown = ",".join(map(_shown, self.pk))
            raise InvalidEvent(
                f"{where}: {shown} is no primary key of {self.model._meta.label}. {type(exc).__name__}: {exc}"
            ) from exc
        return replace(self, pk=stored)

    def key_in(self, using: Alias) -> tuple[str, dict[str, str]]:
        """Its key in a database, and the headers that belong to that."""
        if self.model is None:
            return tenants_key(self.key, current_tenant(using))
        return object_key(self.model, self.pk, using)

    def hold(self, key: str, using: Alias) -> None:
        """Keep others from writing events of it until the transaction ends."""
        is_held = False
        if self.model and self.registration:
            is_held = [_hold_row(model, self.pk, using) for model in row_tables(self.model)][-1]
        if not is_held:
            with raises_missing_tables(using):
                queries.lock_object(using, key)


def _subject(where: str, instance: Model | None, key: str | None) -> _Subject:
    if (instance is None) == (key is None):
        raise InvalidEvent(f"{where}: pass either instance= or key=, which says what object the event is about.")
    return _of_key(where, key) if instance is None else _of_instance(where, instance)


def _of_instance(where: str, instance: Model) -> _Subject:
    if not isinstance(instance, Model):
        raise InvalidEvent(f"{where}: instance is {_shown(instance)}, which is no instance of a model. Or pass key=.")
    registration = next(iter(registry.saved.get(type(instance), ())), None)
    model = concrete_model(registration.model if registration else type(instance))
    pk = getattr(instance, model._meta.pk.attname)
    pk = pk if isinstance(pk, tuple) else (pk,)
    if instance._state.adding or None in pk:
        raise InvalidEvent(
            f"{where}: instance is a {instance._meta.label} that is not saved, or was deleted. Save it first, or pass "
            "key=."
        )
    return _Subject(model, pk, registration, instance)


def _of_key(where: str, key: object) -> _Subject:
    if not (isinstance(key, str) and key.strip() and key.isprintable() and len(key) <= _MAX_KEY):
        raise InvalidEvent(
            f"{where}: key is {_shown(key)}, no text of 1 to {_MAX_KEY} characters without control characters. Write "
            "it as 'shop.cart:17'."
        )
    label, _, text = key.partition(":")
    try:
        model = concrete_model(apps.get_model(label))
    except (LookupError, ValueError):
        return _Subject(key=key)
    registration = next((each for each in registry.registrations if concrete_model(each.model) is model), None)
    return _Subject(model, tuple(text.split(",")) if len(model._meta.pk_fields) > 1 else (text,), registration)


def _stored(field: Any, value: Any, using: Alias) -> Any:
    conversion = conversion_for(field)
    if conversion.convert is None or type(value) is conversion.exact:
        return value
    return conversion.convert(value, using)


def _hold_row(model: type[Model], pk: tuple[Any, ...], using: Alias) -> bool:
    key = {
        str(field.column): field.get_db_prep_value(value, connections[using])
        for field, value in zip(model._meta.pk_fields, pk, strict=True)
    }
    return queries.lock_row(using, model._meta.db_table, key)


def _service(where: str, service: object, registration: Registration | None) -> str:
    if service is None:
        if registration:
            return registration.service
        service = get_settings().service_name
        if not service:
            raise ConfigurationError(f"{where}: SERVICE_NAME is not set. Set it, or pass service=.")
    return _check_name(where, "service", service, MAX_NAME_BYTES - len(".events"))


def _check_name(where: str, argument: str, name: object, most: int) -> str:
    if isinstance(name, str) and name.strip() and name.isprintable() and len(name.encode()) <= most:
        return name
    raise InvalidEvent(
        f"{where}: {argument} is {_shown(name)}, which AMQP or the outbox cannot take. It must be a text of 1 to "
        f"{most} bytes, without control characters."
    )


def _body(where: str, payload: object) -> str:
    try:
        with project_locale():
            return _ENCODER.encode(payload)
    except (TypeError, ValueError, RecursionError) as exc:
        culprit = ""
        with suppress(RecursionError):
            culprit = next(unencodable(payload), "")
        raise InvalidEvent(
            f"{where}: payload{f', at {culprit!r},' if culprit else ''} is no JSON. {type(exc).__name__}: {exc}"
        ) from exc


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
