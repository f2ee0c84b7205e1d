"""Querysets whose bulk writes are told, as saves are."""

import sys
from collections.abc import Callable, Collection, Iterable
from importlib import import_module
from typing import Any, TypeVar

from django.apps import apps
from django.db.models import Manager, Model, QuerySet

__all__ = ["EventManager", "EventQuerySet"]

_APP = "django_events_sourcing"

_Model = TypeVar("_Model", bound=Model)


class EventQuerySet(QuerySet[_Model]):
    """A QuerySet whose ``update``, ``bulk_update`` and ``bulk_create`` send an event for each row, as saves do.

    So do their async twins. ``objects = EventQuerySet.as_manager()``, or a mixin for a queryset of the project's:
    ``class OrderQuerySet(EventQuerySet): …``. Of a model that is not in ``MODELS_CRUD_EVENT`` it tells nothing. Where
    the model's entry has ``"bulk": True``, every QuerySet does this.

    Raises:
        BulkWriteRefused: By these methods: which rows a write is about could not be known.
    """

    def update(self, **kwargs: Any) -> int:
        """As Django's, and an event for each row that it updated."""
        count: int = self._tell("update", super(EventQuerySet, type(self)).update, **kwargs)
        return count

    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_update(self, objs: Iterable[_Model], fields: Iterable[str], batch_size: int | None = None) -> int:
        """As Django's, and an event for each row that it updated."""
        count: int = self._tell(
            "bulk_update", super(EventQuerySet, type(self)).bulk_update, objs, fields, batch_size=batch_size
        )
        return count

    bulk_update.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(  # noqa: PLR0913, PLR0917 - Django's signature
        self,
        objs: Iterable[_Model],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Collection[str] | None = None,
        unique_fields: Collection[str] | None = None,
    ) -> list[_Model]:
        """As Django's, and an event for each row that it created or updated."""
        created: list[_Model] = self._tell(
            "bulk_create",
            super(EventQuerySet, type(self)).bulk_create,
            objs,
            batch_size=batch_size,
            ignore_conflicts=ignore_conflicts,
            update_conflicts=update_conflicts,
            update_fields=update_fields,
            unique_fields=unique_fields,
        )
        return created

    bulk_create.alters_data = True  # type: ignore[attr-defined]

    def _tell(self, method: str, original: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if not apps.ready or not (apps.is_installed(_APP) or f"{_APP}.models" in sys.modules):
            return original(self, *args, **kwargs)
        # what it needs can only be imported now
        bulk = import_module(f"{_APP}.capture.bulk")
        return getattr(bulk, method)(bulk.registrations_of(self.model, bulk=False), original, self, *args, **kwargs)


EventManager = Manager.from_queryset(EventQuerySet, "EventManager")
