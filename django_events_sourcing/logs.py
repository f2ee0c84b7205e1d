"""Lines of the log: of what happens again and again, and of many numbers."""

import logging
from collections.abc import Collection, Mapping
from time import monotonic
from typing import Any

from django_events_sourcing.texts import without_passwords

__all__ = ["HOUR", "LOG_PAUSE", "Numbers", "log_once"]

#: Between two lines of the log about the same trouble, in seconds.
LOG_PAUSE = 60.0

#: The same, for what no haste mends, in seconds.
HOUR = 3600.0

# When each was last logged, by what it is about: its text may hold numbers that are never the same.
_last_logged: dict[tuple[str, ...], float] = {}


def log_once(  # noqa: PLR0913
    logger: logging.Logger,
    level: int,
    about: tuple[str, ...],
    problem: object,
    *,
    every: float = LOG_PAUSE,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Log a problem, unless one that is about the same was lately, by this process.

    Args:
        logger: Whose it is.
        level: As of ``logging``.
        about: What it is about: of a few values, such as the alias of a database and the class of an error.
        problem: Its text. Control characters and the passwords of URIs in it are made harmless.
        every: How long no other is logged then: ``LOG_PAUSE`` or ``HOUR``.
        extra: As of ``logging``.
    """
    if monotonic() - _last_logged.get(about, -every) >= every:
        _last_logged[about] = monotonic()
        period = "an hour" if every == HOUR else "a minute"
        logger.log(level, "%s (Logged once %s at most.)", without_passwords(problem), period, extra=extra)


class Numbers:
    """Whole numbers for a line of the log, "3, 5 to 9"; put together only if the line is written.

    Args:
        numbers: In any order.
        to: What stands between the first and the last of some.
    """

    def __init__(self, numbers: Collection[int], to: str = " to ") -> None:
        self._numbers = numbers
        self._to = to

    def __str__(self) -> str:
        spans: list[tuple[int, int]] = []
        for number in sorted(self._numbers):
            if spans and number == spans[-1][1] + 1:
                spans[-1] = spans[-1][0], number
            else:
                spans.append((number, number))
        return ", ".join(str(first) if first == last else f"{first}{self._to}{last}" for first, last in spans) or "none"
