"""``events purge``."""

from argparse import ArgumentParser
from collections.abc import Callable
from functools import partial
from typing import Any

from django_events_sourcing.management.subcommands.arguments import add_by, days
from django_events_sourcing.management.subcommands.base import Subcommand
from django_events_sourcing.operating.performing import Request, note
from django_events_sourcing.operating.purge import count_buried, count_purgeable, purge_buried, purge_now
from django_events_sourcing.texts import counted
from django_events_sourcing.types import Alias

__all__ = ["PurgeSubcommand"]


class PurgeSubcommand(Subcommand):
    """What a worker does once a minute; and what none does, with the buried ones."""

    name = "purge"
    help = (
        "Delete published events that are older than RETENTION, now; never what is pending or dead. With --buried, "
        "those that were buried."
    )

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """Which, how old, and whether to ask."""
        parser.add_argument("--buried", action="store_true", help="Buried events instead, for good.")
        parser.add_argument(
            "--older-than",
            type=days,
            metavar="DAYS",
            help="In place of RETENTION: what is older than so many days; with --buried, has been so for longer.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Say how many there are, and do nothing.")
        parser.add_argument("--no-input", action="store_true", help="Do not ask before.")
        add_by(parser)

    def run(self, options: dict[str, Any]) -> None:
        """Count in each database, ask, and purge each."""
        age = options["older_than"]
        count, purge = partial(count_purgeable, retention=age), partial(purge_now, retention=age)
        kind = "published event"
        if options["buried"]:
            count, purge = partial(count_buried, age=age or 0.0), partial(purge_buried, age=age or 0.0)
            kind = "buried event"
        counts = {}
        for alias in self.aliases:
            with self.problems.reported(alias):
                counts[alias] = count(alias)
        which = counted(sum(counts.values()), kind)
        if options["dry_run"]:
            self.stdout.write(f"{which} would be deleted.")
            return
        if any(counts.values()) and not options["no_input"]:
            self.confirm(f"{which} will be deleted, for good")

        def purge_one(alias: Alias, stopping: Callable[[], bool]) -> None:
            purged = purge(alias, stopping=stopping)
            note(alias, Request("purge", counted(purged, kind), options["by"]), purged)
            self.stdout.write(f"Database {alias!r}: {counted(purged, 'event')} deleted.")

        self.aliases = list(counts)  # those that could be asked
        self.in_each(purge_one, "what was deleted is deleted, the rest is for the next purge")
