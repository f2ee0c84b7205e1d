"""``manage.py events``: what an operator asks of the outbox."""

import signal
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from json import dumps
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, Error, connections
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from django_events_sourcing.conf import get_settings
from django_events_sourcing.exceptions import EventsSourcingError
from django_events_sourcing.status import Status, status
from django_events_sourcing.tables import has_tables, missing_tables, outbox_databases

_WIDTH_WITHOUT_TERMINAL = 120


class Command(BaseCommand):
    """``events status`` and ``events relay``."""

    help = "Look at the outbox, and work on it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """One subcommand for each thing to do."""
        subcommands = parser.add_subparsers(dest="subcommand", required=True)
        showing = subcommands.add_parser("status", help="How the outbox stands, in each database that has one.")
        showing.add_argument("--json", action="store_true", help="As JSON: the totals, and each database by itself.")
        relaying = subcommands.add_parser("relay", help="Publish what is due, here and now, without Celery.")
        for subparser in (showing, relaying):
            subparser.add_argument("--database", metavar="ALIAS", help="That database only.")

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """One whose errors are ``CommandError``, in place of argparse's usage text and exit code 2."""
        self._called_from_command_line = False
        return super().create_parser(prog_name, subcommand, **kwargs)

    def run_from_argv(self, argv: list[str]) -> None:
        """Django's own, which leaves the parser's errors to argparse."""
        try:
            super().run_from_argv(argv)
        except CommandError as exc:
            self.stderr.write(str(exc))
            sys.exit(exc.returncode)

    def handle(self, *, subcommand: str, database: str | None, json: bool = False, **_options: Any) -> None:
        """Do it in each database; one that can't be reached keeps none of the others from their turn.

        Raises:
            CommandError: Something went wrong, in one line for each.
        """
        if database is not None and database not in connections:
            raise CommandError(f"DATABASES has no {database!r}; it has {', '.join(connections)}.")
        problems: list[str] = []
        aliases = [database] if database else list(_with_tables(problems))
        if not (aliases or problems):
            raise CommandError(missing_tables(DEFAULT_DB_ALIAS))
        if subcommand == "status":
            self._status(aliases, problems, as_json=json)
        else:
            self._relay(aliases, problems)
        if problems:
            raise CommandError("\n".join(problems))

    @property
    def _console(self) -> Console:
        width = None if self.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL
        return Console(file=self.stdout, width=width, highlight=False)  # type: ignore[arg-type]

    def _status(self, aliases: list[str], problems: list[str], *, as_json: bool) -> None:
        found = {}
        for alias in aliases:
            with _told(alias, problems):
                found[alias] = status(alias)
        if as_json:
            self.stdout.write(dumps(_as_json(found), indent=2))
            return
        for alias, one in found.items():
            self._show(alias, one)

    def _show(self, alias: str, one: Status) -> None:
        console = self._console
        facts = {
            "pending": str(one.pending),
            "oldest due": _duration(one.oldest_pending_seconds),
            "refused, to be tried again": str(one.refused),
            "dead": str(one.dead),
            "published in the last hour": str(one.published_last_hour),
        }
        summary = Table(title=f"Outbox of database {alias!r}", title_justify="left", show_header=False)
        for name, value in facts.items():
            summary.add_row(name, value)
        console.print(summary)
        at_work = [each for each in one.partitions if each.pending or each.owner or each.failures or each.lost]
        if not at_work:
            return
        table = Table(title_justify="left", title="Partitions with something to tell")
        for heading in (
            "partition",
            "pending",
            "leased for",
            "failures in a row",
            "waits for",
            "leases lost",
            "trouble",
        ):
            table.add_column(heading)
        for partition in at_work:
            table.add_row(
                str(partition.number),
                str(partition.pending),
                _duration(partition.leased_seconds),
                str(partition.failures or "-"),
                _duration(partition.retry_seconds),
                str(partition.lost or "-"),
                partition.error or "-",
            )
        console.print(table)

    def _relay(self, aliases: list[str], problems: list[str]) -> None:
        from django_events_sourcing.tasks.relay import Relay  # noqa: PLC0415 - it loads nameko

        with _stop_at_signals() as stopping:
            for alias in aliases:
                with _told(alias, problems):
                    with self._progress(alias, status(alias).pending) as advance:
                        report = Relay(alias, get_settings(), stopping=stopping, on_published=advance).run()
                    after = status(alias)
                    self.stdout.write(
                        f"Database {alias!r}: {report.published} published, {report.dead} dead, {after.pending} "
                        f"pending{_why_left(after)}."
                    )
                    if report.trouble:
                        problems.append(f"RabbitMQ is in trouble; the events stay. {report.trouble}")
                if stopping():
                    problems.append("Stopped; what is pending is free for any other relay.")
                    return

    @contextmanager
    def _progress(self, alias: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar where there is a terminal."""
        if not self.stdout.isatty():
            yield lambda _count: None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console) as progress:
            bar = progress.add_task(alias, total=total)
            yield lambda count: progress.advance(bar, count)


def _with_tables(problems: list[str]) -> Iterator[str]:
    for alias in outbox_databases():
        with _told(alias, problems):
            if has_tables(alias):
                yield alias


@contextmanager
def _told(alias: str, problems: list[str]) -> Iterator[None]:
    """Have what goes wrong within it be one of the problems."""
    try:
        yield
    except EventsSourcingError as exc:
        problems.append(str(exc))
    except Error as exc:
        problems.append(f"Database {alias!r} can't be asked: {' '.join(str(exc).split())}")


@contextmanager
def _stop_at_signals() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM ask to stop, instead of ending the process in the middle."""
    stopped = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopped
        stopped = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _as_json(found: dict[str, Status]) -> dict[str, Any]:
    by_database = {alias: asdict(one) for alias, one in found.items()}
    return {
        "pending": sum(one.pending for one in found.values()),
        "refused": sum(one.refused for one in found.values()),
        "oldest_pending_seconds": max((one.oldest_pending_seconds for one in found.values()), default=0.0),
        "dead": sum(one.dead for one in found.values()),
        "published_last_hour": sum(one.published_last_hour for one in found.values()),
        "partitions": [
            {"database": alias, **partition} for alias, one in by_database.items() for partition in one["partitions"]
        ],
        "databases": {
            alias: {key: value for key, value in one.items() if key != "partitions"}
            for alias, one in by_database.items()
        },
    }


def _why_left(one: Status) -> str:
    reasons = []
    if leased := sum(partition.pending for partition in one.partitions if partition.owner):
        reasons.append(f"{leased} in partitions that another relay is at work on")
    if backing_off := sum(partition.pending for partition in one.partitions if partition.retry_seconds):
        reasons.append(f"{backing_off} in partitions that wait after trouble")
    if one.refused:
        reasons.append(f"{one.refused} refused, with those of their objects behind them")
    return f" ({'; '.join(reasons)})" if reasons else ""


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))
