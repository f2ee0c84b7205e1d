"""The receivers of Django's model signals, connected to registered models only: others pay nothing."""

from typing import Any

from django.core.signals import setting_changed
from django.db.models import Model, OneToOneField
from django.db.models.signals import ModelSignal, post_delete, post_save, pre_delete

from django_events_sourcing import transactions
from django_events_sourcing.delivery import deliver
from django_events_sourcing.registry import registry
from django_events_sourcing.serialization import load_all_values
from django_events_sourcing.switches import is_silenced

__all__ = ["connect"]


def connect() -> None:
    """Load the registry and connect its models; done again, after disconnecting, when tests override the setting."""
    for model in registry:
        transactions.part(model)
        for signal, receiver in _RECEIVERS:
            signal.disconnect(receiver, sender=model)
    registry.load()
    for model in registry:
        transactions.join(model)
        for signal, receiver in _RECEIVERS:
            signal.connect(receiver, sender=model)


def _on_save(*, sender: type[Model], instance: Model, created: bool, raw: bool, using: str, **_kwargs: Any) -> None:
    if not raw:  # a fixture being loaded: its related objects may not be there yet
        _dispatch(sender, instance, "created" if created else "updated", using)


def _on_pre_delete(*, instance: Model, using: str, **_kwargs: Any) -> None:
    instance.__dict__.pop(_GOES_WITH_CHILD, None)  # left by delete(keep_parents=True) of a child
    load_all_values(instance, using)  # after the delete nobody could


def _on_delete(*, sender: type[Model], instance: Model, using: str, **_kwargs: Any) -> None:
    if getattr(instance, _GOES_WITH_CHILD, False):
        return
    _mark_parents(instance)
    _dispatch(sender, instance, "deleted", using)


def _dispatch(sender: type[Model], instance: Model, action: str, using: str) -> None:
    registration = registry[sender]
    if not is_silenced(registration.model, instance):
        deliver(registration.event(instance, action), using)


# Note [Deleting a multi-table child]
# Django sends post_delete for the child and then for each parent row, but post_save for the child alone. One delete is
# to be one event, too. The instances that stand for the parent rows are those that Django's collector just got from
# the child's parent links, so they are marked there.
_GOES_WITH_CHILD = "_django_events_sourcing_goes_with_child"


def _mark_parents(instance: Model) -> None:
    for link in instance._meta.parents.values():
        parent = link.get_cached_value(instance, default=None) if isinstance(link, OneToOneField) else None
        if parent is not None:
            setattr(parent, _GOES_WITH_CHILD, True)
            _mark_parents(parent)


_RECEIVERS: list[tuple[ModelSignal, Any]] = [
    (post_save, _on_save),
    (pre_delete, _on_pre_delete),
    (post_delete, _on_delete),
]


def _reconnect(*, setting: str, **_kwargs: object) -> None:
    if setting == "MODELS_CRUD_EVENT":
        connect()


setting_changed.connect(_reconnect, dispatch_uid="django_events_sourcing.receivers")
