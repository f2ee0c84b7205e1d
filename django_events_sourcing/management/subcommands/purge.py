"""``events purge``."""

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django_events_sourcing.management.subcommands.base import Subcommand, number
from django_events_sourcing.operating.purge import purge_now
from django_events_sourcing.types import Alias

__all__ = ["PurgeSubcommand"]


class PurgeSubcommand(Subcommand):
    """What a worker does once a minute."""

    name = "purge"
    help = "Delete published events that are older than RETENTION, now; never what is pending or dead."

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """How old."""
        help_text = "In place of RETENTION: delete what was published and is older than so many days."
        parser.add_argument("--older-than", type=_days, metavar="DAYS", help=help_text)

    def run(self, options: dict[str, Any]) -> None:
        """Purge each database."""
        days = options["older_than"]
        retention = None if days is None else days * 24 * 3600

        def purge(alias: Alias, stopping: Callable[[], bool]) -> None:
            purged = purge_now(alias, retention, stopping=stopping)
            self.stdout.write(f"Database {alias!r}: {purged} events deleted.")

        self.in_each(purge, "what was deleted is deleted, the rest is for the next purge")


def _days(text: str) -> float:
    return number(text, may_be_zero=True)
