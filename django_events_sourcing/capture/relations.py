"""Many-to-many relations: what is put on the list of a registered object, or taken off it, is an update of that."""

# Note [Whose list]
# A list may be changed from either side; the event is for the object whose field it is. Django says in `m2m_changed`
# what it is about to do, in the transaction that does it. But `set()` is two of its steps, and of a relation to itself
# it says nothing of the mirrored rows, which it writes later. So what will change is noted then, and told when the
# method of the related manager ends that all of this belongs to. The objects' rows are locked before: of two who change
# one list at a time, the second reads what the first has made of it.

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from django.db import router
from django.db.models import Model, QuerySet
from django.db.models.signals import m2m_changed

from django_events_sourcing.capture import methods
from django_events_sourcing.capture.changes import Comparison
from django_events_sourcing.capture.marks import mark, marks_of
from django_events_sourcing.capture.registry import registry
from django_events_sourcing.capture.rows import lock_keys, read_and_tell_updated, telling
from django_events_sourcing.delivery.transactions import own_transaction, rollback_on_error, write_lock_before_reads
from django_events_sourcing.types import Alias

__all__ = ["connect", "disconnect"]

# Of a related manager.
_METHODS = ("add", "clear", "remove", "set")


@dataclass
class _Changes:
    """Of the lists of one database's objects, by the method that is under way.

    Attributes:
        fields: By model and primary key, the fields whose lists have changed.
    """

    fields: dict[type[Model], dict[Any, set[str]]] = field(default_factory=dict)

    def note(self, model: type[Model], pks: Collection[Any], name: str) -> None:
        by_pk, to_python = self.fields.setdefault(model, {}), model._meta.pk.to_python
        for pk in pks:  # as it is on an instance, "5" at times
            by_pk.setdefault(to_python(pk), set()).add(name)


# By the aliases of databases.
_under_way: ContextVar[dict[Alias, _Changes]] = ContextVar("django_events_sourcing_relations", default={})  # noqa: B039


def connect() -> None:
    """Have the relations be told that the entries name."""
    for through, relation in registry.relations.items():
        m2m_changed.connect(_on_m2m_changed, sender=through)
        for manager in _managers(relation):
            for name in _METHODS:
                methods.wrap(manager, name, _wrapper)


def disconnect() -> None:
    """Undo ``connect``."""
    for through, relation in registry.relations.items():
        m2m_changed.disconnect(_on_m2m_changed, sender=through)
        for manager in _managers(relation):
            for name in _METHODS:
                methods.restore(manager, name)


def _managers(relation: Any) -> Iterator[type]:
    """The classes of the managers that change it: from the side of its field, and from the other, if that has one."""
    yield getattr(relation.model, relation.name).related_manager_cls
    other_side = getattr(relation.remote_field.model, relation.remote_field.get_accessor_name() or "", None)
    if other_side is not None:
        yield other_side.related_manager_cls


def _wrapper(original: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        using = router.db_for_write(self.through, instance=self.instance)
        if using in _under_way.get():
            return original(self, *args, **kwargs)
        with _told_together(using, self.through):
            return original(self, *args, **kwargs)

    return wrapper


@contextmanager
def _told_together(using: Alias, through: type[Model]) -> Iterator[None]:
    changes = _Changes()
    with own_transaction(using):
        token = _under_way.set({**_under_way.get(), using: changes})
        try:
            with write_lock_before_reads(using, through._meta.db_table):
                yield
        finally:
            _under_way.reset(token)
        with rollback_on_error(using):
            for model, by_pk in changes.fields.items():
                _tell(model, by_pk, using)


def _tell(model: type[Model], by_pk: dict[Any, set[str]], using: Alias) -> None:
    for registration in registry.saved.get(model, ()):
        its_own = {pk: names & set(registration.m2m) for pk, names in by_pk.items()}
        comparisons = {pk: Comparison(None, (), related=names) for pk, names in its_own.items() if names}
        read_and_tell_updated([registration], model, using, list(comparisons), comparisons.get)


# A manager that was made for the moment, by `article.tags(manager="others")`, has none of the methods of ours: what it
# changes is told by the signal that says that it is done. Whoever sends one by hand may leave out what Django sends.


def _on_m2m_changed(  # noqa: PLR0913 - Django's signal
    *,
    sender: type[Model],
    instance: Model,
    action: str,
    reverse: bool = False,
    pk_set: Collection[Any] | None = None,
    using: Alias | None = None,
    **_: Any,
) -> None:
    relation = registry.relations[sender]
    model = relation.model if reverse or relation.remote_field.symmetrical else type(instance)
    if using is None or marks_of(instance._state).raw or not _speaks(model, relation.name, using):
        return
    changes = _under_way.get().get(using)
    if action.startswith("pre_"):
        pks = _lists(relation, instance, action, reverse=reverse, pk_set=pk_set, using=using)
        lock_keys(model, using, list(pks))
        if changes is None:
            mark(instance._state, lists=pks)
        else:
            changes.note(model, pks, relation.name)
    elif changes is None:
        changes = _Changes()
        changes.note(model, marks_of(instance._state).lists or (), relation.name)
        mark(instance._state, lists=None)
        _tell(model, changes.fields[model], using)


def _speaks(model: type[Model], name: str, using: Alias) -> bool:
    registrations = [each for each in registry.saved.get(model, ()) if name in each.m2m]
    return bool(telling(registrations, model, using, ("updated",)))


def _lists(  # noqa: PLR0913
    relation: Any, instance: Model, action: str, *, reverse: bool, pk_set: Collection[Any] | None, using: Alias
) -> set[Any]:
    """The keys of the objects whose lists will be others."""
    its_key = getattr(instance, (relation.remote_field.model if reverse else relation.model)._meta.pk.attname)
    if action == "pre_add":
        pairs = {(other, its_key) if reverse else (its_key, other) for other in pk_set or ()}
    else:
        one, other = relation.m2m_field_name(), relation.m2m_reverse_field_name()
        mine, theirs = (other, one) if reverse else (one, other)
        links: QuerySet[Any] = QuerySet(relation.remote_field.through, using=using).filter(**{mine: its_key})
        if pk_set is not None:
            links = links.filter(**{f"{theirs}__in": pk_set})
        pairs = set(links.values_list(one, other))
    if relation.remote_field.symmetrical:
        return {key for pair in pairs for key in pair}
    if reverse:
        return {one for one, _ in pairs}
    return {instance.pk} if pairs else set()  # of a child of two parents it is another key than that of the list
