"""What the subcommands share."""

import math
import signal
from abc import ABC, abstractmethod
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

from django.core.management.base import CommandError, OutputWrapper
from django.db import Error
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from django_events_sourcing.exceptions import EventsSourcingError
from django_events_sourcing.texts import printable
from django_events_sourcing.types import Alias

__all__ = ["Problems", "Subcommand", "duration", "number"]

_WIDTH_WITHOUT_TERMINAL = 120

_Found = TypeVar("_Found")


class Problems(list[str]):
    """What went wrong, a line each. One database's trouble keeps none of the others from their turn."""

    @contextmanager
    def reported(self, alias: Alias) -> Iterator[None]:
        """Have what goes wrong within it be one of the problems."""
        try:
            yield
        except EventsSourcingError as exc:
            self.append(str(exc))
        except Error as exc:
            self.append(f"Database {alias!r} can't be asked: {printable(' '.join(str(exc).split()))}")


class Subcommand(ABC):
    """One thing that an operator asks for.

    Args:
        stdout: The command's.
        aliases: The databases to do it in.
        problems: What went wrong, to be reported at the end.
    """

    name: ClassVar[str]
    help: ClassVar[str]

    def __init__(self, stdout: OutputWrapper, aliases: list[str], problems: Problems) -> None:
        self.stdout = stdout
        self.aliases = aliases
        self.problems = problems

    @classmethod  # noqa: B027 - most have none
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """Those beside ``--database``."""

    @abstractmethod
    def run(self, options: dict[str, Any]) -> None:
        """Do it.

        Raises:
            django.core.management.CommandError: It can't be done at all.
        """

    def first(self, found: Callable[[str], _Found]) -> tuple[str, _Found]:
        """The first database that has what is looked for, and what was found there.

        Raises:
            django.core.management.CommandError: None has it.
        """
        problems = Problems()
        for alias in self.aliases:
            with problems.reported(alias):
                return alias, found(alias)
        raise CommandError("\n".join([*self.problems, *problems]))

    def in_each(self, do: Callable[[str, Callable[[], bool]], None], stopped: str) -> None:
        """Do something in one database after the other, until Ctrl-C or SIGTERM asks to stop.

        Args:
            do: Takes the alias of the database, and what to ask often whether to stop.
            stopped: What to report of the rest if it was stopped.
        """
        with _stop_at_signals() as stopping:
            for alias in self.aliases:
                with self.problems.reported(alias):
                    do(alias, stopping)
                if stopping():
                    self.problems.append(f"Stopped; {stopped}.")
                    return

    def show(self, table: Table, rows: Iterable[Iterable[str | list[str]]]) -> None:
        """Print a table with these rows, whose cells are a line, or several."""
        for row in rows:
            table.add_row(*(Text("\n".join(map(printable, [cell] if isinstance(cell, str) else cell))) for cell in row))
        self.console.print(table)

    @property
    def console(self) -> Console:
        """Plain, where there is no terminal; what looks like rich's markup is none."""
        width = None if self.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL
        return Console(file=self.stdout, width=width, highlight=False, markup=False, emoji=False)  # type: ignore[arg-type]

    @contextmanager
    def progress(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar, where there is a terminal; yields what takes it so many steps further."""
        if not self.stdout.isatty():
            yield lambda _count: None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console) as progress:
            bar = progress.add_task(description, total=total)
            yield lambda count: progress.advance(bar, count)


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


def number(text: str, *, may_be_zero: bool) -> float:
    """An argument's value, for argparse.

    Raises:
        argparse.ArgumentTypeError: It isn't a finite number, or too low.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf or (value == 0 and not may_be_zero):
        raise ArgumentTypeError(f"{text!r} is not a number {'from 0 on' if may_be_zero else 'above 0'}")
    return value


def duration(seconds: float | None) -> str:
    """For people."""
    if seconds is None:
        return "-"
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))
