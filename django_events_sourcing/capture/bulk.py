"""Bulk writes, for which Django sends no signals: what they did to each row is told, where that is asked for."""

# Note [Bulk writes]
# An event is for a row that the project's own statement wrote, and says what the row holds now. Which rows an UPDATE
# has written no database tells Django. So the rows that match are locked first, in the order of their keys, and the
# UPDATE is limited to these. Where it finds fewer, another transaction that has just ended had some of them match no
# more: it is undone, and all is done once more. In SQLite nobody else writes meanwhile.
#
# Rows that are created are the instances, whose keys the database gives back, or that had keys before. With
# `update_conflicts` some were there already. They are looked for, and locked, before; what another transaction creates
# after that PostgreSQL tells by `xmax`, which an INSERT leaves at 0, and the lock of ON CONFLICT DO UPDATE does not.
# With `ignore_conflicts`, and where MySQL gives no keys, nobody knows: that is refused.

import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db import Error, connections, transaction
from django.db.models import Model, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.db.models.sql.subqueries import UpdateQuery

from django_events_sourcing.capture import changes, methods
from django_events_sourcing.capture.changes import Comparison
from django_events_sourcing.capture.registration import Registration
from django_events_sourcing.capture.registry import registry
from django_events_sourcing.capture.rows import (
    by_key,
    chunks,
    lock,
    lock_keys,
    read_and_tell_updated,
    tell,
    tell_updated,
    telling,
)
from django_events_sourcing.delivery.accounted import accounted
from django_events_sourcing.delivery.transactions import own_transaction, rollback_on_error, write_lock_before_reads
from django_events_sourcing.exceptions import BulkWriteRefused
from django_events_sourcing.outbox.dialects import speaks
from django_events_sourcing.types import Alias

__all__ = ["bulk_create", "bulk_update", "registrations_of", "unwrap", "update", "wrap"]

_METHODS = ("bulk_create", "bulk_update", "update")

# Of Django's UpdateQuery: by it a delete sets what `on_delete` says, on rows that it has read; others it writes by
# QuerySet.update().
_BATCH = "update_batch"

# How many rows are looked for by unique fields at a time, which are an OR of as many conditions.
_CHUNK_OF_CONDITIONS = 100

# How often an UPDATE that finds fewer rows than were locked is undone.
_TRIES = 5

_INSERTED = "_django_events_sourcing_inserted"


def wrap() -> None:
    """Have the bulk writes of every QuerySet tell of the models whose entries have ``"bulk": True``."""
    for name in _METHODS:
        methods.wrap(QuerySet, name, functools.partial(_wrapper, globals()[name]))
    if hasattr(UpdateQuery, _BATCH):
        methods.wrap(UpdateQuery, _BATCH, _batch_wrapper)


def unwrap() -> None:
    """Undo ``wrap``."""
    for name in _METHODS:
        methods.restore(QuerySet, name)
    methods.restore(UpdateQuery, _BATCH)


def _wrapper(ours: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: QuerySet[Any], *args: Any, **kwargs: Any) -> Any:
        registrations = registrations_of(self.model, bulk=True)
        if not registrations:
            return original(self, *args, **kwargs)
        return ours(registrations, original, self, *args, **kwargs)

    return wrapper


def _batch_wrapper(original: Callable[..., Any]) -> Callable[..., Any]:
    def update_batch(self: Any, pk_list: list[Any], values: dict[str, Any], using: Alias) -> None:
        model = self.get_meta().model
        chosen = telling(registrations_of(model, bulk=True), model, using, ("updated",))
        if not chosen:
            original(self, pk_list, values, using)
            return
        compared = _compared(chosen, model, _fields(model, values))
        with own_transaction(using):
            with write_lock_before_reads(using, model._meta.db_table):
                before = lock_keys(model, using, pk_list, compared)
            with accounted(*_tables(model)):
                original(self, pk_list, values, using)
            _tell_updates(chosen, model, using, before, compared)

    return update_batch


