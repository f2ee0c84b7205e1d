"""One delete under way: the events that are drafted for it, and which of its rows need none of their own."""

# Note [One delete]
# Django sends all the signals `pre_delete` of a delete, then, model by model, it deletes the rows of one and sends
# `post_delete` for each. What is to be known from the first to the last of them is kept on the transaction that Django
# opens for the delete: it ends with that, also where the delete is broken off.
#
# The events of a model are written together as soon as its rows are gone. Not earlier: until then the rows are not
# locked, and an event that somebody else writes for one of them would be behind its last.

# Note [Deleting a multi-table child]
# Django sends the signals of a delete for the child and for each parent row, in an order that depends on where the
# delete began; the parents' instances are sometimes the child's own, sometimes other objects for the same rows. When a
# child goes, its event reports the delete: its parents' rows have none.

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.db import connections
from django.db.models import Model, OneToOneField

from django_events_sourcing.capture.marks import mark, marks_of
from django_events_sourcing.capture.stored import concrete_model
from django_events_sourcing.events import Event
from django_events_sourcing.types import Alias

__all__ = ["Deletion", "Drafts"]

#: Events that lack their id and time.
Drafts = list[partial[Event]]

# Of a connection: Django's transactions and savepoints that are open.
_BLOCKS = "atomic_blocks"


@dataclass
class Deletion:
    """See Note [One delete].

    Attributes:
        drafts: Of each model the instances that go, by their identities, and their events; None where those were taken.
        reported_by_child: Rows of parents that need no event, as a child has one.
    """

    drafts: dict[type[Model], dict[int, tuple[Model, Drafts | None]]] = field(default_factory=dict)
    reported_by_child: set[tuple[type[Model], Any]] = field(default_factory=set)

    @classmethod
    def of(cls, instance: Model, using: Alias) -> "Deletion":
        """That which the instance is a part of; its own, where a signal is sent by hand and there is no transaction."""
        blocks = getattr(connections[using], _BLOCKS, None)
        holder = blocks[-1] if blocks else instance._state
        deletion: Deletion | None = marks_of(holder).deletion
        if deletion is None:
            deletion = cls()
            mark(holder, deletion=deletion)
        return deletion

    @classmethod
    def drafting(cls, instance: Model, using: Alias) -> "Deletion | None":
        """That which has drafted the delete of this instance, and not recorded it yet, if there is one."""
        holders = [*getattr(connections[using], _BLOCKS, ()), instance._state]
        under_way = (marks_of(holder).deletion for holder in holders)
        return next((each for each in under_way if each and each.awaits(instance)), None)

    @staticmethod
    def deletes(model: type[Model], using: Alias) -> bool:
        """Whether a delete is under way that is to tell of rows of a model, or has told of them just now."""
        under_way = (marks_of(block).deletion for block in getattr(connections[using], _BLOCKS, ()))
        return any(concrete_model(each) is model for deletion in under_way if deletion for each in deletion.drafts)

    def awaits(self, instance: Model) -> bool:
        """Whether the delete of the instance is drafted, and was not taken."""
        _, drafts = self.drafts.get(type(instance), {}).get(id(instance), (instance, None))
        return drafts is not None

    def draft(self, model: type[Model], instance: Model, drafts: Drafts) -> None:
        """Keep the events of an instance's delete, in place of those kept before."""
        self.drafts.setdefault(model, {})[id(instance)] = instance, drafts

    def take(self, model: type[Model], instance: Model, *, together: bool) -> Drafts | None:
        """The events to be recorded now that the row of ``instance`` is gone.

        Args:
            model: The sender of the signal.
            instance: Its instance.
            together: Whether the other rows of the model are gone as well, and their events are to be recorded, too.

        Returns:
            None if nothing was kept: the signal is sent by hand.
        """
        kept = self.drafts.get(model, {})
        if id(instance) not in kept:
            return None
        _, its_own = its = kept.pop(id(instance))
        if its_own is None:  # taken together with those of the first, so that each row is looked at once
            return []
        others = list(kept.items()) if together else []
        kept.update((key, (other, None)) for key, (other, _) in others)
        going = [its, *(each for _, each in others)]
        return [draft for each, drafts in going if not self.is_reported_by_child(each) for draft in drafts or ()]

    def note_parents(self, instance: Model) -> None:
        """Note the parents' rows of ``instance``, which is about to be deleted, where they go as well."""
        for link in concrete_model(type(instance))._meta.parents.values():
            # Django has just got each parent that goes along from its child; with keep_parents=True it has not
            parent = link.get_cached_value(instance, default=None) if isinstance(link, OneToOneField) else None
            if parent is not None:
                ancestors = concrete_model(type(parent))._meta.get_parent_list()
                rows = {(ancestor, getattr(parent, ancestor._meta.pk.attname)) for ancestor in ancestors}
                self.reported_by_child |= {*rows, _row(parent)}

    def is_reported_by_child(self, instance: Model) -> bool:
        """Whether a child that goes in the same delete has the event for the row of ``instance``."""
        return bool(self.reported_by_child) and _row(instance) in self.reported_by_child


def _row(instance: Model) -> tuple[type[Model], Any]:
    return concrete_model(type(instance)), instance.pk
