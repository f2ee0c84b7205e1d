"""``events replay``."""

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from django_events_sourcing.conf import get_settings
from django_events_sourcing.management.subcommands.arguments import add_by, add_criteria, moment, positive
from django_events_sourcing.management.subcommands.base import Subcommand
from django_events_sourcing.operating.performing import Request, note
from django_events_sourcing.operating.replay import Replayable, Selection, preview, replay, unknown
from django_events_sourcing.outbox.clock import from_microseconds
from django_events_sourcing.texts import counted
from django_events_sourcing.types import Alias

__all__ = ["ReplaySubcommand"]

# From so many on, it asks first.
_MANY = 1000

# How many events a dry run names.
_SHOWN = 20


class ReplaySubcommand(Subcommand):
    """Events once more."""

    name = "replay"
    help = "Publish published or dead events of the log once more, marked as replayed. All that is given must apply."

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """Which ones, and how."""
        parser.add_argument("--id", type=UUID, action="append", metavar="ID", help="That one; may be given often.")
        parser.add_argument(
            "--dead", dest="state", action="store_const", const="dead", help="Dead events only, not buried ones."
        )
        add_criteria(parser)
        parser.add_argument("--until", type=moment, metavar="TIME", help="Events before that time; ISO 8601.")
        parser.add_argument("--queue", metavar="NAME", help="Into that queue of one consumer's alone.")
        parser.add_argument("--rate", type=positive, metavar="N", help="At most so many in a second.")
        parser.add_argument("--dry-run", action="store_true", help="Show what would be replayed, and do nothing.")
        parser.add_argument("--no-input", action="store_true", help=f"Do not ask before more than {_MANY:,}.")
        add_by(parser)

    def run(self, options: dict[str, Any]) -> None:
        """Replay from one database after the other."""
        selection = _selection(options)
        counts: dict[str, int] = {}
        shown: list[tuple[str, Replayable]] = []
        missing = set(selection.ids)
        for alias in self.aliases:
            with self.problems.reported(alias):
                counts[alias], first = preview(alias, selection, _SHOWN - len(shown))
                shown += [(alias, event) for event in first]
                missing &= unknown(alias, selection.ids)
        if missing:
            raise CommandError("\n".join([*self.problems, f"No log has {_named(missing)}; nothing was done."]))
        total = sum(counts.values())
        if options["dry_run"]:
            self._show(total, shown)
            return
        if options["queue"] is not None:
            _check_queue(options["queue"])
        if total > _MANY and not options["no_input"]:
            self.confirm(f"{counted(total, 'event')} will be published once more")

        def replay_one(alias: Alias, stopping: Callable[[], bool]) -> None:
            replayed = 0
            try:
                with self.progress(alias, counts[alias]) as advance:
                    for portion in replay(alias, selection, to_queue=options["queue"], rate=options["rate"]):
                        replayed += portion
                        advance(portion)
                        if stopping():
                            break
            finally:
                note(alias, Request("replay", _what(replayed, options), options["by"]), replayed)
                self.stdout.write(
                    f"Database {alias!r}: {counted(replayed, 'event')} back in the queue, to be published once more."
                )

        self.aliases = list(counts)  # those that could be asked
        self.in_each(replay_one, "what was put back is in the queue, the rest is not")

    def _show(self, total: int, shown: list[tuple[str, Replayable]]) -> None:
        for alias, event in shown:
            when = from_microseconds(event.time).isoformat(timespec="seconds")
            self.show_event(event.event_id, [f"{event.name}, database {alias!r}", f"{event.object}, {when}"])
        more = f" The first {len(shown)} are shown." if total > len(shown) else ""
        self.stdout.write(f"{counted(total, 'event')} would be published once more.{more}")


def _what(replayed: int, options: dict[str, Any]) -> str:
    given = {**_given(options), "queue": options["queue"]}
    ids = options["id"] or []
    if len(ids) == 1:
        given["id"] = ids[0]
    return ", ".join([counted(replayed, "event"), *(f"{name} {value}" for name, value in given.items() if value)])


def _given(options: dict[str, Any]) -> dict[str, Any]:
    names = ("state", "service", "name", "model", "object", "since", "until")
    return {name: options[name] for name in names if options[name]}


def _selection(options: dict[str, Any]) -> Selection:
    criteria = _given(options)
    if ids := options["id"]:
        criteria["ids"] = frozenset(ids)
    if not criteria:
        raise CommandError(
            "Say what to replay: --id, --dead, --service, --name, --model, --object, --since or --until."
        )
    return Selection(**criteria)


def _check_queue(name: str) -> None:
    from django_events_sourcing.tasks.publisher import has_queue  # noqa: PLC0415 - it loads nameko

    if not has_queue(get_settings(), name):
        raise CommandError(f"RabbitMQ has no queue {name!r}; nothing was done.")


def _named(ids: set[UUID]) -> str:
    first, *others = sorted(map(str, ids))
    return f"an event {first}" + (f", nor {counted(len(others), 'other')} of those ids" if others else "")
