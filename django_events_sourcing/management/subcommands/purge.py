"""``events purge``."""

import math
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django_events_sourcing.conf import get_settings
from django_events_sourcing.management.subcommands.base import Subcommand, stop_at_signals
from django_events_sourcing.purge import purge_now

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
        with stop_at_signals() as stopping:
            for alias in self.aliases:
                with self.problems.told(alias):
                    settings = get_settings()
                    retention = settings.retention if days is None else days * 24 * 3600
                    purged = purge_now(alias, settings, retention, stopping)
                    self.stdout.write(f"Database {alias!r}: {purged} events deleted.")
                if stopping():
                    self.problems.append("Stopped; what was deleted is deleted, the rest is for the next purge.")
                    return


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = math.nan
    if not 0 <= days < math.inf:
        raise ArgumentTypeError(f"{text!r} is not a number of days")
    return days
