"""What an object is called in its events: ``"app.model:pk"``."""

from collections.abc import Callable
from typing import Any

from django.db.models import Model

from django_events_sourcing.capture.stored import concrete_model
from django_events_sourcing.capture.tenants import tenant_of
from django_events_sourcing.types import Alias

__all__ = ["keys_of", "object_key", "tenants_key"]


def keys_of(model: type[Model], using: Alias) -> tuple[Callable[[Any], str], dict[str, str]]:
    """What makes the key of a row of its primary key, and what the events of all have in their headers for it.

    Args:
        model: The rows' model, or a proxy of that.
        using: Alias of the database that they are in.
    """
    model = concrete_model(model)
    beginning, headers = tenants_key(f"{model._meta.label_lower}:", tenant_of(model, using))
    return lambda pk: f"{beginning}{','.join(map(str, pk)) if isinstance(pk, tuple) else pk}", headers


def object_key(model: type[Model], pk: Any, using: Alias) -> tuple[str, dict[str, str]]:
    """The key of a row, and what its events have in their headers for it.

    Args:
        model: Its model, or a proxy of that.
        pk: Its primary key, as it is on an instance.
        using: Alias of the database that it is in.
    """
    key, headers = keys_of(model, using)
    return key(pk), headers


def tenants_key(key: str, tenant: str | None) -> tuple[str, dict[str, str]]:
    """The key of what is a tenant's, and the headers; None where it is nobody's."""
    return (f"{tenant}/{key}", {"event_tenant": tenant}) if tenant else (key, {})
