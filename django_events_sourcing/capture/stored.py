"""An instance as its row is: what the database was given, whatever stands on the instance."""

import copy
import functools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from inspect import getattr_static
from typing import Any

from django.db import connections
from django.db.models import Model, QuerySet
from django.utils.functional import cached_property

from django_events_sourcing.capture.conversion import conversion_for
from django_events_sourcing.exceptions import SerializationError
from django_events_sourcing.types import Alias

try:
    from django.db.models import fetch_modes
except ImportError:  # before Django 6.1
    _FETCH_ONE: Any = None
else:
    _FETCH_ONE = fetch_modes.FETCH_ONE

__all__ = ["RowGoneError", "StoredForm", "concrete_model", "has_row", "row_tables"]

_DEFERRED = object()

# Of an instance: related objects that its managers need not ask for.
_PREFETCHED = "_prefetched_objects_cache"


def concrete_model(model: type[Model]) -> type[Model]:
    """The model itself, or that behind a proxy: whose rows they are."""
    return model._meta.concrete_model or model


def row_tables(model: type[Model]) -> Iterator[type[Model]]:
    """The models whose tables have a part of a row, by the same primary key, in the order in which a save writes."""
    for parent, link in model._meta.parents.items():
        if link is not None and link.primary_key:
            yield from row_tables(concrete_model(parent))
    yield concrete_model(model)


def has_row(instance: Model, using: Alias) -> bool:
    """Whether the database has the row of an instance, one that no transaction has deleted and committed."""
    return QuerySet(concrete_model(type(instance)), using=using).filter(pk=instance.pk).exists()


class RowGoneError(SerializationError):
    """A value had to be read from the database, and the row is not there (any more)."""


class StoredForm:
    """How instances of one model are seen as their rows. Only the model's own concrete fields are looked at.

    Args:
        model: The model whose row it is.
    """

    def __init__(self, model: type[Model]) -> None:
        self._model = model
        fields = model._meta.concrete_fields
        conversions = [(field.attname, conversion_for(field)) for field in fields if not field.generated]
        self._columns = [(attname, each.exact, each.convert) for attname, each in conversions]
        self._of_none = [
            (attname, each.convert) for attname, each in conversions if each.convert and each.converts_none
        ]
        self._keys = {field.attname for field in fields if field.is_relation}
        self._generated = [field.attname for field in fields if field.generated]
        self._no_links = _no_links(model)

    def of(self, instance: Model, using: Alias, *, action: str) -> Model:
        """``instance`` where it holds what its row does, else another that does.

        The database is asked for what only it knows: the value of an expression such as ``F("stock") - 1``, of a
        generated field after an update, of what can't be converted; and for a deferred field when it is first read. It
        is not asked what the many-to-many fields of a row hold that was created just now.

        Args:
            instance: An instance of the model, of a proxy, or of a model derived from it. It stays as it is.
            using: Alias of the database that holds its row.
            action: ``"created"``, ``"updated"`` or ``"deleted"``.

        Raises:
            RowGoneError: The database was to be asked, and has no such row; also on reading a deferred field later.
        """
        stored, unknown, deferred = self._form(instance, using, action)
        if deferred:
            # where Django gets a deferred field from; by its own way a filtered base manager would hide the row
            vars(stored)["refresh_from_db"] = partial(_load_deferred, stored, using)
        if unknown:
            _load(stored, unknown, using)
        return stored

    def of_many(self, instances: Sequence[Model], using: Alias, *, action: str) -> list[Model]:
        """As ``of``, of instances that were written together; the database is asked once for all of them."""
        forms = [self._form(each, using, action) for each in instances]
        missing: dict[Any, Model] = {}
        names: set[str] = set()
        for stored, unknown, deferred in forms:
            if unknown or deferred:
                missing[stored.pk] = stored
                names |= {*unknown, *stored.get_deferred_fields()}
        if missing:
            _load_many(missing, names, using)
        return [stored for stored, _, _ in forms]

    def _form(self, instance: Model, using: Alias, action: str) -> tuple[Model, list[str], bool]:
        """What ``of`` gives, the fields that it still lacks, and whether any is deferred."""
        changes, unknown, deferred = self._differences(instance, using)
        if self._generated and not _generated_are_fresh(connections[using].features, action):
            unknown += self._generated
        as_it_is = type(instance) is self._model and vars(instance._state).get("fetch_mode", _FETCH_ONE) is _FETCH_ONE
        no_links = self._no_links if action == "created" and self._is_its_table(instance) else {}
        if as_it_is and not (changes or unknown or deferred or no_links):
            return instance, unknown, deferred
        stored = self._twin(instance, changes)
        if no_links:
            vars(stored)[_PREFETCHED] = vars(instance).get(_PREFETCHED, {}) | no_links
        return stored, unknown, deferred

    def without_asking(self, instance: Model, using: Alias) -> Model:
        """As ``of``, for a row that is new, but that what only the database knows is left as it is."""
        changes, _, _ = self._differences(instance, using)
        stored = self._twin(instance, changes)
        vars(stored)[_PREFETCHED] = dict(self._no_links)
        return stored

    def earlier(self, stored: Model, values: dict[str, Any]) -> Model:
        """What ``of`` gave, with values that it had before; related objects that these led to are not known."""
        twin = self._twin(stored, values)
        for field in self._model._meta.concrete_fields:
            if field.is_relation and field.attname in values:
                twin._state.fields_cache.pop(field.name, None)
        for name in list(vars(twin)):
            if isinstance(getattr_static(self._model, name, None), functools.cached_property | cached_property):
                del vars(twin)[name]
        return twin

    def _differences(self, instance: Model, using: Alias) -> tuple[dict[str, Any], list[str], bool]:
        """Values that are others in the row, the fields that only the database knows, and whether any is deferred."""
        values = instance.__dict__
        changes = self._for_none(instance, using) if self._of_none else {}
        unknown: list[str] = []
        deferred = bool(self._generated) and any(attname not in values for attname in self._generated)
        for attname, exact, convert in self._columns:
            value = values.get(attname, _DEFERRED)
            if value is None or type(value) is exact:
                continue
            if value is _DEFERRED:
                deferred = True
            elif hasattr(value, "resolve_expression"):
                unknown.append(attname)
            elif convert is not None:
                try:
                    converted = convert(value, using)
                except Exception:  # noqa: BLE001 - the database has taken it, so that it knows
                    unknown.append(attname)
                else:
                    if converted is not value:
                        changes[attname] = converted
        return changes, unknown, deferred

    def _for_none(self, instance: Model, using: Alias) -> dict[str, Any]:
        """What the row has where None stands on the instance, and a field class makes something else of it."""
        values = instance.__dict__
        nones = [
            (attname, convert(None, using)) for attname, convert in self._of_none if values.get(attname, 0) is None
        ]
        return {attname: value for attname, value in nones if value is not None}

    def _is_its_table(self, instance: Model) -> bool:
        return concrete_model(type(instance)) is concrete_model(self._model)

    def _twin(self, instance: Model, changes: dict[str, Any]) -> Model:
        """A shallow copy that is of the model itself, with the changes."""
        attributes = dict(instance.__dict__)
        if not self._is_its_table(instance):
            ours = {field.attname for field in self._model._meta.concrete_fields}
            for field in instance._meta.concrete_fields:
                if field.attname not in ours:
                    attributes.pop(field.attname, None)
        twin = self._model.__new__(self._model)
        twin.__dict__.update(attributes)
        twin._state = copy.copy(instance._state)
        twin._state.fields_cache = dict(instance._state.fields_cache)
        vars(twin._state).pop("fetch_mode", None)  # a project may forbid itself to fetch, but not the serializer
        for attname, value in changes.items():
            if attname in self._keys:
                twin.__dict__[attname] = value  # setting it would drop the related object, which is the right one
            else:
                setattr(twin, attname, value)  # by the descriptor of a field class that has one
        return twin


