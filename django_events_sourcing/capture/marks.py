"""What one signal of a save or a delete leaves for the next."""

from typing import Any, NamedTuple

__all__ = ["Marks", "mark", "marks_of"]

_MARKS = "_django_events_sourcing"


class Marks(NamedTuple):
    """Kept on an instance's ``_state``, or on a transaction of Django's; immutable, as a copied instance has them, too.

    Attributes:
        recorded: How many saves were recorded as they were written, whose ``post_save`` is yet to come.
        deletion: The ``Deletion`` that is under way, None if there is none.
        comparison: The ``Comparison`` of a save that is under way, None if there is none.
        raw: Whether it was saved last as a part of a fixture.
        lists: The keys of the objects whose many-to-many lists are about to be changed, None if there are none.
    """

    recorded: int = 0
    deletion: Any = None
    comparison: Any = None
    raw: bool = False
    lists: Any = None


_NONE = Marks()


def marks_of(holder: object) -> Marks:
    """Those that are kept there."""
    marks: Marks = vars(holder).get(_MARKS, _NONE)
    return marks


def mark(holder: object, **changes: Any) -> None:
    """Change some of them; where none is left, nothing is kept."""
    marks = marks_of(holder)._replace(**changes)
    if any(marks):
        vars(holder)[_MARKS] = marks
    else:
        vars(holder).pop(_MARKS, None)
