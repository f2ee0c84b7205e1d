"""What a save is compared with, where an entry has ``track_changes``: what its instance was read or saved with."""

# Note [What a save is compared with]
# What an instance was read or saved with is what its row held, unless the transaction in which that happened, or a part
# of it, was rolled back: then a save of the same values does change the row. So what was read or saved within a
# transaction counts as long as the session has committed nothing and rolled nothing back since; outside of one, for
# ever. Else the row is read once more, just before it is written. The same goes for an instance that was never read.
#
# What others have written since is not looked for: an instance that was read before, and is saved unchanged, puts the
# old values back, and no event tells of it.

import copy
import functools
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import count
from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model, QuerySet
from django.db.models.fields.files import FieldFile

from django_events_sourcing.capture import methods
from django_events_sourcing.capture.marks import mark, marks_of
from django_events_sourcing.capture.stored import concrete_model
from django_events_sourcing.delivery.transactions import is_in_foreign_transaction, write_lock_before_reads
from django_events_sourcing.types import Alias

__all__ = ["Comparison", "compared", "comparison_of", "differences", "forget", "track", "untrack", "values_of"]

# On an instance's ``_state``: when it was read or saved last, and with which values; plain types, as it may be pickled.
_READ = "_django_events_sourcing_read"

# On a connection: Django's list of what to call at the commit, which is another one after each commit, rollback, and
# rollback to a savepoint; and a name for the time since it became that.
_PERIOD = "_django_events_sourcing_period"
_CALLBACKS = "run_on_commit"
_periods = count()

# Of what was read outside of a transaction: it counts for ever.
_ALWAYS = "always"

_DEFERRED = object()
_IMMUTABLE = {str, bytes, int, float, complex, bool, type(None), Decimal, UUID, date, datetime, time, timedelta}


@dataclass
class Comparison:
    """Of one save under way.

    Attributes:
        before: What the row held before, by its fields' attributes; None if there was no row, or nothing is known.
        written: The attributes that the save writes.
        after: What the row holds now, as far as an event tells it.
        related: In place of a save, the many-to-many fields whose lists have changed.
    """

    before: dict[str, Any] | None
    written: Collection[str]
    after: dict[str, Any] = field(default_factory=dict)
    related: Collection[str] = ()


def track(model: type[Model]) -> None:
    """Have instances of ``model``, and of classes derived from it, keep what they are read with."""
    from_db: Any = getattr(model.from_db, "__func__")  # noqa: B009 - the function behind the class method
    refresh_from_db: Any = model.refresh_from_db

    @functools.wraps(from_db)
    def read(cls: type[Model], db: Alias, *args: Any, **kwargs: Any) -> Model:
        instance: Model = from_db(cls, db, *args, **kwargs)
        _keep(instance, db, values_of(instance))
        return instance

    @functools.wraps(refresh_from_db)
    def refresh(self: Model, using: Alias | None = None, fields: Any = None, *args: Any, **kwargs: Any) -> None:
        fields = None if fields is None else list(fields)
        refresh_from_db(self, using, fields, *args, **kwargs)
        read_now = values_of(self, None if fields is None else _attributes(self, fields))
        _keep(self, self._state.db or using or DEFAULT_DB_ALIAS, read_now)

    methods.replace(model, "from_db", classmethod(read))
    methods.replace(model, "refresh_from_db", refresh)


def untrack(model: type[Model]) -> None:
    """Undo ``track``."""
    methods.restore(model, "from_db")
    methods.restore(model, "refresh_from_db")


@contextmanager
def compared(instance: Model, using: Alias, *, force_insert: Any, update_fields: Any, is_last: bool) -> Iterator[None]:
    """Around the writing of a row: its event can be told what that changes.

    Args:
        instance: What is saved.
        using: Alias of the database.
        force_insert: As Django's ``save_base`` has it.
        update_fields: The same.
        is_last: Whether it is the instance's own row, and no parent's, which are written before.
    """
    if marks_of(instance._state).comparison is None:
        present = {each.attname for each in instance._meta.concrete_fields} & vars(instance).keys()
        written = present if update_fields is None else _attributes(instance, update_fields)
        before = None if _is_new(instance, force_insert) else _before(instance, using, present)
        mark(instance._state, comparison=Comparison(before, written))
    try:
        yield
    except BaseException:
        mark(instance._state, comparison=None)
        raise
    if is_last:
        comparison = comparison_of(instance)
        mark(instance._state, comparison=None)
        if comparison and comparison.after:  # without an event, the next one tells of this save's changes, too
            after = {name: value for name, value in comparison.after.items() if name in comparison.written}
            _keep(instance, using, {**(comparison.before or {}), **after})