def registrations_of(model: type[Model], *, bulk: bool) -> list[Registration]:
    """By which bulk writes of a model are told: by any QuerySet, or by an ``EventQuerySet`` only."""
    return [each for each in registry.saved.get(model, ()) if each.bulk is bulk]


def update(
    registrations: Sequence[Registration], original: Callable[..., int], queryset: QuerySet[Any], /, **values: Any
) -> int:
    """``queryset.update()``, and an event for each row that it wrote.

    Args:
        registrations: By which it is told.
        original: What does the update, given a queryset and the values.
        queryset: Of the rows.
        **values: What they are set to.

    Returns:
        How many rows there were, as Django's.

    Raises:
        BulkWriteRefused: Which rows it writes could not be known.
    """
    model = queryset.model
    using = _database(queryset)
    chosen = telling(registrations, model, using, ("updated",))
    if not (chosen and values) or queryset.query.is_sliced or queryset.query.combinator:
        return original(queryset, **values)
    try:
        fields = [model._meta.get_field(name) for name in values]
    except FieldDoesNotExist:
        return original(queryset, **values)  # raises
    _refuse_updates_of_unknown_rows(queryset, fields)
    compared = _compared(chosen, model, fields)
    with own_transaction(using):
        with accounted(*_tables(model)):
            count, before = _update_locked(original, queryset, values, using, compared)
        _tell_updates(chosen, model, using, before, compared)
    queryset._result_cache = None  # noqa: SLF001 - as Django's own does for the one that it is given
    return count


def _tell_updates(
    chosen: Sequence[Registration],
    model: type[Model],
    using: Alias,
    before: dict[Any, dict[str, Any]],
    compared: Collection[str],
) -> None:
    with rollback_on_error(using):
        read_and_tell_updated(chosen, model, using, list(before), _comparison(before, compared))


def _comparison(before: dict[Any, dict[str, Any]], columns: Collection[str]) -> Callable[[Any], Comparison | None]:
    return lambda pk: Comparison(before[pk], columns) if columns and pk in before else None


def bulk_update(
    registrations: Sequence[Registration],
    original: Callable[..., int],
    queryset: QuerySet[Any],
    objs: Any,
    *args: Any,
    **kwargs: Any,
) -> int:
    """``queryset.bulk_update()``, which goes by ``update()``; arguments as that has them."""
    objs = tuple(objs)
    count = original(queryset, objs, *args, **kwargs)
    _forget(telling(registrations, queryset.model, _database(queryset), ("updated",)), objs)
    return count


def bulk_create(
    registrations: Sequence[Registration],
    original: Callable[..., list[Any]],
    queryset: QuerySet[Any],
    objs: Any,
    *args: Any,
    **kwargs: Any,
) -> list[Any]:
    """``queryset.bulk_create()``, and an event for each row that it created or updated; arguments as ``update`` has.

    Raises:
        BulkWriteRefused: Which rows it writes could not be known.
    """
    model = queryset.model
    using = _database(queryset)
    options = inspect.signature(QuerySet.bulk_create).bind(queryset, objs, *args, **kwargs).arguments
    upserts = bool(options.get("update_conflicts"))
    chosen = telling(registrations, model, using, ("created", "updated") if upserts else ("created",))
    objs = list(objs)
    write = functools.partial(original, queryset, objs, *args, **kwargs)
    if not (chosen and objs) or _is_refused_by_django(model, options):
        return write()
    _refuse_conflicts(model, using, options)
    with own_transaction(using):
        if upserts:
            created = _upsert(chosen, queryset, objs, options, write)
        else:
            with accounted(*_tables(model)):
                created = write()
            with rollback_on_error(using):
                _refuse_unknown_keys(created)
                for chunk in chunks(created):
                    tell(chosen, chunk, using, "created")
    _forget(chosen, objs)
    return created


