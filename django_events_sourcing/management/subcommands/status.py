"""``events status``."""

from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime
from json import dumps
from time import monotonic, sleep
from typing import Any

from django.db import connections
from rich.table import Table

from django_events_sourcing.logs import Numbers
from django_events_sourcing.management.subcommands.arguments import positive
from django_events_sourcing.management.subcommands.base import Subcommand
from django_events_sourcing.operating.problems import Problems
from django_events_sourcing.operating.status import PartitionStatus, Status, status
from django_events_sourcing.operating.summary import facts, leases, pauses_and_backoffs, troubles
from django_events_sourcing.operating.verdict import is_silent, verdict
from django_events_sourcing.types import Alias

__all__ = ["StatusSubcommand"]

# With --watch, between two looks, in seconds.
_EVERY = 2.0

# How often it is asked whether to stop, in seconds.
_POLL = 0.1


class StatusSubcommand(Subcommand):
    """How the outbox stands."""

    name = "status"
    help = "How the outbox stands: the answer first, then how each database that has one is."

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """For programs, too, and for who waits for something."""
        parser.add_argument("--json", action="store_true", help="As JSON: the totals, and each database by itself.")
        parser.add_argument(
            "--watch",
            type=positive,
            nargs="?",
            const=_EVERY,
            metavar="SECONDS",
            help="Again and again, until Ctrl-C: every 2 seconds, or so many. With --json, a line each time.",
        )

    def run(self, options: dict[str, Any]) -> None:
        """Show it."""
        show = self._show_json if options["json"] else self._show
        every = options["watch"]
        if every is None:
            show(self.problems, is_watching=False)
            return
        with self.stop_at_signals() as stopping:
            while not stopping():
                ends = monotonic() + every
                problems = self.problems.copied()
                if self.stdout.isatty() and not options["json"]:
                    self.console.clear()
                show(problems, is_watching=True)
                self.stdout.flush()
                while monotonic() < ends and not stopping():
                    sleep(_POLL)

    def _ask(self, problems: Problems) -> dict[Alias, Status]:
        found = {}
        for alias in self.aliases:
            with problems.reported(alias):
                found[alias] = status(alias)
            if alias not in found:
                connections[alias].close()  # by a new one it may be asked the next time
        return found

    def _show_json(self, problems: Problems, *, is_watching: bool) -> None:
        found = self._ask(problems)
        self.stdout.write(dumps(_as_json(found, problems), indent=None if is_watching else 2, default=_plain))

    def _show(self, problems: Problems, *, is_watching: bool) -> None:
        found = self._ask(problems)
        for sentence in _answer(found):
            self.say(sentence)
        if is_watching:
            for problem in problems:
                self.say(problem)
        for alias, one in found.items():
            self._show_details(alias, one)

    def _show_details(self, alias: Alias, one: Status) -> None:
        self.stdout.write("")
        summary = Table(title=f"Outbox of database {alias!r}", title_justify="left", show_header=False)
        self.show(summary, facts(one).items())
        if groups := list(_grouped(one.partitions)):
            table = Table("partitions", "pending", "state", title_justify="left", title="Partitions")
            self.show(table, ((str(_numbers(group)), f"{_pending(group):,}", _state(group)) for group in groups))
        for error, numbers in troubles(one.partitions).items():
            self.say(f"Trouble of {_numbers(numbers)}: {error}")


def _answer(found: dict[Alias, Status]) -> Iterator[str]:
    for alias, one in found.items():
        which = f"Database {alias!r}: " if len(found) > 1 else ""
        for sentence in verdict(one):
            yield f"{which}{sentence}"


def _grouped(partitions: list[PartitionStatus]) -> Iterator[list[PartitionStatus]]:
    """Those with something to report, the equal ones together."""
    groups: dict[object, list[PartitionStatus]] = {}
    for each in partitions:
        is_paused = each.paused_seconds is not None
        if each.pending or each.owner or each.failures or each.lost or is_paused:
            key = is_paused, each.paused_by, each.paused_why, each.error, each.holder, is_silent(each)
            groups.setdefault(key, []).append(each)
    yield from groups.values()


def _pending(group: list[PartitionStatus]) -> int:
    return sum(each.pending for each in group)


def _numbers(group: list[PartitionStatus]) -> Numbers:
    return Numbers([each.number for each in group], to="-")


def _state(group: list[PartitionStatus]) -> list[str]:
    said = [*pauses_and_backoffs(group), *leases(group)]
    if lost := sum(each.lost for each in group):
        said.append("1 lease ran out under its relay" if lost == 1 else f"{lost} leases ran out under their relays")
    return said or ["due" if any(each.is_due for each in group) else "waits for a refused event"]


def _as_json(found: dict[Alias, Status], problems: Problems) -> dict[str, Any]:
    by_database = {alias: asdict(one) for alias, one in found.items()}

    def total(of: Callable[[Status], float], add: Callable[[list[float]], float] = sum) -> float | None:
        return None if problems else add([of(one) for one in found.values()])

    return {
        "answer": list(_answer(found)),
        "pending": total(lambda one: one.pending),
        "refused": total(lambda one: one.refused),
        "oldest_pending_seconds": total(lambda one: one.oldest_pending_seconds, lambda ages: max(ages, default=0.0)),
        "dead": total(lambda one: one.dead),
        "buried": total(lambda one: one.buried),
        "published_last_hour": total(lambda one: one.published_last_hour),
        "unrouted_last_hour": total(lambda one: one.unrouted_last_hour),
        "partitions": [
            {"database": alias, **partition} for alias, one in by_database.items() for partition in one["partitions"]
        ],
        "databases": {
            **dict.fromkeys(problems.by_database),
            **{
                alias: {key: value for key, value in one.items() if key != "partitions"}
                for alias, one in by_database.items()
            },
        },
        "errors": problems.by_database,
    }


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"JSON has nothing for {value!r}.")
