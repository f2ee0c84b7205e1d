"""What the subcommands share."""

import signal
from abc import ABC, abstractmethod
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from django.core.management.base import CommandError, OutputWrapper
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from django_events_sourcing.operating.problems import Problems
from django_events_sourcing.texts import printable

__all__ = ["Subcommand"]

_WIDTH_WITHOUT_TERMINAL = 80

_Found = TypeVar("_Found")


class Subcommand(ABC):
    """One thing that an operator asks for.

    Args:
        stdout: The command's.
        aliases: The databases to do it in.
        problems: What went wrong, to be reported at the end.
        is_plain: Whether a terminal, too, gets letters only: neither colours, nor bold or italic ones.
    """

    name: ClassVar[str]
    help: ClassVar[str]
    #: Whether it is there to find out what is wrong: then neither settings nor databases need be right.
    is_examination: ClassVar[bool] = False

    def __init__(
        self, stdout: OutputWrapper, aliases: list[str], problems: Problems, *, is_plain: bool = False
    ) -> None:
        self.stdout = stdout
        self.aliases = aliases
        self.problems = problems
        self.is_plain = is_plain

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
        with self.stop_at_signals() as stopping:
            for alias in self.aliases:
                with self.problems.reported(alias):
                    do(alias, stopping)
                if stopping():
                    self.problems.append(f"Stopped; {stopped}.")
                    return

    @staticmethod
    @contextmanager
    def stop_at_signals() -> Iterator[Callable[[], bool]]:
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

    def confirm(self, what: str) -> None:
        """Ask whether to go on.

        Args:
            what: What will happen, as a sentence without its full stop.

        Raises:
            django.core.management.CommandError: Nobody is there, or says yes.
        """
        self.stdout.write(f"{what}. Type 'yes' to go on: ", ending="")
        self.stdout.flush()
        try:
            answer = input()
        except EOFError:
            raise CommandError("Nobody is there to say yes: give --no-input if that is meant.") from None
        if answer.strip().lower() != "yes":
            raise CommandError("Nothing was done.")

    def say(self, sentence: str, indent: int = 0) -> None:
        """Print a sentence, broken into lines between words, each with so many blanks before it."""
        text = Text(printable(sentence))
        self.console.print(Padding(text, (0, 0, 0, indent), expand=False) if indent else text)

    def show_event(self, event_id: UUID, lines: Iterable[str]) -> None:
        """Print what there is to say about an event; its id stands in a line of its own, to be copied."""
        self.say(str(event_id))
        for line in lines:
            self.say(line, indent=2)

    def show(self, table: Table, rows: Iterable[Iterable[str | list[str]]]) -> None:
        """Print a table with these rows, whose cells are a line, or several."""
        for row in rows:
            table.add_row(*(Text("\n".join(map(printable, [cell] if isinstance(cell, str) else cell))) for cell in row))
        self.console.print(table)

    @property
    def console(self) -> Console:
        """Plain, where there is no terminal; what looks like rich's markup is none."""
        width = None if self.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL
        return Console(
            file=self.stdout,  # type: ignore[arg-type]
            width=width,
            color_system=None if self.is_plain else "auto",
            highlight=False,
            markup=False,
            emoji=False,
        )

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