def _upsert(
    chosen: Sequence[Registration],
    queryset: QuerySet[Any],
    objs: list[Any],
    options: dict[str, Any],
    write: Callable[[], list[Any]],
) -> list[Any]:
    model, using = queryset.model, _database(queryset)
    unique = _fields(model, options.get("unique_fields"))
    compared = _compared(chosen, model, _fields(model, options.get("update_fields")))
    before: dict[Any, dict[str, Any]] = {}
    with write_lock_before_reads(using, model._meta.db_table):
        for rows in _rows_of(objs, model, unique, using):
            before |= lock(rows, compared)
    with_key = [obj for obj in objs if _has_key(obj) or model._meta.pk.has_default()]
    with accounted(*_tables(model)):
        written = write()
    with rollback_on_error(using):
        _refuse_unknown_keys(written)
        pks = dict.fromkeys(obj.pk for obj in written)
        if with_key and set(unique) != set(model._meta.pk_fields):  # theirs may not be that of the row which was there
            pks = dict.fromkeys(pks.keys() - {obj.pk for obj in with_key})
            for rows in _rows_of(with_key, model, unique, using):
                pks |= dict.fromkeys(rows.values_list("pk", flat=True))
        tells_apart = speaks(connections[using], "postgresql")
        for chunk in chunks(list(pks)):
            rows = by_key(model, using, chunk)
            known = list(rows.annotate(**{_INSERTED: RawSQL("xmax = 0", ())}) if tells_apart else rows)
            created = [row for row in known if row.pk not in before and getattr(row, _INSERTED, True)]
            tell(chosen, created, using, "created")
            told = {row.pk for row in created}
            others = [row for row in known if row.pk not in told]
            tell_updated(chosen, others, using, _comparison(before, compared))
    return written


def _rows_of(objs: Sequence[Any], model: type[Model], unique: Sequence[Any], using: Alias) -> Iterator[QuerySet[Any]]:
    """The rows that have what some instances have in unique fields; where that is NULL, those of their keys."""
    for chunk in chunks(objs, _CHUNK_OF_CONDITIONS):
        conditions = Q(pk__in=[])
        for obj in chunk:
            values = {each.attname: getattr(obj, each.attname) for each in unique}
            conditions |= Q(pk=obj.pk) if None in values.values() else Q(**values)
        yield QuerySet(model, using=using).filter(conditions)


def _update_locked(
    original: Callable[..., int], queryset: QuerySet[Any], values: dict[str, Any], using: Alias, columns: Sequence[str]
) -> tuple[int, dict[Any, dict[str, Any]]]:
    """What the update returns; by their keys the rows that it wrote, and what they had in some columns before."""
    connection = connections[using]
    if speaks(connection, "sqlite"):
        with write_lock_before_reads(using, queryset.model._meta.db_table):
            locked = lock(_matching(queryset, using), columns)
        return original(queryset, **values), locked
    for tries_left in reversed(range(_TRIES)):
        locked = lock(_matching(queryset, using), columns)
        limited = _limited(queryset, list(locked), using)
        try:
            with transaction.atomic(using=using) if connection.in_atomic_block else nullcontext():
                count = original(limited, **values)
                is_done = count == len(locked) or not tries_left or not connection.in_atomic_block
                if not is_done:
                    transaction.set_rollback(True, using=using)
        except Error:  # after which a transaction can only be rolled back, and not to a savepoint of ours
            if connection.in_atomic_block:
                transaction.set_rollback(True, using=using)
            raise
        if is_done:
            break
    return count, locked


def _matching(queryset: QuerySet[Any], using: Alias) -> QuerySet[Any]:
    """The rows that an update of a queryset writes, without whatever else it asks for."""
    rows = QuerySet.order_by(QuerySet.using(queryset, using))
    rows.query.select_for_update = False
    key = [field.attname for field in queryset.model._meta.pk_fields]  # "pk" is no key of several columns in 5.2.0
    return QuerySet(queryset.model, using=using).filter(pk__in=QuerySet.values(rows, *key))


