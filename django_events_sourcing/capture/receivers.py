"""The receivers of Django's model signals, connected to registered models only: others pay nothing."""

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django.core.signals import setting_changed
from django.db import router
from django.db.models import Model
from django.db.models.signals import ModelSignal, post_delete, post_save, pre_delete

from django_events_sourcing.capture import bulk, bypass, changes, relations, saves
from django_events_sourcing.capture.deletions import Deletion, Drafts
from django_events_sourcing.capture.registration import Registration
from django_events_sourcing.capture.registry import registry
from django_events_sourcing.capture.stored import RowGoneError, has_row
from django_events_sourcing.capture.switches import is_silenced
from django_events_sourcing.delivery.deliver import deliver
from django_events_sourcing.delivery.migrating import lacks_tables
from django_events_sourcing.delivery.transactions import write_lock_before_reads
from django_events_sourcing.types import Alias

__all__ = ["connect"]

logger = logging.getLogger(__name__)


def connect() -> None:
    """Load the registry and connect its models; done again, after disconnecting, when tests override the setting."""
    _unwrap()
    for signal, receiver, models in _connections():
        for model in models:
            signal.disconnect(receiver, sender=model)
    registry.load()
    bypass.connect()
    _wrap()
    for signal, receiver, models in _connections():
        for model in models:
            signal.connect(receiver, sender=model)
        _move_to_front(signal, len(models))


def _wrap() -> None:
    if saves.is_known():
        for model in registry.roots:
            saves.wrap(model, _record_write, _around_write)
        for model in registry.compared_roots:
            changes.track(model)
    elif registry.roots:
        logger.warning(
            "This version of Django saves in a way that is not known: events are recorded at post_save. Outside "
            "atomic(), a row may be committed without its event if the process dies in between. With 'track_changes', "
            "events do not name what changed."
        )

    relations.connect()
    if any(each.bulk for each in registry.registrations):
        bulk.wrap()


def _unwrap() -> None:
    bulk.unwrap()
    relations.disconnect()
    for model in registry.roots:
        saves.unwrap(model)
    for model in registry.compared_roots:
        changes.untrack(model)


def _connections() -> list[tuple[ModelSignal, Any, list[type[Model]]]]:
    return [
        (post_save, _on_post_save, list(registry.saved)),
        (pre_delete, _on_pre_delete, list(registry.deleted)),
        (post_delete, _on_post_delete, list(registry.deleted)),
    ]


def _move_to_front(signal: ModelSignal, count: int) -> None:
    """Have the receivers that were connected last called first.

    A receiver of the project's may delete related rows before the event is drafted, or write the row anew before it is
    sent; Django calls them in the order in which they were connected.
    """
    if not (hasattr(signal, "receivers") and hasattr(signal, "sender_receivers_cache")):
        return
    with signal.lock:
        signal.receivers[:] = [*signal.receivers[len(signal.receivers) - count :], *signal.receivers[: -count or None]]
        signal.sender_receivers_cache.clear()


def _record_write(instance: Model, created: bool, using: Alias) -> bool:
    model = type(instance)
    registrations = registry.saved.get(model)
    if registrations is None or not post_save.has_listeners(model):  # defined after start-up; or muted, by a test say
        return False
    _record_save(registrations, instance, created, using)
    if deletion := Deletion.drafting(instance, using):  # saved by another receiver of pre_delete
        deletion.draft(model, instance, _delete_drafts(model, instance, using))
    return True


def _around_write(
    instance: Model, using: Alias, force_insert: Any, update_fields: Any, is_last: bool
) -> AbstractContextManager[Any]:
    tracked = (each for each in registry.saved.get(type(instance), ()) if each.compares)
    if all(is_silenced(each.model, instance) for each in tracked):
        return nullcontext()
    return changes.compared(instance, using, force_insert=force_insert, update_fields=update_fields, is_last=is_last)


# Whoever sends a signal by hand, after a bulk_create() say, may leave out what Django itself sends along.


def _on_post_save(
    *,
    sender: type[Model],
    instance: Model,
    created: bool = False,
    raw: bool = False,
    using: Alias | None = None,
    **_: Any,
) -> None:
    if not (saves.take_record(instance) or raw):
        _record_save(registry.saved[sender], instance, created, using or _database_of(instance))


def _on_pre_delete(
    *, sender: type[Model], instance: Model, using: Alias | None = None, origin: object = None, **_: Any
) -> None:
    using = using or _database_of(instance)
    deletion = Deletion.of(instance, using)
    deletion.note_parents(instance)
    drafts: Drafts = []
    if not deletion.is_reported_by_child(instance):
        with write_lock_before_reads(using, instance._meta.db_table):
            # What goes along with it, or is in a queryset, Django has just read.
            drafts = _delete_drafts(sender, instance, using, may_be_gone=origin is instance)
    deletion.draft(sender, instance, drafts)


def _on_post_delete(
    *, sender: type[Model], instance: Model, using: Alias | None = None, origin: object = None, **_: Any
) -> None:
    using = using or _database_of(instance)
    drafts = Deletion.of(instance, using).take(sender, instance, together=origin is not None)
    _deliver(_delete_drafts(sender, instance, using) if drafts is None else drafts, using)


def _database_of(instance: Model) -> Alias:
    return instance._state.db or router.db_for_write(type(instance), instance=instance)


def _record_save(registrations: tuple[Registration, ...], instance: Model, created: bool, using: Alias) -> None:
    action = "created" if created else "updated"
    _deliver(_drafts(_speaking(registrations, instance, using, action), instance, using, action), using)


def _delete_drafts(model: type[Model], instance: Model, using: Alias, *, may_be_gone: bool = False) -> Drafts:
    registrations = _speaking(registry.deleted[model], instance, using, "deleted")
    if registrations and may_be_gone and not has_row(instance, using):
        return []
    try:
        return _drafts(registrations, instance, using, "deleted")
    except RowGoneError:  # deleted by somebody else, who records it
        return []


def _drafts(registrations: list[Registration], instance: Model, using: Alias, action: str) -> Drafts:
    drafts = (each.draft(instance, using, action) for each in registrations)
    return [draft for draft in drafts if draft is not None]


def _speaking(
    registrations: tuple[Registration, ...], instance: Model, using: Alias, action: str
) -> list[Registration]:
    """Those that tell of such an action, and are not to be silent about the instance for now."""
    if lacks_tables(using):
        return []
    return [each for each in registrations if action in each.actions and not is_silenced(each.model, instance)]


def _deliver(drafts: Drafts, using: Alias) -> None:
    deliver([draft() for draft in drafts], using)


def _follow(*, setting: str, **_kwargs: object) -> None:
    """Do as the settings say that a test has just overridden."""
    if (
        setting == "MODELS_CRUD_EVENT"
        or (setting == "INSTALLED_APPS" and registry.is_out_of_date())
        or (setting == "EVENTS_SOURCING" and bypass.is_out_of_date())
    ):
        connect()
    elif setting in {"REST_FRAMEWORK", "TIME_ZONE", "USE_TZ"}:
        for registration in registry.registrations:
            registration.forget_serializers()


setting_changed.connect(_follow, dispatch_uid="django_events_sourcing.capture.receivers")
