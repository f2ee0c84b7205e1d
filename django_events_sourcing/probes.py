"""What probes are answered, in a web process and in a worker."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django_events_sourcing.types import Alias

__all__ = ["Problem", "answer"]


@dataclass(frozen=True)
class Problem:
    """What keeps events from being saved, or from flowing.

    Attributes:
        database: The alias of the database; None if it is none's.
        problem: What it is: no payload, no host, no name of a user.
        since: When it began, None if that is not known.
    """

    database: Alias | None
    problem: str
    since: datetime | None = None

    def __str__(self) -> str:
        where = f"Database {self.database!r}: " if self.database else ""
        since = f", since {self.since.isoformat(timespec='seconds')}" if self.since else ""
        return f"{where}{self.problem}{since}"


def answer(found: Mapping[str, Collection[Problem]]) -> tuple[int, dict[str, Any]]:
    """The HTTP status, 200 or 503, and what is said as JSON.

    Args:
        found: By what was asked, what is wrong.
    """
    is_well = not any(found.values())
    body = {"status": _status(is_well=is_well), **{name: _as_json(those) for name, those in found.items()}}
    return (200 if is_well else 503), body


def _as_json(those: Collection[Problem]) -> dict[str, Any]:
    return {
        "status": _status(is_well=not those),
        "problems": [
            {"database": each.database, "problem": each.problem, "since": each.since and each.since.isoformat()}
            for each in those
        ],
    }


def _status(*, is_well: bool) -> str:
    return "ok" if is_well else "failing"
