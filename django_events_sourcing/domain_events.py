"""Events that are no change of a row: "refunded", "logged in"."""

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from asgiref.sync import sync_to_async
from django.apps import apps
from django.db.models import Model

from django_events_sourcing.events import Event
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.types import Alias

__all__ = ["aemit", "emit"]

_APP = "django_events_sourcing"


def emit(  # noqa: PLR0913
    name: str,
    payload: Any,
    *,
    instance: Model | None = None,
    key: str | None = None,
    service: str | None = None,
    headers: Mapping[str, Any] | None = None,
    using: Alias | None = None,
) -> Event:
    """Send an event of your own, as a change of a registered model sends one: in the same transaction, or not at all.

    ``emit("order__refunded", {"amount": 5}, instance=order)`` comes in order with the events of the order's changes.
    For that it takes the lock that a save of the order would, until the transaction ends.

    Args:
        name: Event name, as handlers listen to it.
        payload: The body: JSON, or what REST framework makes JSON of (dates, decimals, UUIDs).
        instance: The object that it is about: a saved instance of any model.
        key: In place of ``instance``, for what is no instance: ``"shop.cart:17"``; of a row, ``"app.model:pk"``.
        service: Where it comes from; None for that of the model's entry in ``MODELS_CRUD_EVENT``, or ``SERVICE_NAME``.
        headers: What nameko's worker context of its handlers has beside, over what ``event_context`` says.
        using: Alias of the database whose transaction it is a part of; None for the one that a save would go to.

    Returns:
        The event; also where ``disable_dispatcher`` keeps it from being sent.

    Raises:
        InvalidEvent: What was given can't be an event; the message says what and why.
        ConfigurationError: Django's apps are not loaded yet, the library is not installed, there is no service name, or
            the database lacks the outbox's tables.
        django.db.Error: The database took no lock, or no event.
    """
    if not apps.ready:
        raise ConfigurationError(
            f"emit({name!r}) was called before Django was set up. Call it from a function that runs later, not while a "
            "module is imported; in a script, call django.setup() first."
        )
    if not apps.is_installed(_APP) and f"{_APP}.models" not in sys.modules:
        raise ConfigurationError(f"emit({name!r}): add {_APP!r} to INSTALLED_APPS, and run `manage.py migrate`.")
    # what it needs can only be imported now
    emitting = import_module(f"{_APP}.capture.emitting")
    event: Event = emitting.emit(
        name, payload, instance=instance, key=key, service=service, headers=headers, using=using
    )
    return event


async def aemit(  # noqa: PLR0913
    name: str,
    payload: Any,
    *,
    instance: Model | None = None,
    key: str | None = None,
    service: str | None = None,
    headers: Mapping[str, Any] | None = None,
    using: Alias | None = None,
) -> Event:
    """As ``emit``, from async code. Django has no transactions there, so that it is one by itself."""
    return await sync_to_async(emit)(
        name, payload, instance=instance, key=key, service=service, headers=headers, using=using
    )
