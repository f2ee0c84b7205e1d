"""The system checks, ``manage.py check``: each names what is wrong, where, and the mend."""

from django.core import checks
from django.core.checks import Tags

from django_events_sourcing.checks.bodies import check_bodies
from django_events_sourcing.checks.brokers import check_broker, check_celery
from django_events_sourcing.checks.databases import check_databases, check_tables, check_tenants
from django_events_sourcing.checks.entries import check_models
from django_events_sourcing.checks.options import check_options
from django_events_sourcing.checks.outbox import check_outbox

__all__ = ["register"]


def register() -> None:
    """Have ``manage.py check`` run the checks of this room."""
    for check in (
        check_models,
        check_bodies,
        check_options,
        check_broker,
        check_databases,
        check_tenants,
        check_celery,
    ):
        checks.register(check)
    checks.register(check_tables, Tags.database)
    checks.register(check_outbox, Tags.database)
