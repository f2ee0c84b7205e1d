"""``events list``."""

from argparse import ArgumentParser, ArgumentTypeError
from dataclasses import asdict
from json import dumps
from typing import Any

from django_events_sourcing.management.subcommands.arguments import add_criteria
from django_events_sourcing.management.subcommands.base import Subcommand
from django_events_sourcing.operating.listing import ListedEvent, Selection, list_events
from django_events_sourcing.texts import brief, counted
from django_events_sourcing.types import Alias

__all__ = ["ListSubcommand"]

# How many events it lists, if nothing is said.
_LIMIT = 20

# Those that may be asked for.
_STATES = {
    "dead": "Dead events only.",
    "pending": "Pending events only, refused ones among them.",
    "refused": "Refused events only: pending, and to be tried again.",
    "buried": "Buried events only.",
}

# What to do next, by the state of an event.
_NEXT = {
    "dead": (
        "after the repair, `manage.py events replay --id ID` publishes it; `manage.py events bury "
        "--id ID --why TEXT` gives it up"
    ),
    "refused": "it is tried again by itself; `manage.py events show ID` says when",
    "pending": "`manage.py events show ID` says what it waits for",
    "buried": "`manage.py events replay --id ID` brings it back; `manage.py events purge --buried` deletes all of them",
    "published": "`manage.py events replay --id ID` publishes it once more",
}


class ListSubcommand(Subcommand):
    """Events, with what became of them."""

    name = "list"
    help = "Events with their ids, errors, and what to do next: the latest, or of those that are pending the first."

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """Which ones."""
        states = parser.add_mutually_exclusive_group()
        for state, which in _STATES.items():
            states.add_argument(f"--{state}", dest="state", action="store_const", const=state, help=which)
        add_criteria(parser)
        parser.add_argument(
            "--limit", type=_limit, metavar="N", default=_LIMIT, help=f"At most so many of each database; {_LIMIT}."
        )
        parser.add_argument("--json", action="store_true", help="As JSON.")

    def run(self, options: dict[str, Any]) -> None:
        """List those of one database after the other."""
        criteria = ("state", "service", "name", "model", "object", "since")
        selection = Selection(**{key: options[key] for key in criteria})
        found: dict[Alias, list[ListedEvent]] = {}
        for alias in self.aliases:
            with self.problems.reported(alias):
                found[alias] = list_events(alias, selection, options["limit"] + 1)
        shown = {alias: events[: options["limit"]] for alias, events in found.items()}
        if options["json"]:
            self.stdout.write(dumps(self._as_json(shown), indent=2, default=str))
            return
        for alias, events in shown.items():
            self._show(alias, events, are_more=len(found[alias]) > len(events), limit=options["limit"])
        states = {event.state for events in shown.values() for event in events}
        for state in (state for state in _NEXT if state in states):
            self.say(f"{state}: {_NEXT[state]}.")

    def _show(self, alias: Alias, events: list[ListedEvent], *, are_more: bool, limit: int) -> None:
        if not events:
            self.say(f"Database {alias!r} has no such event.")
            return
        if len(self.aliases) > 1:
            self.say(f"Database {alias!r}:")
        for event in events:
            self.show_event(event.id, _lines(event))
        if are_more:
            self.say(f"There are more than {limit:,}: --limit N shows so many.")
        self.stdout.write("")

    def _as_json(self, found: dict[Alias, list[ListedEvent]]) -> dict[str, Any]:
        return {
            "events": [
                {"database": alias, **asdict(event), "next": _NEXT[event.state].replace("ID", str(event.id))}
                for alias, events in found.items()
                for event in events
            ],
            "errors": self.problems.by_database,
        }


def _lines(event: ListedEvent) -> list[str]:
    lines = [
        f"{event.state}: {brief(event.name)} of {brief(event.service)}",
        f"{brief(event.object)}, {event.time.isoformat(timespec='seconds')}",
    ]
    if event.attempts:
        lines.append(f"refused {counted(event.attempts, 'time')}: {event.error}")
    if event.buried_why or event.buried_by:
        lines.append(f"buried by {event.buried_by or 'somebody'}: {event.buried_why}")
    return lines


def _limit(text: str) -> int:
    if not (text.isdecimal() and int(text)):
        raise ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
