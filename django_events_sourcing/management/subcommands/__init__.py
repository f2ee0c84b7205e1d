"""What ``manage.py events`` can do: each is a thin shell over one plain function."""

from django_events_sourcing.management.subcommands.base import Subcommand
from django_events_sourcing.management.subcommands.relay import RelaySubcommand
from django_events_sourcing.management.subcommands.status import StatusSubcommand

__all__ = ["SUBCOMMANDS"]

#: In the order in which ``--help`` names them.
SUBCOMMANDS: list[type[Subcommand]] = [StatusSubcommand, RelaySubcommand]
