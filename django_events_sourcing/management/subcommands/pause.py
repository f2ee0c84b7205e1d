"""``events pause`` and ``events resume``."""

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django_events_sourcing.management.subcommands.arguments import add_by, text
from django_events_sourcing.management.subcommands.base import Subcommand
from django_events_sourcing.operating.operations import ALL, WITHOUT_DELAY, named_partitions, pause, resume
from django_events_sourcing.operating.performing import Request, note
from django_events_sourcing.types import Alias

__all__ = ["PauseSubcommand", "ResumeSubcommand"]


class _PartitionsSubcommand(Subcommand):
    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """All partitions, or some."""
        help_text = "That partition only; may be given several times."
        parser.add_argument("--partition", type=int, action="append", metavar="NUMBER", help=help_text)
        add_by(parser)


class PauseSubcommand(_PartitionsSubcommand):
    """An operator's stop."""

    name = "pause"
    help = "Publish nothing until `resume`; returns when nothing is on its way any more."

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """And what to tell those who wonder."""
        super().add_arguments(parser)
        parser.add_argument("--why", type=text, metavar="TEXT", help="Shown to whoever wonders.")

    def run(self, options: dict[str, Any]) -> None:
        """Pause each database."""
        numbers = options["partition"] or ALL

        def pause_one(alias: Alias, stopping: Callable[[], bool]) -> None:
            has_ended = pause(alias, numbers, why=options["why"] or "", who=options["by"], stopping=stopping)
            note(alias, Request("pause", named_partitions(numbers), options["by"], options["why"] or ""))
            if has_ended:
                self.stdout.write(f"Database {alias!r}: {_named(numbers)} paused.")
            elif not stopping():
                self.problems.append(
                    f"Database {alias!r}: {_named(numbers)} paused, but a relay is still at work on its last turn; "
                    "`manage.py events status` shows for how long."
                )

        self.in_each(pause_one, "what is paused by now stays so; a relay may still be at work on its last turn")


class ResumeSubcommand(_PartitionsSubcommand):
    """The end of a pause, or of a backoff."""

    name = "resume"
    help = "Publish again, after `pause`; with --now, also what waits after trouble."

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """And whether to wait no longer after trouble."""
        super().add_arguments(parser)
        parser.add_argument("--now", action="store_true", help="Also what waits after trouble, without its delay.")

    def run(self, options: dict[str, Any]) -> None:
        """Resume each database."""
        numbers = options["partition"] or ALL
        for alias in self.aliases:
            with self.problems.reported(alias):
                resume(alias, numbers, now=options["now"])
                what = named_partitions(numbers) + (WITHOUT_DELAY if options["now"] else "")
                note(alias, Request("resume", what, options["by"]))
                self.stdout.write(f"Database {alias!r}: {_named(numbers)} resumed.")


def _named(numbers: Any) -> str:
    return f"{named_partitions(numbers)} {'is' if len(numbers) == 1 else 'are'}"
