"""``manage.py events``: what an operator asks of the outbox."""

import os
import sys
from argparse import SUPPRESS, ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, connections

from django_events_sourcing.exceptions import EventsSourcingError
from django_events_sourcing.management.subcommands import SUBCOMMANDS
from django_events_sourcing.management.subcommands.base import Subcommand
from django_events_sourcing.operating.problems import Problems, databases_with_tables
from django_events_sourcing.outbox.identity import one_of_each_outbox
from django_events_sourcing.outbox.tables import missing_tables, outbox_databases


class Command(BaseCommand):
    """Each thing to do is a subcommand."""

    help = "Look at the outbox, and work on it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Those of each subcommand."""
        subparsers = parser.add_subparsers(dest="subcommand", required=True)
        for subcommand in SUBCOMMANDS:
            subparser = subparsers.add_parser(subcommand.name, help=subcommand.help, description=subcommand.help)
            subparser.add_argument("--database", metavar="ALIAS", help="That database only.")
            subcommand.add_arguments(subparser)
            for flags, kwargs in self._base_arguments:  # whose defaults must not undo what stands before it
                subparser.add_argument(*flags, **(kwargs | {"default": SUPPRESS}))

    def add_base_argument(self, parser: CommandParser, *args: Any, **kwargs: Any) -> None:
        """Django's own options, which are taken after the subcommand, too."""
        self._base_arguments.append((args, kwargs))
        super().add_base_argument(parser, *args, **kwargs)

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """One whose errors are ``CommandError``, in place of argparse's usage text and exit code 2."""
        self._called_from_command_line = False
        self._base_arguments: list[tuple[tuple[str, ...], dict[str, Any]]] = []
        return super().create_parser(prog_name, subcommand, **kwargs)

    def run_from_argv(self, argv: list[str]) -> None:
        """Django's own, which leaves the parser's errors to argparse, and a reader that has gone to a traceback."""
        try:
            super().run_from_argv(argv)
            sys.stdout.flush()
        except CommandError as exc:
            self.stderr.write(str(exc))
            sys.exit(exc.returncode)
        except BrokenPipeError:
            # https://docs.python.org/3/library/signal.html#note-on-sigpipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Django's own, which ends with an error where the checks find one: an examination has that as a finding."""
        if _chosen(options["subcommand"]).is_examination:
            options["skip_checks"] = True
        return super().execute(*args, **options)

    def handle(self, *, subcommand: str, database: str | None, **options: Any) -> None:
        """Do it in each database; one that can't be reached keeps none of the others from their turn.

        Raises:
            CommandError: Something went wrong, in one line for each.
        """
        if database is not None and database not in connections:
            raise CommandError(f"DATABASES has no {database!r}; it has {', '.join(connections)}.")
        problems = Problems()
        chosen = _chosen(subcommand)
        if database:
            aliases = [database]
        else:
            aliases = (
                outbox_databases() if chosen.is_examination else one_of_each_outbox(databases_with_tables(problems))
            )
        if not (aliases or problems):
            raise CommandError(missing_tables(DEFAULT_DB_ALIAS))
        try:
            chosen(self.stdout, aliases, problems, is_plain=options["no_color"]).run(options)
        except EventsSourcingError as exc:
            problems.append(str(exc))
        if problems:
            raise CommandError("\n".join(problems))


def _chosen(subcommand: str) -> type[Subcommand]:
    (chosen,) = (each for each in SUBCOMMANDS if each.name == subcommand)
    return chosen
