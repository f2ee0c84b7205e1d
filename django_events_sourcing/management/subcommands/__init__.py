"""What ``manage.py events`` can do: each is a thin shell over one plain function."""

from django_events_sourcing.management.subcommands.base import Subcommand
from django_events_sourcing.management.subcommands.bury import BurySubcommand
from django_events_sourcing.management.subcommands.doctor import DoctorSubcommand
from django_events_sourcing.management.subcommands.listing import ListSubcommand
from django_events_sourcing.management.subcommands.pause import PauseSubcommand, ResumeSubcommand
from django_events_sourcing.management.subcommands.purge import PurgeSubcommand
from django_events_sourcing.management.subcommands.relay import RelaySubcommand
from django_events_sourcing.management.subcommands.replay import ReplaySubcommand
from django_events_sourcing.management.subcommands.show import ShowSubcommand
from django_events_sourcing.management.subcommands.status import StatusSubcommand

__all__ = ["SUBCOMMANDS"]

#: In the order in which ``--help`` names them.
SUBCOMMANDS: list[type[Subcommand]] = [
    StatusSubcommand,
    ListSubcommand,
    ShowSubcommand,
    RelaySubcommand,
    ReplaySubcommand,
    PauseSubcommand,
    ResumeSubcommand,
    BurySubcommand,
    PurgeSubcommand,
    DoctorSubcommand,
]
