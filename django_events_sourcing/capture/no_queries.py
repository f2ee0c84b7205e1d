"""Where the database is not to be asked."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django.db import connections

__all__ = ["DatabaseAskedError", "without_queries"]


class DatabaseAskedError(Exception):
    """Something wants a query, or a connection, where none is to be made."""


@contextmanager
def without_queries() -> Iterator[None]:
    """Within it each query of this thread raises, before any database sees it; in ``connection.queries`` are none."""

    def refuse(*_statement: Any) -> None:
        raise DatabaseAskedError

    open_ones = connections.all(initialized_only=True)
    logged = [len(connection.queries_log) for connection in open_ones]
    with ExitStack() as stack:
        for connection in open_ones:
            stack.enter_context(connection.execute_wrapper(refuse))
        try:
            yield
        finally:
            for connection, number in zip(open_ones, logged, strict=True):
                while len(connection.queries_log) > number:
                    connection.queries_log.pop()
