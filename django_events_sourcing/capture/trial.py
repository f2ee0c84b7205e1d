"""A trial of what an entry's events would hold, without a row, a database or an event."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from django.db import connections, models, router
from django.db.models import Model
from rest_framework.relations import PKOnlyObject
from rest_framework.serializers import BaseSerializer

from django_events_sourcing.capture.default_serializer import DefaultSerializer
from django_events_sourcing.capture.no_queries import DatabaseAskedError
from django_events_sourcing.capture.registration import Registration
from django_events_sourcing.capture.serialization import encode, project_locale, unencodable
from django_events_sourcing.capture.stored import StoredForm, concrete_model
from django_events_sourcing.exceptions import SerializationError

__all__ = ["Trial", "try_out"]

_Result = TypeVar("_Result")

_SECRET = re.compile(r"(^|_)(password|passwd|secret|token|api_?key|private_?key)(_|$)", re.IGNORECASE)

# When it was changed, say, or how often it was given.
_NO_SECRETS = (
    *(models.BooleanField, models.DateField, models.TimeField, models.DurationField),
    *(models.IntegerField, models.FloatField, models.DecimalField),
)

# What is stored as JSON, and is another text where Python writes it.
_FOR_JSON = {"key": None}


class Trial(NamedTuple):
    """What a trial has found.

    Attributes:
        unusable: Why the serializer can't be made, or what it gives is no JSON: fields, None where it is none of them
            by itself, and texts.
        is_for: The model of the serializer's ``Meta``, where that has no rows in common with the entry's.
        python: Fields that give Python's text of a value that is JSON.
        secrets: Fields that a default serializer gives, and that look like secrets.
    """

    unusable: dict[str | None, str]
    is_for: type[Model] | None = None
    python: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()


def try_out(registration: Registration) -> Trial:
    """Make the entry's serializer, and have it represent instances that have defaults, choices and keys for values.

    No database is asked. Of what the project's own code makes of such an instance, only what is no JSON counts: it may
    well raise where a real one has more to it.

    Raises:
        ConfigurationError: The entry's serializer can't be imported.
    """
    return _without_databases(lambda: _try_out(registration))


def _without_databases(function: Callable[[], _Result]) -> _Result:
    """Call it in a thread of its own, whose connections refuse to connect."""

    def refuse() -> None:
        raise DatabaseAskedError

    def call() -> _Result:
        for alias in connections:
            vars(connections[alias])["connect"] = refuse
        with project_locale():
            return function()

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(call).result()


def _try_out(registration: Registration) -> Trial:
    model, serializer_class = registration.model, registration.serializer_class
    try:
        serializer: Any = registration.serializers.new()
        fields: dict[str, Any] = {field.field_name: field for field in getattr(serializer, "_readable_fields", ())}
    except (DatabaseAskedError, SerializationError):  # the latter of the entry's own 'serializer_context'
        return Trial({})
    except Exception as exc:  # noqa: BLE001 - whatever it is, each save would raise it
        return Trial({_unbuildable_field(serializer_class): _text(exc)})
    samples = [(one, make is _made_up) for make in _SAMPLES if (one := _instance(model, make)) is not None]
    unusable: dict[str | None, str] = {}
    for sample, is_made_up in samples:
        for name, field in fields.items():
            if problem := _problem(field, sample, may_raise=is_made_up):
                unusable.setdefault(name, problem)
    is_default = issubclass(serializer_class, DefaultSerializer)
    if samples and not (unusable or is_default):
        unusable = _problems_of_the_whole(serializer, samples[-1][0])
    return Trial(
        unusable,
        _another_model(serializer_class, model),
        tuple(name for name, field in fields.items() if _is_python(field, model)),
        tuple(name for name in fields if is_default and _is_secret(model, name)),
    )


def _text(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}"


def _unbuildable_field(serializer_class: type[BaseSerializer[Any]]) -> str | None:
    """The first field of a default serializer that can't be made by itself."""
    meta: Any = getattr(serializer_class, "Meta", None)
    if not issubclass(serializer_class, DefaultSerializer):
        return None
    for name in (field.name for field in meta.model._meta.get_fields() if field.concrete):
        one_field = type("Meta", (), {"model": meta.model, "fields": [name]})
        try:
            _ = type("OneField", (DefaultSerializer,), {"Meta": one_field})().fields
        except Exception:  # noqa: BLE001 - this only finds which
            return str(name)
    return None