def _limited(queryset: QuerySet[Any], pks: list[Any], using: Alias) -> QuerySet[Any]:
    """The queryset, and of its rows only these."""
    connection, key = connections[using], queryset.model._meta.pk
    if pks and speaks(connection, "postgresql") and not isinstance(pks[0], tuple):
        values = [key.get_db_prep_value(pk, connection) for pk in pks]
        kind = key.rel_db_type(connection)
        return QuerySet.filter(queryset, pk__in=RawSQL(f"SELECT unnest(%s::{kind}[])", (values,)))  # noqa: S611
    return QuerySet.filter(queryset, pk__in=pks)


def _compared(registrations: Sequence[Registration], model: type[Model], fields: Sequence[Any]) -> list[str]:
    """The columns that are to be known as they were before, of those that are written."""
    if not any(each.compares for each in registrations):
        return []
    written = {each.attname for each in fields if getattr(each, "attname", None)}
    return [each.attname for each in model._meta.concrete_fields if each.attname in written or each.generated]


def _forget(registrations: Sequence[Registration], objs: Sequence[Model]) -> None:
    """What these were read with is not what their rows hold now."""
    if any(each.compares for each in registrations):
        for obj in objs:
            changes.forget(obj)


def _has_key(obj: Model) -> bool:
    return None not in (obj.pk if isinstance(obj.pk, tuple) else (obj.pk,))


def _tables(model: type[Model]) -> list[str]:
    return [each._meta.db_table for each in (model, *model._meta.get_parent_list())]


def _fields(model: type[Model], names: Iterable[str] | None) -> list[Any]:
    return [model._meta.pk if name == "pk" else model._meta.get_field(name) for name in names or ()]


def _database(queryset: QuerySet[Any]) -> Alias:
    return QuerySet.select_for_update(queryset).db  # that which is written to


def _refuse_updates_of_unknown_rows(queryset: QuerySet[Any], fields: Sequence[Any]) -> None:
    label, keys = queryset.model._meta.label, queryset.model._meta.pk_fields
    if any(each.concrete and (each.primary_key or each in keys) for each in fields):
        raise BulkWriteRefused(
            f"update() of {label} changes the primary key, after which it is not known which rows those were. Update "
            "them one by one, or under disable_dispatcher(), without events."
        )
    if queryset.query.distinct_fields:
        raise BulkWriteRefused(
            f"update() of {label} with distinct({', '.join(map(repr, queryset.query.distinct_fields))}): which of the "
            "rows are written depends on the database. Filter by their primary keys."
        )


def _is_refused_by_django(model: type[Model], options: dict[str, Any]) -> bool:
    if options.get("ignore_conflicts") and options.get("update_conflicts"):
        return True
    try:
        fields = _fields(model, options.get("unique_fields")) + _fields(model, options.get("update_fields"))
    except FieldDoesNotExist:
        return True
    return not all(each.concrete and not each.many_to_many for each in fields)


def _refuse_conflicts(model: type[Model], using: Alias, options: dict[str, Any]) -> None:
    if options.get("ignore_conflicts"):
        raise BulkWriteRefused(
            f"bulk_create(ignore_conflicts=True) of {model._meta.label}: no database says which rows it has created. "
            "Use update_conflicts, or save them one by one, or do it under disable_dispatcher(), without events."
        )
    if options.get("update_conflicts") and speaks(connections[using], "mysql"):
        raise BulkWriteRefused(
            f"bulk_create(update_conflicts=True) of {model._meta.label}: {connections[using].display_name} does not "
            "say which rows it has created or updated. Use update_or_create(), or do it under disable_dispatcher(), "
            "without events."
        )


def _refuse_unknown_keys(objs: Sequence[Model]) -> None:
    for obj in objs:
        if not _has_key(obj) or hasattr(obj.pk, "resolve_expression"):
            raise BulkWriteRefused(
                f"bulk_create() of {obj._meta.label}: the database does not give back the primary keys that it has "
                "made. Give the instances keys (a UUIDField with a default, say), or save them one by one, or do it "
                "under disable_dispatcher(), without events."
            )
