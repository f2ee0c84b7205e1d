"""Sending a statement without waiting for its answer: the session's next statement waits for both. psycopg 3 only."""

# Note [A statement in flight]
# An event's INSERT gives nothing back but that it went well, and another statement follows it in any case: its
# transaction's COMMIT, if nothing else. So it's sent, and its answer is read when the session is next waited for;
# meanwhile the database works, and so does the request. A COMMIT is sent behind it at once, by libpq's pipeline: the
# two take one wait. Any other statement is sent when the answer is there.
#
# It's no less a part of its transaction. The server has it before whatever is sent after it, which includes a COMMIT
# that Django knows nothing of; and an error of its fails that statement, and with it the transaction, as it fails the
# save itself where that isn't within a transaction of the project's. (A COMMIT that is behind a failed INSERT, the
# server answers with a ROLLBACK.)
#
# psycopg has one place where a session waits, `Connection.wait`, through which each statement goes, COMMIT and ROLLBACK
# too; there the answer is read. It's read before a cursor is made, too: a server-side one, and `stream()`, look for a
# pipeline before they come to wait. psycopg's own pipeline is no way to have this: Django needs each one's row count.
#
# What is sent at any other time than within a transaction that is well, goes the ordinary way. So does what somebody
# looks at: with DEBUG, with assertNumQueries, with execute_wrapper.

# Note [A prepared INSERT]
# To plan the statement takes PostgreSQL longer than to run it, so a session that sends it again and again prepares it,
# if that may be. (See Note [Whose session it is].) Should it be gone nevertheless (DISCARD ALL, say), one transaction
# fails by that; this process prepares none there from then on.

import logging
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import errors, generators, pq

from django_events_sourcing.prepared_statements import may_prepare, tell_error

__all__ = ["allow", "is_possible", "send"]

# Whose classes of cursors are known to do nothing more.
_MAKERS = {"django", "psycopg"}

_NAME = b"django_events_sourcing_insert"

# How often a session is to send it before it's prepared. PostgreSQL keeps no plan before that either.
_THRESHOLD = 5

logger = logging.getLogger(__name__)

_NOTE = "This is the answer to the INSERT of an event, which was sent before the statement that failed with it."


@dataclass(slots=True)
class _Flight:
    """What is in flight in a session.

    Attributes:
        using: Alias of the database.
        until_prepared: How often the statement is yet to be sent as it is; 0 where it's prepared.
        syncs: How many answers are awaited.
        has_commit: Whether the last of them is a COMMIT's.
        failure: The first answer that tells of an error, and whether it's the INSERT's.
    """

    using: str
    until_prepared: float
    syncs: int = 0
    has_commit: bool = False
    failure: tuple[pq.abc.PGresult, bool] | None = None