def _instance(model: type[Model], sample: Callable[[Any], Any]) -> Model | None:
    """One with a sample of each field's values, as its row would be; None, if it can't be made of so little."""
    try:
        values = {field.attname: _value(field, sample) for field in model._meta.concrete_fields if not field.generated}
        return StoredForm(model).without_asking(model(**values), router.db_for_write(model))
    except Exception:  # noqa: BLE001 - of the project's own code
        return None


def _value(field: Any, sample: Callable[[Any], Any]) -> Any:
    while field.remote_field:
        field = field.target_field
    try:
        value = sample(field)
    except Exception:  # noqa: BLE001 - of the project's own code, which may ask the database
        value = None
    if hasattr(value, "resolve_expression"):
        value = None
    return 1 if value is None and field.primary_key and "AutoField" in field.get_internal_type() else value


def _default(field: Any) -> Any:
    return field.get_default() if field.has_default() or field.blank else None


def _first_choice(field: Any) -> Any:
    choices = [value for value, _ in field.flatchoices or () if value is not None and value != ""]
    return choices[0] if choices else _default(field)


def _made_up(field: Any) -> Any:
    """For field classes that aren't Django's, of what they derive from."""
    if type(field).__module__.startswith("django.") or field.flatchoices:
        return _first_choice(field)
    return 1 if isinstance(field, models.IntegerField | models.FloatField | models.DecimalField) else "1"


_SAMPLES = (_default, _first_choice, _made_up)


def _problem(field: Any, instance: Model, *, may_raise: bool) -> str | None:
    """Why a field can't be represented, or is no JSON.

    Args:
        field: Of the serializer.
        instance: What is represented.
        may_raise: Whether an error says nothing, as the value may be none that the field would ever have.
    """
    model_field = _column(type(instance), field)
    if model_field is None or isinstance(field, BaseSerializer):
        return None
    if vars(instance).get(model_field.attname) is None and not model_field.null:
        return None
    try:
        value = field.get_attribute(instance)
        is_none = value is None or (isinstance(value, PKOnlyObject) and value.pk is None)
        value = None if is_none else field.to_representation(value)
    except Exception as exc:  # noqa: BLE001 - whatever it is, a save would raise it
        is_drfs = type(field).__module__.partition(".")[0] in {"rest_framework", "django_events_sourcing"}
        is_number = isinstance(model_field, models.FloatField | models.DecimalField)
        is_certain = is_drfs and (is_number or not may_raise) and not isinstance(exc, DatabaseAskedError)
        return _text(exc) if is_certain else None
    return _why_no_json(value)


def _column(model: type[Model], field: Any) -> Any:
    """The model field that a serializer's field shows; None if it shows something else."""
    return next((each for each in model._meta.concrete_fields if each.name == field.source), None)


def _why_no_json(data: object) -> str | None:
    try:
        encode(data)
    except (TypeError, ValueError) as exc:
        return _text(exc)
    return None


def _problems_of_the_whole(serializer: BaseSerializer[Any], instance: Model) -> dict[str | None, str]:
    """What a project's own code makes of an instance."""
    try:
        data = serializer.to_representation(instance)
    except Exception:  # noqa: BLE001 - it may want more than this
        return {}
    problem = _why_no_json(data)
    return {next(unencodable(data), None): problem} if problem else {}


def _another_model(serializer_class: type[BaseSerializer[Any]], model: type[Model]) -> type[Model] | None:
    its_own = getattr(getattr(serializer_class, "Meta", None), "model", None)
    if not (isinstance(its_own, type) and issubclass(its_own, Model)) or its_own._meta.abstract:
        return None
    one, other = concrete_model(its_own), concrete_model(model)
    return None if issubclass(one, other) or issubclass(other, one) else its_own


def _is_python(field: Any, model: type[Model]) -> bool:
    """Whether a field that holds JSON is represented by Python's text for it."""
    found = _column(model, field)
    if found is None or type(found).__module__.startswith("django."):
        return False
    if not (isinstance(_value(found, _default), dict | list) or "json" in type(found).__name__.lower()):
        return False
    try:
        return bool(field.to_representation(_FOR_JSON) == str(_FOR_JSON))
    except Exception:  # noqa: BLE001 - it is no such field
        return False


def _is_secret(model: type[Model], name: str) -> bool:
    field = model._meta.get_field(name)
    if field.is_relation or isinstance(field, _NO_SECRETS):
        return False
    return bool(_SECRET.search(name) or "encrypt" in type(field).__name__.lower())
