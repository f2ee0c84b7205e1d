"""Whose row it is, where each tenant has a schema of its own: django-tenants."""

from django.apps import apps
from django.conf import settings
from django.db import connections
from django.db.models import Model

from django_events_sourcing.types import Alias

__all__ = ["current_tenant", "has_tenants", "is_of_each_tenant", "is_shared", "tenant_of"]

# Of a connection of django-tenants: it searches this schema first, and then the one that all share.
_SCHEMA = "schema_name"


def has_tenants() -> bool:
    """Whether a database is one of django-tenants."""
    is_set_up = hasattr(settings, "TENANT_APPS") or hasattr(settings, "TENANT_TYPES")
    return is_set_up and any(hasattr(connections[alias], _SCHEMA) for alias in connections)


def tenant_of(model: type[Model], using: Alias) -> str | None:
    """The schema of the tenant whose row one of ``model`` in database ``using`` is now.

    Args:
        model: The one that has the table.
        using: Alias of the database.

    Returns:
        None where there are no tenants, and for what they share.
    """
    tenant = current_tenant(using)
    return tenant if tenant and is_of_each_tenant(model._meta.app_label) else None


def current_tenant(using: Alias) -> str | None:
    """The schema of the tenant that a connection is at now; None if it is at none."""
    schema: str | None = getattr(connections[using], _SCHEMA, None)
    return schema if schema and schema != _shared_schema() else None


def is_of_each_tenant(app_label: str) -> bool:
    """Whether an app has tables in the schema of each tenant, or of each of a kind."""
    return _is_in(app_label, shared=False)


def is_shared(app_label: str) -> bool:
    """Whether an app has tables in the schema that all tenants share."""
    return _is_in(app_label, shared=True)


def _is_in(app_label: str, *, shared: bool) -> bool:
    kinds = getattr(settings, "TENANT_TYPES", None)
    if kinds:
        lists = [kind["APPS"] for name, kind in kinds.items() if (name == _shared_schema()) == shared]
    else:
        lists = [getattr(settings, "SHARED_APPS" if shared else "TENANT_APPS", ())]
    config = apps.get_app_config(app_label)
    names = {config.name, f"{type(config).__module__}.{type(config).__qualname__}"}
    return any(names & set(each) for each in lists)


def _shared_schema() -> str:
    schema: str = getattr(settings, "PUBLIC_SCHEMA_NAME", "public")
    return schema
