"""Asking several databases at once, any of which may not answer."""

# Note [A database that does not answer]
# A probe must be answered within two seconds, and a database that hangs may keep whoever asks it for minutes. So a
# thread asks, by a connection of its own, and is left behind where that takes too long; until it is back nobody else
# asks the same. Within a transaction, as in a test case, the question is asked directly: nobody else sees what was
# written there.

import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Generic, TypeVar

from django.db import connections

from django_events_sourcing.types import Alias

__all__ = ["ask_each"]

_Answer = TypeVar("_Answer")


def ask_each(
    aliases: Iterable[Alias], question: Callable[[Alias], _Answer], within: float
) -> dict[Alias, _Answer | datetime]:
    """What each database answers, or since when it has not.

    Args:
        aliases: Of the databases.
        question: Takes an alias; it handles its errors itself. It is known by its name, for what was left behind.
        within: How long it may take, for all together, in seconds.
    """
    answers: dict[Alias, _Answer | datetime] = {}
    asking: dict[Alias, _Asking[_Answer]] = {}
    aliases = list(aliases)
    for alias in aliases:
        if connections[alias].in_atomic_block:
            answers[alias] = question(alias)
        else:
            asking[alias] = _asked(alias, question)
    ends = monotonic() + within
    for alias, each in asking.items():
        answers[alias] = each.answer(max(0.0, ends - monotonic()))
    return {alias: answers[alias] for alias in aliases}


class _Asking(Generic[_Answer]):
    """A thread that asks a database."""

    def __init__(self, alias: Alias, question: Callable[[Alias], _Answer]) -> None:
        self._alias = alias
        self._question = question
        self._began = datetime.now(UTC)
        self._answers: list[_Answer] = []
        self.thread = threading.Thread(target=self._run, name=f"events-asking-{alias}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._answers.append(self._question(self._alias))
        finally:
            connections[self._alias].close()

    def answer(self, within: float) -> _Answer | datetime:
        self.thread.join(within)
        return self._answers[0] if self._answers else self._began


# The last of each question to each database: those that were left behind are among them.
_last: dict[tuple[str, str, Alias], _Asking[Any]] = {}


def _asked(alias: Alias, question: Callable[[Alias], _Answer]) -> _Asking[_Answer]:
    key = question.__module__, getattr(question, "__qualname__", ""), alias
    before = _last.get(key)
    if before is None or not before.thread.is_alive():
        _last[key] = _Asking(alias, question)
    return _last[key]
