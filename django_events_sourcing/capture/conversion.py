"""From the value on an instance to the value that the database gives back for it, field by field.

``DateField(default=timezone.now)`` leaves a datetime on the instance, ``Line(order_id="4")`` a string, and the database
takes both. Django's own fields are known here; a field class that converts by itself is asked itself.
"""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connections, models
from django.utils import timezone

from django_events_sourcing.types import Alias

__all__ = ["Conversion", "conversion_for", "is_overridden"]

_Convert = Callable[[Any, Alias], Any]

# So many decimal digits are in a float as they are.
_DIGITS_OF_A_FLOAT = 15


class Conversion(NamedTuple):
    """How a field's values are to be seen.

    Attributes:
        exact: Type of values that are right as they are, None where the type alone doesn't say.
        convert: What makes another value right, given the alias of the database it was written to; it returns the value
            itself where that is right already. What it raises means that only the database knows.
        converts_none: Whether a None is to be converted, too; else it is NULL.
    """

    exact: type | None = None
    convert: _Convert | None = None
    converts_none: bool = False


def conversion_for(field: Any) -> Conversion:
    """How values of ``field``, a concrete model field, are to be seen; empty where they are left alone."""
    while field.remote_field:
        field = field.target_field
    convert: _Convert | None = None
    if is_overridden(field, "get_db_prep_value", "get_db_prep_save"):
        pass  # what a driver is given is not what comes back
    elif is_overridden(field, "to_python", "get_prep_value"):
        return Conversion(convert=_by_the_field_itself(field), converts_none=True)
    elif is_overridden(field, "from_db_value"):
        pass
    elif hasattr(field, "range_type"):
        convert = _range(field)
    elif field.get_internal_type() == "ArrayField":
        convert = _array(field)
    elif isinstance(field, models.JSONField):
        convert = _json(field) if field.encoder else None
    else:
        return _known_conversion(field)
    return Conversion(convert=convert)


def _known_conversion(field: Any) -> Conversion:
    return next((make(field) for kind, make in _KINDS.items() if isinstance(field, kind)), Conversion())


def is_overridden(field: Any, *methods: str) -> bool:
    """Whether a class that is not Django's defines any of the methods."""
    for method in methods:
        owner = next((cls for cls in type(field).__mro__ if method in vars(cls)), None)
        if owner is not None and owner.__module__.partition(".")[0] != "django":
            return True
    return False


def _by_the_field_itself(field: Any) -> _Convert:
    comes_back = field.from_db_value if is_overridden(field, "from_db_value") else None

    def convert(value: Any, using: Alias) -> Any:
        try:
            value = field.get_prep_value(value)
            return comes_back(value, None, connections[using]) if comes_back else value
        except Exception:  # noqa: BLE001 - a class of the project's that has taken the value nonetheless
            return value

    return convert


def _to_python(exact: type) -> Callable[[Any], Conversion]:
    return lambda field: Conversion(exact, lambda value, _: field.to_python(value))


def _text(field: Any) -> Conversion:
    """A member of an enumeration that is a str is stored by its value, whatever its ``str()`` says."""
    return Conversion(str, lambda value, _: str.__str__(value) if isinstance(value, str) else field.to_python(value))


def _ip_address(field: Any) -> Conversion:
    def convert(value: Any, _using: str) -> Any:
        converted = field.to_python(value)
        return value if converted == value else converted

    return Conversion(convert=convert)


def _datetime(field: Any) -> Conversion:
    def convert(value: Any, _using: str) -> datetime:
        moment: datetime = value if isinstance(value, datetime) else field.to_python(value)
        if not settings.USE_TZ:
            return timezone.make_naive(moment, timezone.get_default_timezone()) if moment.tzinfo else moment
        if moment.tzinfo is None:
            moment = timezone.make_aware(moment, timezone.get_default_timezone())
        return moment.astimezone(UTC)  # itself, where it is in UTC

    return Conversion(convert=convert)


