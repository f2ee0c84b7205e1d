"""A transaction of the library's own, where the caller has none."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from django.db import Error, connections, transaction

from django_events_sourcing.types import Alias

__all__ = ["own_transaction"]


def own_transaction(using: Alias) -> AbstractContextManager[Any]:
    """A transaction where each statement is one by itself; where there is one already, or the user's own, nothing."""
    connection = connections[using]
    if connection.in_atomic_block or not connection.get_autocommit():
        return nullcontext()
    return _transaction(using)


@contextmanager
def _transaction(using: Alias) -> Iterator[None]:
    """Django's, whose end a signal's handler may interrupt.

    Then Django would leave the session in a transaction that nobody commits any more, and raise that it can't go back
    to autocommit mode.
    """
    try:
        with transaction.atomic(using=using, savepoint=False):
            yield
    except BaseException as exc:
        connection: Any = connections[using]
        if connection.get_autocommit():
            raise
        connection.close()
        interrupt: BaseException | None = exc
        while isinstance(interrupt, Error | connection.Database.Error):
            interrupt = interrupt.__context__
        raise interrupt or exc from None
