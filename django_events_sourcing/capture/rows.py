"""Rows that are written together: locked, read and told in chunks, each model's registrations in turn."""

from collections.abc import Collection, Iterator, Mapping, Sequence
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

__all__ = ["CHUNK", "by_key", "chunks", "lock", "tell", "tell_updated", "telling"]

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


def lock(rows: QuerySet[Any], columns: Sequence[str]) -> dict[Any, dict[str, Any]]:
    """Hold rows as an UPDATE would, until the transaction ends; by their keys what they have in some columns."""
    tables = list(row_tables(rows.model))
    rows = rows.order_by("pk")
    if len(tables) == 1:
        return _values(_for_update(rows), columns)
    # as a save writes them: a parent's before the child's
    pks = list(rows.values_list("pk", flat=True))
    found: dict[Any, dict[str, Any]] = {}
    for table in tables:
        for chunk in chunks(pks, CHUNK):
            _values(_for_update(by_key(table, rows.db, chunk).order_by("pk")), ())
    for chunk in chunks(pks, CHUNK):
        found |= _values(by_key(rows.model, rows.db, chunk).order_by("pk"), columns)
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
    before: Mapping[Any, dict[str, Any]],
    compared: Collection[str],
) -> None:
    """The same of an update.

    Args:
        registrations: By which it is told.
        rows: As it left them.
        using: Alias of their database.
        before: By their keys what some of them had in some columns before it.
        compared: Those columns; empty if nothing is to be compared.
    """
    for row in rows:
        if compared and row.pk in before:
            mark(row._state, comparison=Comparison(before[row.pk], compared))
    tell(registrations, rows, using, "updated")


def chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """All of them, so many at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))
