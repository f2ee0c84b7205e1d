"""From a model instance to the JSON text that is published."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from django.conf import settings
from django.db import DatabaseError
from django.db.models import Model
from django.utils import timezone, translation
from rest_framework.relations import HyperlinkedRelatedField
from rest_framework.serializers import BaseSerializer
from rest_framework.utils.encoders import JSONEncoder

from django_events_sourcing.capture.kept_serializers import KeptSerializers, walk
from django_events_sourcing.exceptions import EventsSourcingError, SerializationError

__all__ = ["as_text", "encode", "hyperlinked_field", "project_locale", "represent", "unencodable"]


def represent(instance: Model, serializers: KeptSerializers) -> Any:
    """What is to become the JSON text of ``instance``, within ``project_locale``.

    Args:
        instance: What is serialized.
        serializers: Of the serializer's class.

    Raises:
        SerializationError: The serializer raised; the message names model, serializer and field; or a deferred field
            can't be read.
        django.db.DatabaseError: A query of the serializer failed; passed on as it is, so that code that retries
            after a deadlock still sees one.
    """
    try:
        return serializers.represent(instance)
    except (DatabaseError, EventsSourcingError):
        raise
    except Exception as exc:
        field = _raising_field(instance, serializers)
        raise _error(instance, serializers.serializer_class, field, exc) from exc


def as_text(instance: Model, serializers: KeptSerializers, data: object) -> str:
    """The JSON text of what ``represent`` gave, in the form that nameko's own dispatcher would publish.

    Raises:
        SerializationError: It is no JSON; the message names model, serializer and field.
    """
    try:
        return encode(data)
    except (TypeError, ValueError) as exc:
        raise _error(instance, serializers.serializer_class, next(unencodable(data), None), exc) from exc


def project_locale() -> AbstractContextManager[Any]:
    """Within it the project's own time zone and language are in force: a body doesn't depend on who saved."""
    is_projects_own = timezone.get_current_timezone() is timezone.get_default_timezone()
    if is_projects_own and translation.get_language() == settings.LANGUAGE_CODE:
        return _NOTHING_SWITCHED
    return _switched_locale()


_NOTHING_SWITCHED: AbstractContextManager[Any] = nullcontext()


@contextmanager
def _switched_locale() -> Iterator[None]:
    with timezone.override(None), translation.override(settings.LANGUAGE_CODE):
        yield


def hyperlinked_field(make: Callable[[], BaseSerializer[Any]]) -> str | None:
    """Path of the first field that needs a request to be represented, such as ``"url"`` or ``"lines.product"``.

    Args:
        make: What makes the serializer.

    Returns:
        None if there is none, or the serializer has a request, be it None.
    """
    try:
        serializer = make()
        if "request" in serializer.context:
            return None
        paths = [path for path, field in walk(serializer) if isinstance(field, HyperlinkedRelatedField)]
    except Exception:  # noqa: BLE001 - one that can't be made now (fields from the database, say) shows nothing
        return None
    return paths[0] if paths else None


# Separators and escapes as kombu's, so that the bytes are those of nameko's dispatcher; types as in DRF's answers.
_ENCODER = JSONEncoder(allow_nan=False)


def encode(data: object) -> str:
    """The JSON text of what a serializer gives.

    Raises:
        TypeError, ValueError: It is no JSON.
    """
    return _ENCODER.encode(data)


def _error(
    instance: Model, serializer_class: type[BaseSerializer[Any]], field: str | None, cause: Exception
) -> SerializationError:
    return SerializationError(
        f"{instance._meta.label} {instance.pk} cannot be serialized for its event by "
        f"{serializer_class.__module__}.{serializer_class.__qualname__}"
        + (f", field {field!r}" if field else "")
        + f": {type(cause).__name__}: {cause}"
    )


def _raising_field(instance: Model, serializers: KeptSerializers) -> str | None:
    """The first field that can't be read or represented; None where the serializer itself is at fault."""
    name = None
    try:
        for field in getattr(serializers.new(), "_readable_fields", ()):
            name = str(field.field_name)
            value = field.get_attribute(instance)
            if value is not None:
                field.to_representation(value)
    except Exception:  # noqa: BLE001 - whatever it is, it is reported already; this only finds where
        return name
    return None


def unencodable(data: object, path: str = "") -> Iterator[str]:
    """The paths of the values in ``data`` that are no JSON, such as ``"lines.0.price"``."""
    children: Iterator[tuple[object, object]] = iter(())
    if isinstance(data, Mapping):
        children = iter(data.items())
    elif isinstance(data, list | tuple):
        children = iter(enumerate(data))
    found = False
    for key, value in children:
        for culprit in unencodable(value, f"{path}.{key}" if path else str(key)):
            found = True
            yield culprit
    if not found:
        try:
            encode(data)
        except (TypeError, ValueError):
            yield path
