"""``events bury``."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django_events_sourcing.management.subcommands.arguments import add_by, text
from django_events_sourcing.management.subcommands.base import Subcommand
from django_events_sourcing.operating.inspection import inspect
from django_events_sourcing.operating.operations import bury
from django_events_sourcing.operating.performing import Request, note

__all__ = ["BurySubcommand"]


class BurySubcommand(Subcommand):
    """An event that is given up."""

    name = "bury"
    help = "Take an event out of the way of the later ones of its object, as dead: kept, not published."

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """Which one, and why."""
        parser.add_argument("--id", type=UUID, required=True, metavar="ID", help="Id of the event.")
        parser.add_argument(
            "--why", type=text, required=True, metavar="TEXT", help="Kept with it, for whoever looks at it next."
        )
        add_by(parser)

    def run(self, options: dict[str, Any]) -> None:
        """Bury it, in whichever database has it."""
        alias, state = self.first(lambda alias: inspect(alias, options["id"], characters=1))
        with self.problems.reported(alias):
            bury(alias, options["id"], options["why"], options["by"])
            note(alias, Request("bury", f"event {state.event.label}", options["by"], options["why"]), 1)
            self.stdout.write(f"Event {state.event.label} is buried.")
