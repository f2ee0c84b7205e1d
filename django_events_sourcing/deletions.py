"""One delete is one event: of the most derived registered class."""

# Note [Deleting a multi-table child]
# Django sends the signals of a delete for the child and for each parent row, in an order that depends on where the
# delete began; the parents' instances are sometimes the child's own, sometimes other objects for the same rows. A child
# that goes is noted on what the delete began with, which all its signals carry: the parents then say nothing of their
# own.

from typing import Any

from django.db import connections
from django.db.models import Model, OneToOneField

from django_events_sourcing.stored import concrete_model

__all__ = ["cover_parents", "is_covered", "uncover"]

_COVERED = "_django_events_sourcing_covered"


def cover_parents(instance: Model, origin: object, using: str) -> None:
    """Note that ``instance``, which is about to be deleted, speaks for its parents' rows, where they go as well.

    Args:
        instance: What is about to be deleted.
        origin: What the delete began with: an instance, a queryset, or None for a collector made by hand.
        using: Alias of the database.
    """
    for link in concrete_model(type(instance))._meta.parents.values():
        # Django has just got each parent that goes along from its child; with keep_parents=True it has not
        parent = link.get_cached_value(instance, default=None) if isinstance(link, OneToOneField) else None
        if parent is not None:
            ancestors = concrete_model(type(parent))._meta.get_parent_list()
            rows = {(ancestor, getattr(parent, ancestor._meta.pk.attname)) for ancestor in ancestors}
            _notes(origin, using).setdefault(_COVERED, set()).update(rows, {_row(parent)})


def is_covered(instance: Model, origin: object, using: str) -> bool:
    """Whether a child that goes in the same delete speaks for the row of ``instance``; arguments as above."""
    return _row(instance) in _notes(origin, using).get(_COVERED, ())


def uncover(instance: Model, origin: object, using: str) -> bool:
    """Whether it is covered, which ends with it; the same queryset may delete anew."""
    covered = is_covered(instance, origin, using)
    if covered:
        _notes(origin, using)[_COVERED].remove(_row(instance))
    return covered


def _row(instance: Model) -> tuple[type[Model], Any]:
    return concrete_model(type(instance)), instance.pk


def _notes(origin: object, using: str) -> dict[str, Any]:
    return vars(connections[using] if origin is None else origin._state if isinstance(origin, Model) else origin)
