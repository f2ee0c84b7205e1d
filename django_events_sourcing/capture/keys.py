"""What an object is called in its events: ``"app.model:pk"``."""

from typing import Any

from django.db.models import Model

from django_events_sourcing.capture.stored import concrete_model
from django_events_sourcing.capture.tenants import tenant_of
from django_events_sourcing.types import Alias

__all__ = ["object_key", "tenants_key"]


def object_key(model: type[Model], pk: Any, using: Alias) -> tuple[str, dict[str, str]]:
    """The key of a row, and what its events have in their headers for it.

    Args:
        model: Its model, or a proxy of that.
        pk: Its primary key, as it is on an instance.
        using: Alias of the database that it is in.
    """
    model = concrete_model(model)
    text = ",".join(map(str, pk)) if isinstance(pk, tuple) else pk
    return tenants_key(f"{model._meta.label_lower}:{text}", tenant_of(model, using))


def tenants_key(key: str, tenant: str | None) -> tuple[str, dict[str, str]]:
    """The key of what is a tenant's, and the headers; None where it is nobody's."""
    return (f"{tenant}/{key}", {"event_tenant": tenant}) if tenant else (key, {})
