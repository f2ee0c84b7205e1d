"""``events relay``."""

from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable
from typing import Any

from django_events_sourcing.conf import get_settings
from django_events_sourcing.management.subcommands.base import Subcommand
from django_events_sourcing.operating.operations import end_backoff
from django_events_sourcing.operating.status import PartitionStatus, Status, status
from django_events_sourcing.texts import counted
from django_events_sourcing.types import Alias

__all__ = ["RelaySubcommand"]


class RelaySubcommand(Subcommand):
    """A relay without a worker."""

    name = "relay"
    help = "Publish what is due, here and now, without Celery."

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """Whether to wait after trouble."""
        parser.add_argument("--now", action="store_true", help="Also what waits after trouble, without its delay.")

    def run(self, options: dict[str, Any]) -> None:
        """Relay one database after the other."""

        def relay(alias: Alias, stopping: Callable[[], bool]) -> None:
            if options["now"]:
                end_backoff(alias)
            self._relay(alias, stopping)

        self.in_each(relay, "what is pending is free for any other relay")

    def _relay(self, alias: Alias, stopping: Callable[[], bool]) -> None:
        from django_events_sourcing.tasks.relay import Relay  # noqa: PLC0415 - it loads nameko

        with self.progress(alias, status(alias).pending) as advance:
            report = Relay(alias, get_settings(), stopping=stopping, on_published=advance).run()
        after = status(alias)
        self.stdout.write(
            f"Database {alias!r}: {report.published:,} published, {report.dead:,} dead, {after.pending:,} pending."
        )
        if after.refused:
            self.stdout.write(f"{counted(after.refused, 'event')} refused, with those of their objects behind them.")
        for why, count in ({} if stopping() else _why_left(after)).items():
            self.problems.append(f"Database {alias!r}: {counted(count, 'event')} left, {why}.")
        if report.got_nothing_done:
            self.problems.append(f"Database {alias!r}: {report.got_nothing_done}")
        if report.trouble:
            self.problems.append(f"RabbitMQ is in trouble; the events stay. {report.trouble}")


def _why_left(one: Status) -> dict[str, int]:
    """By why they were left, how many events were."""
    left: Counter[str] = Counter()
    for partition in one.partitions:
        if partition.is_due:
            left[_why(partition)] += partition.pending
    return left


def _why(partition: PartitionStatus) -> str:
    if partition.paused_seconds is not None:
        return "in partitions that are paused: `manage.py events resume` ends that"
    if partition.owner:
        return f"in partitions that another relay is at work on ({partition.holder})"
    if partition.failures or partition.retry_seconds:
        return "in partitions that wait after trouble: --now does not wait"
    return "written meanwhile: the next relay takes them"
