"""``events show``."""

import json
from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from rich.table import Table

from django_events_sourcing.management.subcommands.base import Subcommand
from django_events_sourcing.operating.inspection import EventState, facts, inspect
from django_events_sourcing.types import Alias

__all__ = ["ShowSubcommand"]


# How much of a body is shown, in characters.
_SHOWN = 10_000


class ShowSubcommand(Subcommand):
    """One event."""

    name = "show"
    help = "One event: its state, what it waits for, and what it holds."

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """Which one."""
        parser.add_argument("id", type=UUID, metavar="ID", help="Id of the event, as in logs and messages.")
        parser.add_argument("--body", action="store_true", help="Its body alone, as it is published.")

    def run(self, options: dict[str, Any]) -> None:
        """Show it, from whichever database has it."""
        characters = None if options["body"] else _SHOWN
        alias, state = self.first(lambda alias: inspect(alias, options["id"], characters=characters))
        if options["body"]:
            self.stdout.write(state.event.body)
            return
        table = Table(title=f"Event {state.event.id}", title_justify="left", show_header=False)
        self.show(table, _facts(alias, state).items())


def _facts(alias: Alias, state: EventState) -> dict[str, str | list[str]]:
    event = state.event
    body: str | list[str] = event.body
    if left_out := state.body_length - len(event.body):
        body = [event.body, f"… and {left_out:,} characters more: --body prints all of it"]
    headers = {"headers": json.dumps(dict(event.headers), ensure_ascii=False)} if event.headers else {}
    return {**facts(alias, state), **headers, "body": body}
