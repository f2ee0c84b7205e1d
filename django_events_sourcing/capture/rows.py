"""Rows that are written together: locked, read and told in chunks, each model's registrations in turn."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from django.db import connections
from django.db.models import Model, QuerySet
from django.db.models.signals import post_save

from django_events_sourcing.capture.changes import Comparison
from django_events_sourcing.capture.marks import mark
from django_events_sourcing.capture.registration import Registration
from django_events_sourcing.capture.stored import row_tables
from django_events_sourcing.capture.switches import is_silenced
from django_events_sourcing.delivery.deliver import deliver
from django_events_sourcing.delivery.migrating import lacks_tables
from django_events_sourcing.types import Alias

__all__ = ["CHUNK", "by_key", "chunks", "lock", "lock_keys", "read_and_tell_updated", "tell", "tell_updated", "telling"]

#: How many rows are read, and their events written, at a time.
CHUNK = 1000


def telling(
    registrations: Sequence[Registration], model: type[Model], using: Alias, actions: Collection[str]
) -> list[Registration]:
    """Those that tell of any of the actions, unless a switch keeps the whole model silent."""
    if not registrations or lacks_tables(using) or not post_save.has_listeners(model):  # which a test may have muted
        return []
    return [
        each
        for each in registrations
        if not set(actions).isdisjoint(each.actions) and not is_silenced(each.model, None)
    ]


def lock(rows: QuerySet[Any], columns: Sequence[str] = ()) -> dict[Any, dict[str, Any]]:
    """Hold rows as an UPDATE would, until the transaction ends; by their keys what they have in some columns."""
    rows = rows.order_by("pk")
    if len(list(row_tables(rows.model))) == 1:
        return _values(_for_update(rows), columns)
    return lock_keys(rows.model, rows.db, list(rows.values_list("pk", flat=True)), columns)


def lock_keys(
    model: type[Model], using: Alias, pks: Sequence[Any], columns: Sequence[str] = ()
) -> dict[Any, dict[str, Any]]:
    """The same, of rows by their keys. As a save writes them: a parent's before the child's."""
    found: dict[Any, dict[str, Any]] = {}
    *parents, _ = row_tables(model)
    for table in (*parents, model):
        for chunk in chunks(pks):
            rows = _for_update(by_key(table, using, chunk).order_by("pk"))
            found |= _values(rows, columns if table is model else ())
    return found


def _values(rows: QuerySet[Any], columns: Sequence[str]) -> dict[Any, dict[str, Any]]:
    return {pk: dict(zip(columns, values, strict=True)) for pk, *values in rows.values_list("pk", *columns)}


def _for_update(rows: QuerySet[Any]) -> QuerySet[Any]:
    features = connections[rows.db].features
    if not features.has_select_for_update:
        return rows
    return rows.select_for_update(no_key=features.has_select_for_no_key_update)


def by_key(model: type[Model], using: Alias, pks: Collection[Any]) -> QuerySet[Any]:
    """Rows by their primary keys, whatever the model's managers hide."""
    return QuerySet(model, using=using).filter(pk__in=pks)


def tell(registrations: Sequence[Registration], rows: Sequence[Model], using: Alias, action: str) -> None:
    """Hand over the events of what happened to rows, which are as it left them."""
    for registration in registrations:
        if action in registration.actions:
            loud = [row for row in rows if not is_silenced(registration.model, row)]
            deliver(registration.events(loud, using, action), using)


def tell_updated(
    registrations: Sequence[Registration],
    rows: Sequence[Model],
    using: Alias,
    comparison: Callable[[Any], Comparison | None],
) -> None:
    """The same of an update; ``comparison`` is given a key, and says with what its row is to be compared."""
    for row in rows:
        if compared := comparison(row.pk):
            mark(row._state, comparison=compared)
    tell(registrations, rows, using, "updated")


def read_and_tell_updated(
    registrations: Sequence[Registration],
    model: type[Model],
    using: Alias,
    pks: Sequence[Any],
    comparison: Callable[[Any], Comparison | None],
) -> None:
    """The same of rows that are still to be read, by their keys."""
    for chunk in chunks(pks):
        tell_updated(registrations, list(by_key(model, using, chunk).order_by("pk")), using, comparison)


def chunks(items: Sequence[Any], size: int | None = None) -> Iterator[Sequence[Any]]:
    """All of them, so many at a time; ``CHUNK``, if nothing is said."""
    size = size or CHUNK
    return (items[start : start + size] for start in range(0, len(items), size))