class _Session(psycopg.Connection[Any]):
    """A session in which statements may be in flight."""

    flight: _Flight

    @property
    def adapters(self) -> Any:
        """psycopg's, which each cursor asks for as it's made."""
        if self.flight.syncs:
            with self.lock:
                self.settle()
        return super().adapters

    def wait(self, *args: Any, **kwargs: Any) -> Any:
        """psycopg's, after what is in flight."""
        if self.flight.syncs or self.flight.failure:
            self.settle()
        return super().wait(*args, **kwargs)

    def commit(self) -> None:
        """psycopg's, by one wait with what is in flight."""
        with self.lock:
            # Where psycopg says no to a COMMIT, in its own transaction() and by two phases, it's to say so itself.
            is_forbidden = getattr(self, "_num_transactions", True) or getattr(self, "_tpc", True)
            if self.flight.syncs and not is_forbidden:
                self.pgconn.send_query_params(b"COMMIT", None)
                self.pgconn.pipeline_sync()
                self.flight.syncs += 1
                self.flight.has_commit = True
                self.settle()
                return
        super().commit()

    def rollback(self) -> None:
        """psycopg's; whatever became of what is in flight."""
        with self.lock:
            try:
                self.settle()
            except psycopg.Error:
                logger.debug("An event's INSERT failed, in a transaction that is rolled back.", exc_info=True)
        super().rollback()

    def settle(self) -> None:
        """Read the answers to what is in flight.

        Raises:
            psycopg.Error: It failed.
        """
        flight = self.flight
        if flight.syncs:
            super().wait(self._answers())
        if flight.failure is None:
            return
        (result, is_events), flight.failure = flight.failure, None
        exc = errors.error_from_result(result, encoding="utf-8")
        if is_events:
            exc.add_note(_NOTE)
            flight.until_prepared = math.inf  # it may be that nothing was prepared, or it is prepared no more
            tell_error(flight.using, exc.sqlstate)
        raise exc

    def _answers(self) -> Generator[Any, Any, None]:
        """psycopg's way to wait: a generator. What is interrupted goes on with a new one."""
        flight, pgconn = self.flight, self.pgconn
        yield from generators.send(pgconn)
        while flight.syncs:
            results = yield from generators.fetch_many(pgconn)
            if not results:
                raise psycopg.OperationalError("the connection is lost")
            for result in results:
                if result.status == pq.ExecStatus.PIPELINE_SYNC:
                    flight.syncs -= 1
                elif result.status != pq.ExecStatus.COMMAND_OK and flight.failure is None:
                    flight.failure = result, flight.syncs > flight.has_commit
        flight.has_commit = False
        pgconn.exit_pipeline_mode()


def is_possible(connection: BaseDatabaseWrapper) -> bool:
    """Whether ``allow`` is yet to be called for the session that ``connection`` has now, and may be.

    Not for one that somebody has wrapped, or derived, or given cursors of theirs: they may trace or count what is sent.
    Nor with a libpq before that of PostgreSQL 14, which has no pipelines.
    """
    session: Any = connection.connection
    return (
        type(session) is psycopg.Connection
        and session.cursor_factory.__module__.partition(".")[0] in _MAKERS
        and psycopg.Pipeline.is_supported()
    )


def allow(connection: BaseDatabaseWrapper, pid: int) -> None:
    """Let statements be in flight in the session that ``connection`` has now.

    Args:
        connection: One for which it's possible.
        pid: What PostgreSQL calls the process of the session.
    """
    session: Any = connection.connection
    prepares = session.info.backend_pid == pid and may_prepare(connection)
    session.flight = _Flight(connection.alias, _THRESHOLD if prepares else math.inf)
    session.__class__ = _Session


def send(connection: BaseDatabaseWrapper, statement: bytes, values: Sequence[object]) -> bool:
    """Send a statement that returns no rows. See Note [A statement in flight].

    Args:
        connection: Within a transaction.
        statement: With ``$1`` and so on for the values; always the same one for a database.
        values: What is told to PostgreSQL as a string.

    Returns:
        False if it has to go the ordinary way; then nothing was sent.

    Raises:
        django.db.Error: The session is lost, or the one that was in flight failed.
    """
    session = connection.connection
    if (
        type(session) is not _Session
        or not connection.in_atomic_block
        or connection.needs_rollback
        or connection.queries_logged
        or connection.execute_wrappers
    ):
        return False
    told = [str(value).encode() for value in values]
    if b"\0" in b"".join(told):  # there is no way to say it; psycopg tells so
        return False
    with connection.wrap_database_errors, session.lock:
        session.settle()
        pgconn, flight = session.pgconn, session.flight
        if pgconn.transaction_status != pq.TransactionStatus.INTRANS or pgconn.pipeline_status:
            return False
        pgconn.enter_pipeline_mode()
        if not flight.until_prepared:
            pgconn.send_query_prepared(_NAME, told)
        else:
            flight.until_prepared -= 1
            if flight.until_prepared:
                pgconn.send_query_params(statement, told)
            else:
                pgconn.send_prepare(_NAME, statement)
                pgconn.send_query_prepared(_NAME, told)
        flight.syncs = 1
        pgconn.pipeline_sync()  # what the socket doesn't take now is sent when it is waited for
    return True
