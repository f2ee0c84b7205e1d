"""From a model instance to the JSON text that is published."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from inspect import getattr_static
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, models
from django.db.models import Model
from django.db.models.query_utils import DeferredAttribute
from django.utils import timezone, translation
from rest_framework import ISO_8601, fields
from rest_framework.fields import (
    BooleanField,
    CharField,
    ChoiceField,
    DateField,
    DateTimeField,
    DecimalField,
    DurationField,
    Field,
    FloatField,
    IntegerField,
    SkipField,
    TimeField,
    UUIDField,
)
from rest_framework.relations import HyperlinkedRelatedField, PKOnlyObject, PrimaryKeyRelatedField
from rest_framework.serializers import BaseSerializer, ModelSerializer, Serializer
from rest_framework.settings import api_settings
from rest_framework.utils.encoders import JSONEncoder

from django_events_sourcing.exceptions import SerializationError

__all__ = [
    "KeptSerializer",
    "default_serializer",
    "hyperlinked_field",
    "kept_serializer",
    "project_locale",
    "serialize",
]


def default_serializer(model: type[Model]) -> type[ModelSerializer[Any]]:
    """A ModelSerializer with all fields of ``model``."""
    meta = type("Meta", (), {"model": model, "fields": "__all__"})
    return type(f"{model.__name__}Serializer", (ModelSerializer,), {"Meta": meta})


class _Step(NamedTuple):
    """How a field is represented.

    Attributes:
        name: Its name.
        attname: The model's field that it shows, if that may be looked at directly.
        exact: The type of values that ``represents`` is for.
        represents: What a value becomes, whatever language and time zone are in force; None if it stays as it is.
        field: The field.
    """

    name: str
    attname: str | None
    exact: type | None
    represents: Callable[[Any], Any] | None
    field: Any


class _Plan(NamedTuple):
    """How instances of a model are represented.

    Attributes:
        steps: Field by field; none where the serializer is to do it.
        is_quick: Whether that depends on neither language nor time zone, if values are of the types to be expected.
    """

    steps: list[_Step]
    is_quick: bool


class KeptSerializer:
    """A serializer that serves every event, in every thread.

    It gives what ``to_representation`` does, in half the time: what a field takes from the instance as it is, it is not
    asked for.

    Args:
        serializer: Whose own code, and whose fields', is Django REST framework's.
    """

    def __init__(self, serializer: BaseSerializer[Any]) -> None:
        self._serializer = serializer
        self._plans: dict[type, _Plan] = {}

    def represent(self, instance: Model, *, only_quickly: bool = False) -> Any:
        """What the serializer's ``data`` would be for the instance.

        Args:
            instance: The instance.
            only_quickly: Whether to give None where that depends on the language and the time zone in force.
        """
        plan = self._plans.get(type(instance))
        if plan is None:
            plan = self._plans[type(instance)] = self._plan(type(instance))
        if only_quickly and not plan.is_quick:
            return None
        if not plan.steps:
            return self._serializer.to_representation(instance)
        values = instance.__dict__
        found: dict[str, Any] = {}
        for name, attname, exact, represents, field in plan.steps:
            value = values.get(attname, _MISSING) if attname else _MISSING
            if value is None:
                found[name] = None
                continue
            if type(value) is exact:
                found[name] = represents(value) if represents else value
                continue
            if only_quickly and not _is_key(field):
                return None
            try:
                value = field.get_attribute(instance)
            except SkipField:
                continue
            is_none = value is None or (isinstance(value, PKOnlyObject) and value.pk is None)
            found[name] = None if is_none else field.to_representation(value)
        return found

    def _plan(self, model: type[Model]) -> _Plan:
        if type(self._serializer).to_representation is not Serializer.to_representation:  # of a ListSerializer, say
            return _Plan([], is_quick=False)
        readable: Any = self._serializer._readable_fields  # type: ignore[attr-defined]  # noqa: SLF001 - as DRF does
        steps = [_step(model, field) for field in readable]
        return _Plan(steps, is_quick=all(step.exact or _is_key(step.field) for step in steps))


def _step(model: type[Model], field: Any) -> _Step:
    (attname, *others) = field.source_attrs or [None]
    # Not where the class has something to say on what an instance's attribute is.
    is_plain = not others and attname and type(getattr_static(model, attname, None)) is DeferredAttribute
    method = type(field).to_representation
    if not is_plain:
        return _Step(field.field_name, None, None, None, field)
    if method in _AS_IT_IS:
        return _Step(field.field_name, attname, _AS_IT_IS[method], None, field)
    exact, represents = _BY_THE_FIELD.get(method), field.to_representation
    if getattr(field, "localize", False):
        exact = None
    elif method is _BIG_INTEGER and not getattr(field, "coerce_to_string", api_settings.COERCE_BIGINT_TO_STRING):
        represents = None
    elif method is DecimalField.to_representation:
        represents = _decimal(field)
    elif method is DateTimeField.to_representation:
        field = _with_time_zone(field)
        represents = _datetime(field)
    elif method is ChoiceField.to_representation and isinstance(model._meta.get_field(attname), models.IntegerField):
        exact = int
    return _Step(field.field_name, attname, exact, represents, field)


def _decimal(field: Any) -> Callable[[Decimal], Any]:
    """As the field's, which rounds also what is rounded already."""
    places, digits = field.decimal_places, field.max_digits
    as_text = getattr(field, "coerce_to_string", api_settings.COERCE_DECIMAL_TO_STRING)
    if places is None or digits is None or field.normalize_output or not as_text:
        return field.to_representation  # type: ignore[no-any-return]
    rounded, whole = Decimal(1).scaleb(-places), digits - places

    def represents(value: Decimal) -> Any:
        if value.same_quantum(rounded) and value.adjusted() < whole:
            return f"{value:f}"
        return field.to_representation(value)

    return represents


