"""Checks of the databases that events are written to."""

import sys
from collections.abc import Collection
from typing import Any

from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's own name
from django.db import connections, router

from django_events_sourcing.capture.registry import registry
from django_events_sourcing.capture.tenants import has_tenants, is_of_each_tenant, is_shared
from django_events_sourcing.checks.readable import readable_settings
from django_events_sourcing.outbox.tables import has_tables, missing_tables

__all__ = ["check_databases", "check_tables", "check_tenants"]

# The library's.
_APP = "django_events_sourcing"


def check_databases(**_kwargs: Any) -> list[CheckMessage]:
    """E013: where Django does not commit, it doesn't know when an event of the delivery "direct" may go out."""
    settings = readable_settings()
    if not registry.registrations or settings is None or settings.delivery != "direct":
        return []
    return [
        Error(
            f"DATABASES[{alias!r}]['AUTOCOMMIT'] is False: saves of registered models there raise "
            "TransactionManagementError.",
            hint="Remove it, and use transaction.atomic() or ATOMIC_REQUESTS for transactions; or use the delivery "
            "'outbox'.",
            id="django_events_sourcing.E013",
        )
        for alias in connections
        if not connections[alias].settings_dict["AUTOCOMMIT"]
    ]


def check_tenants(**_kwargs: Any) -> list[CheckMessage]:
    """E021: with django-tenants, an outbox that workers don't relay: it isn't in the schema that all tenants share."""
    settings = readable_settings()
    if not (registry.registrations and settings and settings.delivery == "outbox" and has_tenants()):
        return []
    if is_shared(_APP) and not is_of_each_tenant(_APP):
        return []
    return [
        Error(
            f"{_APP!r} is not in SHARED_APPS, and only there: no worker would see the events of tenants' rows.",
            hint="Put it into SHARED_APPS and not into TENANT_APPS (or among the APPS of the public type alone, in "
            'TENANT_TYPES), and run `manage.py migrate_schemas`. The docs, "Use tenants", say what to do where '
            "tenants' schemas have its tables already.",
            id="django_events_sourcing.E021",
        )
    ]


def check_tables(*, databases: Collection[str] | None = None, **_kwargs: Any) -> list[CheckMessage]:
    """W003: a database that lacks the outbox's tables. No error: ``migrate``, which makes them, would refuse to run."""
    if "migrate" in sys.argv[1:2]:  # which runs this check first, and needs no warning
        return []
    settings = readable_settings()
    if not registry.registrations or settings is None or settings.delivery != "outbox":
        return []
    return [
        Warning(
            f"Saves of registered models in database {alias!r} will raise ConfigurationError.",
            hint=missing_tables(alias),
            id="django_events_sourcing.W003",
        )
        for alias in databases or ()
        if not has_tables(alias)
        and any(router.allow_migrate_model(alias, entry.model) for entry in registry.registrations)
    ]