def _no_links(model: type[Model]) -> dict[str, QuerySet[Any]]:
    """What the many-to-many fields of the model's own table hold for a row that is new there."""
    found: dict[str, QuerySet[Any]] = {}
    fields: Any = concrete_model(model)._meta.local_many_to_many
    for field in fields:
        with suppress(Exception):  # a manager that wants more than that, a tenant say, is asked for each event
            found[field.name] = field.related_model._default_manager.none()
    return found


def _generated_are_fresh(features: Any, action: str) -> bool:
    """Whether Django has them from the statement that wrote the row, or left them deferred where it can't."""
    if action == "updated":
        return bool(getattr(features, "can_return_rows_from_update", False))  # Django 6.0
    return action == "created"


def _load_deferred(instance: Model, using: Alias, *_args: Any, **_kwargs: Any) -> None:
    """All of them by one query; called as ``refresh_from_db(fields=[…])``."""
    _load(instance, instance.get_deferred_fields(), using)


def _load(instance: Model, attnames: Iterable[str], using: Alias) -> None:
    rows: Any = QuerySet(type(instance), using=using).filter(pk=instance.pk).order_by().values(*attnames)
    _fill_in(instance, next(iter(rows), None), using)


def _load_many(instances: dict[Any, Model], attnames: Iterable[str], using: Alias) -> None:
    """Of instances of one model, by their primary keys."""
    model = type(next(iter(instances.values())))
    rows: Any = QuerySet(model, using=using).filter(pk__in=list(instances)).order_by().values("pk", *attnames)
    found = {row.pop("pk"): row for row in rows}
    for pk, instance in instances.items():
        _fill_in(instance, found.get(pk), using)


def _fill_in(instance: Model, row: dict[str, Any] | None, using: Alias) -> None:
    if row is None:
        raise RowGoneError(
            f"{instance._meta.label} {instance.pk} cannot be serialized for its event: database {using!r} "
            "has no such row."
        )
    for attname, value in row.items():
        setattr(instance, attname, value)
