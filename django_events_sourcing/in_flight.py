"""Sending a statement without waiting for its answer: the session's next statement waits for both. psycopg 3 only."""

# Note [A statement in flight]
# An event's INSERT gives nothing back but that it went well, and another statement follows it in any case: its
# transaction's COMMIT, if nothing else. So it's sent, and its answer is read when the session is next waited for;
# meanwhile the database works, and so does the request. Time that the request needs until then is spared.
#
# It's no less a part of its transaction. The server has it before whatever is sent after it, which includes a COMMIT
# that Django knows nothing of; and an error of its fails that statement, and with it the transaction, as it fails the
# save itself where that isn't within a transaction of the project's.
#
# psycopg has one place where a session waits, `Connection.wait`, through which each statement goes, COMMIT and ROLLBACK
# too; there the answer is read. Its pipeline mode is no way to have this: Django needs each statement's row count.
# What is sent at any other time than within a transaction that is well, goes the ordinary way. So does what somebody
# looks at: with DEBUG, with assertNumQueries, with execute_wrapper.

import logging
import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

try:
    import psycopg
    from psycopg import errors, generators, pq
except ImportError:
    psycopg = None  # type: ignore[assignment]

__all__ = ["prepare", "send"]

# In the attributes of psycopg's connection: what quotes values for it; and, while there is one, a statement in flight.
_ESCAPING = "_django_events_sourcing_escaping"
_IN_FLIGHT = "_django_events_sourcing_in_flight"

# Whose classes of cursors are known to do nothing more.
_MAKERS = {"django", "psycopg"}

logger = logging.getLogger(__name__)

_NOTE = "This is the answer to the INSERT of an event, which was sent before the statement that failed with it."


def prepare(connection: BaseDatabaseWrapper) -> None:
    """Let statements be in flight in the session that ``connection`` has now, if its driver is one that can."""
    session = connection.connection
    if psycopg is None or _ESCAPING in getattr(session, "__dict__", ()):
        return
    # Not one that somebody has wrapped, or derived, or given cursors of theirs: they may trace or count what is sent.
    waits = getattr(type(session), "wait", None)
    if waits is psycopg.Connection.wait and session.cursor_factory.__module__.partition(".")[0] in _MAKERS:
        vars(session)[_ESCAPING] = pq.Escaping(session.pgconn)
        # Without a cycle, for a session that is forgotten must end at once.
        itself = weakref.ref(session)
        vars(session)["wait"] = partial(_wait, itself)
        vars(session)["rollback"] = partial(_rollback, itself)


def send(connection: BaseDatabaseWrapper, statement: bytes, values: Sequence[object]) -> bool:
    """Send a statement that returns no rows. See Note [A statement in flight].

    Args:
        connection: Within a transaction.
        statement: With ``%b`` for each value.
        values: Integers, strings, or what is told to PostgreSQL as a string.

    Returns:
        False if it has to go the ordinary way; then nothing was sent.

    Raises:
        django.db.Error: The session is lost, or the one that was in flight failed.
    """
    session: Any = connection.connection
    escaping = getattr(session, _ESCAPING, None)
    if (
        escaping is None
        or not connection.in_atomic_block
        or connection.needs_rollback
        or connection.queries_logged
        or connection.execute_wrappers
    ):
        return False
    pgconn = session.pgconn
    with connection.wrap_database_errors, session.lock:
        _settle(session)
        if pgconn.transaction_status != pq.TransactionStatus.INTRANS or pgconn.pipeline_status:
            return False
        quoted = []
        for value in values:
            if isinstance(value, int):
                quoted.append(b"%d" % value)
                continue
            text = str(value).encode()
            if b"\0" in text:  # there is no way to say it; psycopg tells so
                return False
            quoted.append(escaping.escape_literal(text))
        pgconn.send_query(statement % tuple(quoted))
        vars(session)[_IN_FLIGHT] = True
        pgconn.flush()  # what the socket doesn't take now is sent when it is waited for
    return True


def _settle(session: Any) -> None:
    """Read the answer to what is in flight.

    Raises:
        psycopg.Error: It failed.
    """
    if _IN_FLIGHT not in vars(session):
        return
    results = type(session).wait(session, generators.execute(session.pgconn))
    del vars(session)[_IN_FLIGHT]  # not before: whoever was interrupted reads on
    for result in results:
        if result.status != pq.ExecStatus.COMMAND_OK:
            exc = errors.error_from_result(result, encoding="utf-8")
            exc.add_note(_NOTE)
            raise exc


def _wait(itself: Any, *args: Any, **kwargs: Any) -> Any:
    session = itself()
    _settle(session)
    return type(session).wait(session, *args, **kwargs)


def _rollback(itself: Any) -> None:
    session = itself()
    with session.lock:
        try:
            _settle(session)
        except psycopg.Error:
            logger.debug("An event's INSERT failed, in a transaction that is rolled back.", exc_info=True)
    type(session).rollback(session)
