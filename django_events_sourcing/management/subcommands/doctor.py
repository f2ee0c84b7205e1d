"""``events doctor``."""

import os
from argparse import ArgumentParser
from dataclasses import asdict
from json import dumps
from typing import Any

from django.core.management.base import CommandError
from rich.text import Text

from django_events_sourcing.doctor.examination import examine
from django_events_sourcing.doctor.findings import Finding, Level
from django_events_sourcing.management.subcommands.base import Subcommand
from django_events_sourcing.texts import counted, printable

__all__ = ["DoctorSubcommand"]

_MANAGEMENT = "RABBITMQ_MANAGEMENT_URL"

_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILING: "bold red"}


class DoctorSubcommand(Subcommand):
    """An examination of the deployment."""

    name = "doctor"
    help = "Examine everything between a save and RabbitMQ, and say what is wrong, and what to do."
    is_examination = True

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """How thoroughly."""
        parser.add_argument("--json", action="store_true", help="As JSON.")
        parser.add_argument(
            "--fast", action="store_true", help="Without the canary, an event that goes the whole way and is nobody's."
        )
        parser.add_argument(
            "--management",
            metavar="URL",
            default=os.environ.get(_MANAGEMENT, ""),
            help="RabbitMQ's management API, as http://user:password@host:15672, to look at the queues, too; by "
            f"default, what the environment's {_MANAGEMENT} says.",
        )

    def run(self, options: dict[str, Any]) -> None:
        """Examine, and show each finding as it is found; what fails makes the exit code 1.

        Raises:
            django.core.management.CommandError: Something fails.
        """
        found = []
        for finding in examine(self.aliases, is_fast=options["fast"], management=options["management"]):
            found.append(finding)
            if not options["json"]:
                self._show(finding)
        failing, warnings = (
            [each for each in found if each.level is level] for level in (Level.FAILING, Level.WARNING)
        )
        if options["json"]:
            findings = [asdict(finding) for finding in found]
            self.stdout.write(dumps({"is_well": not failing, "findings": findings}, indent=2))
        elif not failing:
            also = f"; {counted(len(warnings), 'thing', ('is', 'are'))} to be looked at" if warnings else ""
            self.say(f"All that an event needs is there{also}.")
        if failing:
            raise CommandError(f"{counted(len(failing), 'thing', ('is', 'are'))} wrong: what says FAILING, above.")

    def _show(self, finding: Finding) -> None:
        where = f"{finding.item} {finding.database!r}" if finding.database else str(finding.item)
        level = finding.level if finding.level is Level.OK else finding.level.upper()
        line = Text.assemble((f"{level} ", _STYLES[finding.level]), f"{where}: {printable(finding.what)}")
        self.console.print(line)
        if finding.hint:
            self.say(finding.hint, indent=4)
