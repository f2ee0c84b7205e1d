"""Logging what comes again and again."""

import logging
from time import monotonic

from django_events_sourcing.texts import without_passwords

__all__ = ["log_once"]

_PAUSE = 60.0

# When each was last logged, by what it is about: its text may hold numbers that are never the same.
_last_logged: dict[tuple[str, ...], float] = {}


def log_once(logger: logging.Logger, level: int, about: tuple[str, ...], problem: object) -> None:
    """Log a problem, unless one that is about the same was within the last minute, by this process.

    Args:
        logger: Whose it is.
        level: As of ``logging``.
        about: What it is about: of a few values, such as the alias of a database and the class of an error.
        problem: Its text. Control characters and the passwords of URIs in it are made harmless.
    """
    if monotonic() - _last_logged.get(about, -_PAUSE) >= _PAUSE:
        _last_logged[about] = monotonic()
        logger.log(level, "%s (Logged once a minute at most.)", without_passwords(problem))
