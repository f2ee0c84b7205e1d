"""A transaction of the library's own, where the caller has none."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

from django.db import Error, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_events_sourcing.delivery.accounted import accounted
from django_events_sourcing.logs import log_once
from django_events_sourcing.types import Alias

__all__ = [
    "is_in_foreign_transaction",
    "own_transaction",
    "rollback_on_error",
    "transaction_from_write",
    "write_lock_before_reads",
]

logger = logging.getLogger(__name__)


def own_transaction(using: Alias) -> AbstractContextManager[Any]:
    """A transaction where each statement is one by itself; where there is one already, or the user's own, nothing."""
    return _transaction(using) if _commits_each_statement(connections[using]) else nullcontext()


def rollback_on_error(using: Alias) -> AbstractContextManager[Any]:
    """Within it, an error marks a transaction of Django's for rollback, where there is one."""
    in_one = connections[using].in_atomic_block
    return transaction.atomic(using=using, savepoint=False) if in_one else nullcontext()


def transaction_from_write(
    using: Alias, table: str, *, runs_own_code: bool
) -> AbstractContextManager[AbstractContextManager[Any]]:
    """As ``own_transaction``, but it begins with the first statement that writes to a table.

    What it gives is a context manager for what writes. What runs before the statement within that, to make the values
    that are written, does so as if no transaction were to come.

    Args:
        using: Alias of the database.
        table: That which is written to.
        runs_own_code: Whether that may run code of the project's, and so is to run outside once more if an UPDATE has
            found no row, and an INSERT follows.
    """
    connection = connections[using]
    if not _commits_each_statement(connection):
        return nullcontext(nullcontext())
    return _transaction_from_write(connection, table, runs_own_code=runs_own_code)


@contextmanager
def _transaction_from_write(
    connection: BaseDatabaseWrapper, table: str, *, runs_own_code: bool
) -> Iterator[AbstractContextManager[Any]]:
    using = connection.alias
    quoted = connection.ops.quote_name(table)
    has_begun = has_written = False
    with ExitStack() as stack:

        def execute(run: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
            nonlocal has_begun, has_written
            if has_begun or not _commits_each_statement(connection) or str(sql).startswith("SELECT"):
                return run(sql, params, many, context)
            has_written = True
            if quoted not in str(sql):
                return run(sql, params, many, context)
            has_begun = True
            stack.enter_context(_transaction(using))
            result = run(sql, params, many, context)
            if runs_own_code and str(sql).startswith("UPDATE") and context["cursor"].rowcount == 0:
                stack.close()
                has_begun = False
            return result

        yield connection.execute_wrapper(execute)
        if has_written and not has_begun:
            log_once(
                logger,
                logging.WARNING,
                ("write", using, table),
                f"Database {using!r} writes to {table} in a way that is not known: outside atomic(), a row may be "
                "committed without its event if the process dies in between.",
                extra={"database": using},
            )


def _commits_each_statement(connection: BaseDatabaseWrapper) -> bool:
    return not connection.in_atomic_block and connection.get_autocommit()


def is_in_foreign_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Whether the session is in a transaction that Django doesn't know of: a ``BEGIN`` of the user's own, say.

    It is False where that is not known, as on MySQL.
    """
    if not _commits_each_statement(connection):
        return False
    session = connection.connection  # sqlite3's, or psycopg's
    in_transaction = getattr(session, "in_transaction", None)
    if in_transaction is None:
        in_transaction = getattr(getattr(session, "info", None), "transaction_status", 0)
    return bool(in_transaction)


@contextmanager
def write_lock_before_reads(using: Alias, table: str) -> Iterator[None]:
    """Within it, what is read in a transaction that is yet to write doesn't keep it from waiting for others that do.

    A transaction of SQLite's begins as a reader's, unless ``transaction_mode`` says otherwise. When one that has read
    goes on to write, it fails at once if others write, too, however long its timeout is: "database is locked".

    Args:
        using: Alias of the database.
        table: One that the transaction will write to.
    """
    connection = connections[using]
    if connection.vendor != "sqlite" or not connection.in_atomic_block:
        yield
        return
    write_of_nothing = iter([f"DELETE FROM {connection.ops.quote_name(table)} WHERE 0"])  # noqa: S608

    def execute(run: Any, *statement: Any) -> Any:
        for first in write_of_nothing:
            with accounted(table), connection.cursor() as cursor:
                cursor.execute(first)
        return run(*statement)

    with connection.execute_wrapper(execute):
        yield


@contextmanager
def _transaction(using: Alias) -> Iterator[None]:
    """Django's, whose end a signal's handler may interrupt.

    Then Django would leave the session in a transaction that nobody commits any more, and raise that it can't go back
    to autocommit mode. Nothing, where the session is in a transaction that Django doesn't know of.
    """
    if is_in_foreign_transaction(connections[using]):
        yield
        return
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
