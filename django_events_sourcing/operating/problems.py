"""What went wrong with databases that several are asked of: one's trouble keeps none of the others from their turn."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import Error

from django_events_sourcing.exceptions import EventsSourcingError
from django_events_sourcing.outbox.tables import has_tables, outbox_databases
from django_events_sourcing.texts import without_passwords
from django_events_sourcing.types import Alias

__all__ = ["Problems", "databases_with_tables"]


class Problems(list[str]):
    """What went wrong, a line each.

    Attributes:
        by_database: The last one of each.
    """

    def __init__(self) -> None:
        super().__init__()
        self.by_database: dict[Alias, str] = {}

    def copied(self) -> "Problems":
        """The same, to be added to by itself."""
        other = Problems()
        other += self
        other.by_database |= self.by_database
        return other

    @contextmanager
    def reported(self, alias: Alias) -> Iterator[None]:
        """Have what goes wrong within it be one of the problems."""
        try:
            yield
        except EventsSourcingError as exc:
            self.report(alias, str(exc))
        except Error as exc:
            self.report(alias, f"Database {alias!r} cannot be asked: {without_passwords(' '.join(str(exc).split()))}")

    def report(self, alias: Alias, problem: str) -> None:
        """Have that be one of them."""
        self.append(problem)
        self.by_database[alias] = problem


def databases_with_tables(problems: Problems) -> Iterator[Alias]:
    """Aliases of the databases that have the outbox's tables; what goes wrong is one of the problems."""
    for alias in outbox_databases():
        with problems.reported(alias):
            if has_tables(alias):
                yield alias
