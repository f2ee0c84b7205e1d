"""``events replay``."""

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from datetime import datetime, time
from typing import Any
from uuid import UUID

from django.apps import apps
from django.core.management.base import CommandError
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from rich.table import Table

from django_events_sourcing.capture.stored import concrete_model
from django_events_sourcing.conf import get_settings
from django_events_sourcing.management.subcommands.base import Subcommand, number
from django_events_sourcing.operating.replay import Replayable, Selection, preview, replay, unknown
from django_events_sourcing.outbox.clock import from_microseconds
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
        parser.add_argument("--dead", action="store_true", help="Dead events only; buried ones are left out.")
        parser.add_argument("--model", type=_model, metavar="APP.MODEL", help="Events about objects of that model.")
        parser.add_argument("--object", metavar="APP.MODEL:PK", help="Events about that object.")
        parser.add_argument("--since", type=_moment, metavar="TIME", help="Events of that time and later; ISO 8601.")
        parser.add_argument("--until", type=_moment, metavar="TIME", help="Events before that time; ISO 8601.")
        parser.add_argument("--queue", metavar="NAME", help="Into that queue of one consumer's alone.")
        parser.add_argument("--rate", type=_rate, metavar="N", help="At most so many in a second.")
        parser.add_argument("--dry-run", action="store_true", help="Show what would be replayed, and do nothing.")
        parser.add_argument("--no-input", action="store_true", help=f"Don't ask before more than {_MANY:,}.")

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
            self._ask(total)

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
                self.stdout.write(f"Database {alias!r}: {replayed} events are to be published once more.")

        self.aliases = list(counts)  # those that could be asked
        self.in_each(replay_one, "what was put back is published, the rest is not")

    def _ask(self, total: int) -> None:
        self.stdout.write(f"{total:,} events will be published once more. Type 'yes' to go on: ", ending="")
        self.stdout.flush()
        try:
            answer = input()
        except EOFError:
            raise CommandError("Nobody is there to say yes: give --no-input, or a narrower selection.") from None
        if answer.strip().lower() != "yes":
            raise CommandError("Nothing was done.")

    def _show(self, total: int, shown: list[tuple[str, Replayable]]) -> None:
        table = Table("database", "id", "event", "object", "time")
        if shown:
            self.show(table, (_row(alias, event) for alias, event in shown))
        more = f" The first {len(shown)} are shown." if total > len(shown) else ""
        self.stdout.write(f"{total} events would be published once more.{more}")


def _row(alias: Alias, event: Replayable) -> tuple[str, ...]:
    when = from_microseconds(event.time).isoformat(timespec="seconds")
    return alias, str(event.event_id), event.name, event.object, when


def _selection(options: dict[str, Any]) -> Selection:
    criteria = {key: options[key] for key in ("dead", "model", "object", "since", "until") if options[key]}
    if ids := options["id"]:
        criteria["ids"] = frozenset(ids)
    if not criteria:
        raise CommandError("Say what to replay: --id, --dead, --model, --object, --since or --until.")
    return Selection(**criteria)


def _check_queue(name: str) -> None:
    from django_events_sourcing.tasks.publisher import has_queue  # noqa: PLC0415 - it loads nameko

    if not has_queue(get_settings(), name):
        raise CommandError(f"RabbitMQ has no queue {name!r}; nothing was done.")


def _model(label: str) -> str:
    try:
        return str(concrete_model(apps.get_model(label))._meta.label_lower)
    except (LookupError, ValueError):
        raise ArgumentTypeError(f"no installed app has a model {label!r}") from None


def _moment(text: str) -> datetime:
    try:
        moment = parse_datetime(text)
        if moment is None and (day := parse_date(text)):
            moment = datetime.combine(day, time())
    except ValueError:
        moment = None
    if moment is None:
        raise ArgumentTypeError(f"{text!r} is no time like 2026-01-31 or 2026-01-31T12:00:00+01:00")
    return timezone.make_aware(moment, timezone.get_default_timezone()) if timezone.is_naive(moment) else moment


def _rate(text: str) -> float:
    return number(text, may_be_zero=False)


def _named(ids: set[UUID]) -> str:
    first, *others = sorted(map(str, ids))
    return f"an event {first}" + (f", nor {len(others)} others of those ids" if others else "")
