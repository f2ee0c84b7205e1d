"""``events status``."""

from argparse import ArgumentParser
from dataclasses import asdict
from json import dumps
from typing import Any

from rich.table import Table

from django_events_sourcing.management.subcommands.base import Subcommand, duration
from django_events_sourcing.operating.status import PartitionStatus, Status, status
from django_events_sourcing.types import Alias

__all__ = ["StatusSubcommand"]


class StatusSubcommand(Subcommand):
    """How the outbox stands."""

    name = "status"
    help = "How the outbox stands, in each database that has one."

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """For programs, too."""
        parser.add_argument("--json", action="store_true", help="As JSON: the totals, and each database by itself.")

    def run(self, options: dict[str, Any]) -> None:
        """Show it."""
        found = {}
        for alias in self.aliases:
            with self.problems.reported(alias):
                found[alias] = status(alias)
        if options["json"]:
            self.stdout.write(dumps(_as_json(found), indent=2))
            return
        for alias, one in found.items():
            self._show(alias, one)

    def _show(self, alias: Alias, one: Status) -> None:
        facts = {
            "pending": str(one.pending),
            "oldest due": duration(one.oldest_pending_seconds),
            "refused, to be tried again": str(one.refused),
            "dead": str(one.dead),
            "buried": str(one.buried),
            "published in the last hour": str(one.published_last_hour),
        }
        if one.oldest_transaction:
            age = duration(one.oldest_transaction.seconds)
            facts["oldest open transaction"] = f"{age}: {one.oldest_transaction.holder}"
        summary = Table(title=f"Outbox of database {alias!r}", title_justify="left", show_header=False)
        self.show(summary, facts.items())
        at_work = [each for each in one.partitions if _is_worth_showing(each)]
        if not at_work:
            return
        table = Table(title_justify="left", title="Partitions with something to report")
        for heading in (
            "partition",
            "pending",
            "paused for",
            "leased for",
            "failures in a row",
            "waits for",
            "leases lost",
            "trouble",
        ):
            table.add_column(heading)
        rows = [
            (
                str(partition.number),
                str(partition.pending),
                duration(partition.paused_seconds),
                duration(partition.leased_seconds),
                str(partition.failures or "-"),
                duration(partition.retry_seconds),
                str(partition.lost or "-"),
                partition.error or "-",
            )
            for partition in at_work
        ]
        self.show(table, rows)


def _is_worth_showing(partition: PartitionStatus) -> bool:
    return bool(
        partition.pending
        or partition.owner
        or partition.failures
        or partition.lost
        or partition.paused_seconds is not None
    )


def _as_json(found: dict[str, Status]) -> dict[str, Any]:
    by_database = {alias: asdict(one) for alias, one in found.items()}
    return {
        "pending": sum(one.pending for one in found.values()),
        "refused": sum(one.refused for one in found.values()),
        "oldest_pending_seconds": max((one.oldest_pending_seconds for one in found.values()), default=0.0),
        "dead": sum(one.dead for one in found.values()),
        "buried": sum(one.buried for one in found.values()),
        "published_last_hour": sum(one.published_last_hour for one in found.values()),
        "partitions": [
            {"database": alias, **partition} for alias, one in by_database.items() for partition in one["partitions"]
        ],
        "databases": {
            alias: {key: value for key, value in one.items() if key != "partitions"}
            for alias, one in by_database.items()
        },
    }
