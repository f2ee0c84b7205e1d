"""The receivers of Django's model signals, connected to registered models only: others pay nothing."""

from functools import partial
from typing import Any

from django.core.signals import setting_changed
from django.db.models import Model
from django.db.models.signals import ModelSignal, post_delete, post_save, pre_delete

from django_events_sourcing import saves
from django_events_sourcing.deletions import cover_parents, is_covered, uncover
from django_events_sourcing.delivery import deliver
from django_events_sourcing.events import Event
from django_events_sourcing.registration import Registration
from django_events_sourcing.registry import registry
from django_events_sourcing.stored import RowGoneError
from django_events_sourcing.switches import is_silenced

__all__ = ["connect"]

_Drafts = list[partial[Event]]

# On an instance's `_state`: saves that were told when written, and the events of a delete on its way.
_TOLD = "_django_events_sourcing_told"
_DRAFTS = "_django_events_sourcing_drafts"


def connect() -> None:
    """Load the registry and connect its models; done again, after disconnecting, when tests override the setting."""
    for model in registry.roots:
        saves.part(model)
    for signal, receiver, models in _connections():
        for model in models:
            signal.disconnect(receiver, sender=model)
    registry.load()
    for model in registry.roots:
        saves.join(model, _on_write)
    for signal, receiver, models in _connections():
        for model in models:
            signal.connect(receiver, sender=model)
        _move_to_front(signal, len(models))


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
    with signal.lock:
        signal.receivers[:] = [*signal.receivers[len(signal.receivers) - count :], *signal.receivers[: -count or None]]
        signal.sender_receivers_cache.clear()


def _on_write(instance: Model, created: bool, using: str) -> None:
    model = type(instance)
    registrations = registry.saved.get(model)
    if registrations is None or not post_save.has_listeners(model):  # defined after start-up; or muted, by a test say
        return
    _tell_save(registrations, instance, created, using)
    state = vars(instance._state)
    state[_TOLD] = state.get(_TOLD, 0) + 1
    if _DRAFTS in state:  # saved by another receiver of pre_delete
        state[_DRAFTS] = _delete_drafts(model, instance, using)


def _on_post_save(*, sender: type[Model], instance: Model, created: bool, raw: bool, using: str, **_: Any) -> None:
    state = vars(instance._state)
    if state.get(_TOLD):
        state[_TOLD] -= 1
    elif not raw:  # the signal was sent by hand, after a bulk_create say
        _tell_save(registry.saved[sender], instance, created, using)


def _on_pre_delete(*, sender: type[Model], instance: Model, using: str, origin: object = None, **_: Any) -> None:
    cover_parents(instance, origin, using)
    covered = is_covered(instance, origin, using)
    vars(instance._state)[_DRAFTS] = [] if covered else _delete_drafts(sender, instance, using)


def _on_post_delete(*, sender: type[Model], instance: Model, using: str, origin: object = None, **_: Any) -> None:
    drafts = vars(instance._state).pop(_DRAFTS, None)
    if drafts is None:  # the signal was sent by hand
        drafts = _delete_drafts(sender, instance, using)
    if not uncover(instance, origin, using):
        _deliver(drafts, using)


def _tell_save(registrations: tuple[Registration, ...], instance: Model, created: bool, using: str) -> None:
    _deliver(_drafts(registrations, instance, using, "created" if created else "updated"), using)


def _delete_drafts(model: type[Model], instance: Model, using: str) -> _Drafts:
    try:
        return _drafts(registry.deleted[model], instance, using, "deleted")
    except RowGoneError:  # deleted by somebody else, who tells
        return []


def _drafts(registrations: tuple[Registration, ...], instance: Model, using: str, action: str) -> _Drafts:
    return [
        registration.draft(instance, using, action)
        for registration in registrations
        if not is_silenced(registration.model, instance)
    ]


def _deliver(drafts: _Drafts, using: str) -> None:
    for draft in drafts:
        deliver(draft(), using)


def _reconnect(*, setting: str, **_kwargs: object) -> None:
    if setting in {"MODELS_CRUD_EVENT", "REST_FRAMEWORK", "TIME_ZONE", "USE_TZ"}:  # kept serializers follow the others
        connect()


setting_changed.connect(_reconnect, dispatch_uid="django_events_sourcing.receivers")