def comparison_of(instance: Model) -> Comparison | None:
    """That of its save under way; None if there is none, as where a signal is sent by hand."""
    comparison: Comparison | None = marks_of(instance._state).comparison
    return comparison


def forget(instance: Model) -> None:
    """Have the next save of an instance be compared with its row, as something else has written that."""
    vars(instance._state).pop(_READ, None)


def values_of(instance: Model, names: Collection[str] | None = None) -> dict[str, Any]:
    """What it holds, by its fields' attributes, without those that are deferred: values that stay as they are.

    Args:
        instance: It.
        names: The attributes that are asked for; None for all.
    """
    values = instance.__dict__
    return {
        each.attname: value if type(value) in _IMMUTABLE else _kept(value)
        for each in instance._meta.concrete_fields
        if (value := values.get(each.attname, _DEFERRED)) is not _DEFERRED and (names is None or each.attname in names)
    }


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What was there before of the values that are others now."""
    return {name: value for name, value in before.items() if name in after and not _is_same(value, after[name])}


def _kept(value: Any) -> Any:
    if isinstance(value, FieldFile):  # which belongs to its instance, and changes with it
        return value.name
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - whatever it is, it counts as changed
        return object()


def _is_same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001 - as above
        return False


def _attributes(instance: Model, names: Iterable[str]) -> set[str]:
    """Those of fields that are called by their names, or their attributes'."""
    wanted = set(names)
    return {each.attname for each in instance._meta.concrete_fields if wanted & {each.name, each.attname}}


def _is_new(instance: Model, force_insert: Any) -> bool:
    keys = instance._meta.pk_fields
    if force_insert or any(vars(instance).get(each.attname) is None for each in keys):
        return True
    return instance._state.adding and all(each.has_default() or each.has_db_default() for each in keys)


def _before(instance: Model, using: Alias, names: Collection[str]) -> dict[str, Any] | None:
    """What the row holds; None if there is no row. What the instance was not read with, the database is asked for."""
    connection = connections[using]
    period, known = vars(instance._state).get(_READ, (None, {}))
    is_sure = period is not None and not instance._state.adding and period in {_ALWAYS, _period(connection)}
    before: dict[str, Any] = dict(known) if is_sure else {}
    if missing := [name for name in names if name not in before]:
        model = concrete_model(type(instance))
        with write_lock_before_reads(using, model._meta.db_table):
            row = QuerySet(model, using=using).filter(pk=instance.pk).order_by().values(*missing).first()
        if row is None:
            return None
        before |= {name: _kept(value) for name, value in row.items()}
    return before


def _keep(instance: Model, using: Alias, values: dict[str, Any]) -> None:
    period = _period(connections[using])
    known_period, known = vars(instance._state).pop(_READ, (None, {}))
    if period is None:
        return
    if known_period in {_ALWAYS, period}:
        values = {**known, **values}
        period = known_period if period == _ALWAYS else period
    vars(instance._state)[_READ] = (period, values)


def _period(connection: BaseDatabaseWrapper) -> str | None:
    """A name of the time since its last commit or rollback; None if it can't be known when that was."""
    if not connection.in_atomic_block:
        is_autocommit = connection.get_autocommit() and not is_in_foreign_transaction(connection)
        return _ALWAYS if is_autocommit else None
    callbacks = getattr(connection, _CALLBACKS, None)
    if callbacks is None:
        return None
    known: tuple[object, str] | None = vars(connection).get(_PERIOD)
    if known is None or known[0] is not callbacks:
        known = vars(connection)[_PERIOD] = callbacks, f"{os.getpid()}-{next(_periods)}"
    return known[1]