def _decimal(field: Any) -> Conversion:
    """Rounded as the database rounds: it has a number of places, too."""
    places, digits = field.decimal_places, field.max_digits  # both None, where a field sets no bounds (Django 6.1)
    unit = Decimal(1).scaleb(-(places or 0))
    column = field.get_col(field.model._meta.db_table) if hasattr(field, "model") else field

    def convert(value: Any, using: Alias) -> Decimal:
        number: Decimal = value if type(value) is Decimal else field.to_python(value)
        if not number.is_finite():
            return number
        _, its_digits, exponent = number.as_tuple()
        added = 0 if places is None else places + exponent
        if places is not None and added >= 0 and len(its_digits) + added <= _DIGITS_OF_A_FLOAT:
            return number.quantize(unit) if added else number
        connection = connections[using]
        given = Decimal(connection.ops.adapt_decimalfield_value(number, digits, places))  # type: ignore[arg-type]
        if converters := connection.ops.get_db_converters(column):
            kept: Any = _number_in_sqlite(str(given))
            for comes_back in converters:
                kept = comes_back(kept, column, connection)
            return Decimal(kept)
        return given.quantize(unit, ROUND_HALF_UP, Context(prec=digits)) if added else number

    return Conversion(convert=convert)


def _number_in_sqlite(text: str) -> int | float:
    """See "type affinity" in SQLite's documentation."""
    if text.removeprefix("-").isdigit() and abs(int(text)) < 2**63:
        return int(text)
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 2**63 else number


def _json(field: Any) -> _Convert:
    return lambda value, _: json.loads(json.dumps(value, cls=field.encoder), cls=field.decoder)


def _array(field: Any) -> _Convert:
    one = _whole(conversion_for(field.base_field))

    def convert(value: Any, using: Alias) -> list[Any]:
        if not isinstance(value, list | tuple):
            raise TypeError(value)
        return [one(item, using) for item in value]

    return convert


def _range(field: Any) -> _Convert:
    """In the one form that PostgreSQL gives back: whole numbers and days as ``[lower, upper)``."""
    one = _whole(conversion_for(field.base_field))
    step: Any = {"IntegerField": 1, "BigIntegerField": 1, "DateField": timedelta(1)}.get(
        field.base_field.get_internal_type()
    )

    def convert(value: Any, using: Alias) -> Any:
        value = field.get_prep_value(value)
        if value.isempty:
            return value
        lower, upper = one(value.lower, using), one(value.upper, using)
        lower_inc, upper_inc = value.lower_inc and lower is not None, value.upper_inc and upper is not None
        if step and lower is not None and not lower_inc:
            lower, lower_inc = lower + step, True
        if step and upper_inc:
            upper, upper_inc = upper + step, False
        if (
            lower is not None
            and upper is not None
            and (lower > upper or (lower == upper and not (lower_inc and upper_inc)))
        ):
            return field.range_type(empty=True)
        return field.range_type(lower, upper, ("[" if lower_inc else "(") + ("]" if upper_inc else ")"))

    return convert


def _whole(conversion: Conversion) -> _Convert:
    """``conversion`` as one function, for what is inside a container."""
    exact, convert, converts_none = conversion

    def one(value: Any, using: Alias) -> Any:
        if convert is None or type(value) is exact or (value is None and not converts_none):
            return value
        return convert(value, using)

    return one


# Derived classes before their bases.
_KINDS: dict[type, Callable[[Any], Conversion]] = {
    models.BooleanField: _to_python(bool),
    models.IntegerField: _to_python(int),
    models.FloatField: _to_python(float),
    models.DecimalField: _decimal,
    models.DateTimeField: _datetime,
    models.DateField: _to_python(date),
    models.TimeField: _to_python(time),
    models.DurationField: _to_python(timedelta),
    models.UUIDField: _to_python(UUID),
    models.GenericIPAddressField: _ip_address,
    models.CharField: _text,
    models.TextField: _text,
    models.FilePathField: _text,
}
