"""Putting a saved row and its event into one transaction, and nothing else.

Outside ``atomic()``, Django commits a saved row before it sends ``post_save``: an event that fails then, or a process
that dies, would leave a change that nobody is told of. ``Collector.delete()`` is one transaction by itself.
"""

# Note [Where a save is told]
# Between the row and its event nothing may commit; around them, all is to be as without the library. `save_base` as a
# whole in a transaction would take the receivers of pre_save and post_save along: an error in one of them would roll
# back what Django keeps, a durable atomic() fail, a task that one enqueues look for a row that is not committed yet. So
# only `_save_table`, the method that writes the row, is wrapped, and the event is told right after the write. For the
# same reason events are in the order of writes, whatever a receiver of post_save writes.

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django.db import connections, transaction
from django.db.models import Model

__all__ = ["join", "own_transaction", "part"]

_METHOD = "_save_table"


def join(model: type[Model], tell: Callable[[Model, bool, str], None]) -> None:
    """Have each row that ``model`` or a class derived from it saves be told in the transaction that writes it.

    Args:
        model: A model none of whose bases is joined.
        tell: Called after each write that is no fixture's, with the instance, whether it was created, and the alias
            of the database. An error of its fails the save, and marks a transaction around it for rollback.
    """
    original: Any = getattr(model, _METHOD)

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
        if raw or using is None or cls is not self._meta.concrete_model:  # a fixture, or the row of a parent
            return bool(original(self, *arguments))
        state, before = self._state, (self._state.db, self._state.adding)
        try:
            with own_transaction(using):
                updated = bool(original(self, *arguments))
                state.db, state.adding = using, False  # as Django does next: serializers may read related rows
                tell(self, not updated, using)
        except BaseException:
            state.db, state.adding = before
            raise
        return updated

    save_table.replaces_own = _METHOD in vars(model)  # type: ignore[attr-defined]
    setattr(model, _METHOD, save_table)


def part(model: type[Model]) -> None:
    """Undo ``join``."""
    joined = vars(model)[_METHOD]
    if joined.replaces_own:
        setattr(model, _METHOD, joined.__wrapped__)
    else:
        delattr(model, _METHOD)


def own_transaction(using: str) -> AbstractContextManager[Any]:
    """A transaction where each statement is one by itself; where there is one already, or the user's own, nothing."""
    connection = connections[using]
    if connection.in_atomic_block or not connection.get_autocommit():
        return nullcontext()
    return transaction.atomic(using=using, savepoint=False)