def _with_time_zone(field: Any) -> Any:
    """The field, or one that is in the project's time zone whatever is in force."""
    if hasattr(field, "timezone"):
        return field
    fixed = copy.copy(field)
    fixed.timezone = timezone.get_default_timezone() if settings.USE_TZ else None
    return fixed


def _datetime(field: Any) -> Callable[[datetime], Any]:
    """As the field's, which looks at its format each time."""
    if getattr(field, "format", api_settings.DATETIME_FORMAT) != ISO_8601:
        return field.to_representation  # type: ignore[no-any-return]

    def represents(value: datetime) -> str:
        text = field.enforce_timezone(value).isoformat()
        return f"{text[:-6]}Z" if text.endswith("+00:00") else text

    return represents


def _is_key(field: Any) -> bool:
    return type(field).to_representation is PrimaryKeyRelatedField.to_representation and field.pk_field is None


_MISSING = object()

# Of which methods the outcome depends on nothing but the value, where that is of the type.
_AS_IT_IS: dict[Any, type] = {
    CharField.to_representation: str,
    IntegerField.to_representation: int,
    FloatField.to_representation: float,
    BooleanField.to_representation: bool,
}
_BIG_INTEGER = getattr(fields, "BigIntegerField", IntegerField).to_representation  # since DRF 3.17
_BY_THE_FIELD: dict[Any, type] = {
    _BIG_INTEGER: int,
    DecimalField.to_representation: Decimal,
    UUIDField.to_representation: UUID,
    DateTimeField.to_representation: datetime,
    DateField.to_representation: date,
    TimeField.to_representation: time,
    DurationField.to_representation: timedelta,
    ChoiceField.to_representation: str,
}


def kept_serializer(serializer_class: type[BaseSerializer[Any]]) -> KeptSerializer | None:
    """One of the class that may serve every event; None where each needs its own.

    Making one costs more than all the rest of an event. It may be kept where neither the serializer nor its fields have
    code of the project's, which could look at more than the instance that is represented, or remember something.
    """
    try:
        serializer = serializer_class()
        plain = all(_has_no_code(type(field)) for _, field in _walk(serializer))
    except Exception:  # noqa: BLE001 - the event tells, with all that is known of it
        return None
    return KeptSerializer(serializer) if plain else None


def _has_no_code(field_class: type) -> bool:
    """Whether no class of the project's adds more to it than declarations."""
    return not any(
        name not in _DECLARATIONS and (callable(value) or not name.startswith("__"))
        for cls in field_class.__mro__
        if cls.__module__.partition(".")[0] not in {"rest_framework", "builtins", "typing"}
        for name, value in vars(cls).items()
    )


