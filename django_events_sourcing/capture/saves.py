"""Putting a saved row and its event into one transaction, and nothing else.

Outside ``atomic()``, Django commits a saved row before it sends ``post_save``: an event that fails then, or a process
that dies, would leave a change without its event. ``Collector.delete()`` is one transaction by itself.
"""

# Note [Where a save is recorded]
# Between the row and its event nothing may commit; around them, all is to be as without the library. `save_base` as a
# whole in a transaction would take the receivers of pre_save and post_save along: an error in one of them would roll
# back what Django keeps, a durable atomic() fail, a task that one enqueues look for a row that is not committed yet. So
# only `_save_table`, the method that writes the row, is wrapped, and the event is recorded right after the write. For
# the same reason events are in the order of writes, whatever a receiver of post_save writes. `_save_table` calls the
# fields' `pre_save` as well, where a FileField stores its file: the transaction begins after that, with the write.

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django.db.models import FileField, Model

from django_events_sourcing.capture import methods
from django_events_sourcing.capture.conversion import is_overridden
from django_events_sourcing.capture.marks import mark, marks_of
from django_events_sourcing.delivery.accounted import accounted, is_watched
from django_events_sourcing.delivery.transactions import transaction_from_write

__all__ = ["is_known", "take_record", "unwrap", "wrap"]

_METHOD = "_save_table"
_PARAMETERS = ("self", "raw", "cls", "force_insert", "force_update", "using", "update_fields")


#: What is to be around the writing of a row: given the instance, the alias of the database, ``force_insert`` and
#: ``update_fields`` as Django has them, and whether it is the instance's own row, and no parent's.
Around = Callable[[Model, str, Any, Any, bool], AbstractContextManager[Any]]


def _nothing(*_args: Any) -> AbstractContextManager[Any]:
    return nullcontext()


def wrap(model: type[Model], record: Callable[[Model, bool, str], bool], around: Around = _nothing) -> None:
    """Have each row that ``model`` or a class derived from it saves be recorded in the transaction that writes it.

    Args:
        model: A model none of whose bases is wrapped.
        record: Called after each write that is no fixture's, in its transaction, with the instance, whether it was
            created, and the alias of the database; returns whether it recorded it. Its error fails the save, and
            marks a transaction around it for rollback.
        around: What each write that is no fixture's is to be done within, its transaction included.
    """
    original: Any = getattr(model, _METHOD)
    write = _accounted(original) if is_watched() else original
    # a file's storage is the project's, whoever wrote the field
    runs_own_code = any(
        isinstance(field, FileField) or is_overridden(field, "pre_save") for field in model._meta.concrete_fields
    )

    @functools.wraps(original)
    def save_table(  # noqa: PLR0913, PLR0917 - Django's signature
        self: Model,
        raw: bool = False,
        cls: type[Model] | None = None,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Any = None,
    ) -> bool:
        arguments = (raw, cls, force_insert, force_update, using, update_fields)
        if raw or using is None:  # a fixture
            mark(self._state, raw=True)
            return bool(write(self, *arguments))
        if cls is not self._meta.concrete_model:  # the row of a parent
            with around(self, using, force_insert, update_fields, False):
                return bool(write(self, *arguments))
        state = self._state
        with (
            around(self, using, force_insert, update_fields, True),
            transaction_from_write(using, self._meta.db_table, runs_own_code=runs_own_code) as writing,
        ):
            with writing:
                updated = bool(write(self, *arguments))
            before = state.db, state.adding
            state.db, state.adding = using, False  # as Django does soon: serializers may read related rows
            try:
                is_recorded = record(self, not updated, using)
            finally:
                state.db, state.adding = before
        if is_recorded:  # not before the transaction is over, because its end may fail
            mark(state, recorded=marks_of(state).recorded + 1, raw=False)
        return updated

    methods.replace(model, _METHOD, save_table)


def _accounted(original: Any) -> Any:
    def write(self: Model, raw: bool, cls: type[Model] | None, *arguments: Any) -> Any:
        with accounted((cls or type(self))._meta.db_table):
            return original(self, raw, cls, *arguments)

    return write


def is_known() -> bool:
    """Whether Django's method is as it was; else nothing may be wrapped, and saves are recorded at ``post_save``.

    Then a process that dies in between, outside ``atomic()``, leaves a row without its event.
    """
    method = getattr(Model, _METHOD, None)
    return method is not None and tuple(inspect.signature(method).parameters) == _PARAMETERS


def unwrap(model: type[Model]) -> None:
    """Undo ``wrap``."""
    methods.restore(model, _METHOD)


def take_record(instance: Model) -> bool:
    """Whether the ``post_save`` that ``instance`` was just sent with is that of a save that was recorded."""
    recorded = marks_of(instance._state).recorded
    if recorded:
        mark(instance._state, recorded=recorded - 1)
    return recorded > 0
