"""Writes whose events are seen to: they are noted here for as long as somebody looks for those that bypass the library.

While nobody does, nothing is noted.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

__all__ = ["accounted", "bare_name", "is_accounted", "is_watched", "watch"]

_tables: ContextVar[frozenset[str]] = ContextVar("django_events_sourcing_accounted", default=frozenset())
_watched = False


def watch(is_on: bool) -> None:
    """Begin to note such writes, or end it."""
    global _watched  # noqa: PLW0603
    _watched = is_on


def is_watched() -> bool:
    """Whether somebody looks."""
    return _watched


def accounted(*tables: str) -> AbstractContextManager[Any]:
    """Within it, this thread or async task may write to the tables, which are called as by ``db_table``."""
    return _noted(tables) if _watched else _NOTHING


_NOTHING: AbstractContextManager[Any] = nullcontext()


@contextmanager
def _noted(tables: tuple[str, ...]) -> Iterator[None]:
    token = _tables.set(_tables.get() | set(map(bare_name, tables)))
    try:
        yield
    finally:
        _tables.reset(token)


def is_accounted(table: str) -> bool:
    """Whether what is written to a table, by its bare name, now has its event, or is not to have one."""
    return table in _tables.get()


def bare_name(table: str) -> str:
    """Of a table, in lower case, without quotes and a schema before it."""
    return table.rpartition(".")[2].strip('"`').lower()