def _walk(field: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """A serializer or field and all that is within it, with their paths, such as ``"lines.product"``."""
    yield path, field
    for inner in (getattr(field, "child", None), getattr(field, "child_relation", None)):
        if isinstance(inner, Field):
            yield from _walk(inner, path)
    if isinstance(field, BaseSerializer):
        for name, inner in getattr(field, "fields", {}).items():
            yield from _walk(inner, f"{path}.{name}" if path else name)


# What a serializer's class may hold that is no code.
_DECLARATIONS = {"Meta", "_declared_fields"}


def serialize(instance: Model, serializer_class: type[BaseSerializer[Any]], kept: KeptSerializer | None = None) -> str:
    """The JSON text of ``instance``, in the form that nameko's own dispatcher would publish.

    Args:
        instance: What is told.
        serializer_class: The serializer.
        kept: What ``kept_serializer`` gives for it.

    Raises:
        SerializationError: The serializer raised, or its output is no JSON; the message names model, serializer
            and field; or a deferred field can't be read.
        django.db.DatabaseError: A query of the serializer failed; passed on as it is, so that code that retries
            after a deadlock still sees one.
    """
    try:
        if kept and (quick := kept.represent(instance, only_quickly=True)) is not None:
            return _text(instance, serializer_class, quick)
        with project_locale():
            data = kept.represent(instance) if kept else serializer_class(instance).data
            return _text(instance, serializer_class, data)
    except (DatabaseError, SerializationError):
        raise
    except Exception as exc:
        raise _error(instance, serializer_class, _raising_field(instance, serializer_class), exc) from exc


def _text(instance: Model, serializer_class: type[BaseSerializer[Any]], data: object) -> str:
    try:
        return _encode(data)
    except (TypeError, ValueError) as exc:
        raise _error(instance, serializer_class, next(_unencodable(data), None), exc) from exc


def project_locale() -> AbstractContextManager[Any]:
    """Within it the project's own time zone and language are in force: a body doesn't depend on who saved.

    To look for that costs more than most values, which depend on neither.
    """
    is_projects_own = timezone.get_current_timezone() is timezone.get_default_timezone()
    if is_projects_own and translation.get_language() == settings.LANGUAGE_CODE:
        return _NOTHING_SWITCHED
    return _switched_locale()


_NOTHING_SWITCHED: AbstractContextManager[Any] = nullcontext()


@contextmanager
def _switched_locale() -> Iterator[None]:
    with timezone.override(None), translation.override(settings.LANGUAGE_CODE):
        yield


def hyperlinked_field(serializer_class: type[BaseSerializer[Any]]) -> str | None:
    """Path of the first field that needs a request to be represented, such as ``"url"`` or ``"lines.product"``."""
    try:
        paths = [path for path, field in _walk(serializer_class()) if isinstance(field, HyperlinkedRelatedField)]
    except Exception:  # noqa: BLE001 - one that can't be made now (fields from the database, say) tells nothing
        return None
    return paths[0] if paths else None


# Separators and escapes as kombu's, so that the bytes are those of nameko's dispatcher; types as in DRF's answers.
_ENCODER = JSONEncoder(allow_nan=False)


def _encode(data: object) -> str:
    return _ENCODER.encode(data)


def _error(
    instance: Model, serializer_class: type[BaseSerializer[Any]], field: str | None, cause: Exception
) -> SerializationError:
    return SerializationError(
        f"{instance._meta.label} {instance.pk} can't be serialized for its event by "
        f"{serializer_class.__module__}.{serializer_class.__qualname__}"
        + (f", field {field!r}" if field else "")
        + f": {type(cause).__name__}: {cause}"
    )


def _raising_field(instance: Model, serializer_class: type[BaseSerializer[Any]]) -> str | None:
    """The first field that can't be read or represented; None where the serializer itself is at fault."""
    name = None
    try:
        for field in getattr(serializer_class(), "_readable_fields", ()):
            name = str(field.field_name)
            value = field.get_attribute(instance)
            if value is not None:
                field.to_representation(value)
    except Exception:  # noqa: BLE001 - whatever it is, it is reported already; this only finds where
        return name
    return None


def _unencodable(data: object, path: str = "") -> Iterator[str]:
    """The paths of the values in ``data`` that are no JSON, such as ``"lines.0.price"``."""
    children: Iterator[tuple[object, object]] = iter(())
    if isinstance(data, Mapping):
        children = iter(data.items())
    elif isinstance(data, list | tuple):
        children = iter(enumerate(data))
    found = False
    for key, value in children:
        for culprit in _unencodable(value, f"{path}.{key}" if path else str(key)):
            found = True
            yield culprit
    if not found:
        try:
            _encode(data)
        except (TypeError, ValueError):
            yield path
