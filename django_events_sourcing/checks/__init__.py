"""The system checks, ``manage.py check``: each names what is wrong, where, and the mend."""

from django.core import checks
from django.core.checks import Tags

from django_events_sourcing.checks.bodies import check_bodies
from django_events_sourcing.checks.brokers import check_broker, check_celery
from django_events_sourcing.checks.databases import check_databases, check_tables, check_tenants
from django_events_sourcing.checks.entries import check_models
from django_events_sourcing.checks.options import check_options
from django_events_sourcing.checks.outbox import check_outbox

__all__ = ["CHECKS", "DATABASE_CHECKS", "register"]

#: Those that ask no database.
CHECKS = (
    check_models,
    check_bodies,
    check_options,
    check_broker,
    check_databases,
    check_tenants,
    check_celery,
)

#: Those of ``check --database``.
DATABASE_CHECKS = (check_tables, check_outbox)


def register() -> None:
    """Have ``manage.py check`` run the checks of this room."""
    for check in CHECKS:
        checks.register(check)
    for check in DATABASE_CHECKS:
        checks.register(check, Tags.database)
