"""What one signal of a save or a delete leaves for the next."""

from dataclasses import dataclass, replace
from typing import Any

__all__ = ["Marks", "mark", "marks_of"]

_MARKS = "_django_events_sourcing"


@dataclass(frozen=True)
class Marks:
    """Kept on an instance's ``_state``, or on a transaction of Django's; frozen, as a copied instance has them, too.

    Attributes:
        recorded: How many saves were recorded as they were written, whose ``post_save`` is yet to come.
        deletion: The ``Deletion`` that is under way, None if there is none.
    """

    recorded: int = 0
    deletion: Any = None


_NONE = Marks()


def marks_of(holder: object) -> Marks:
    """Those that are kept there."""
    marks: Marks = vars(holder).get(_MARKS, _NONE)
    return marks


def mark(holder: object, **changes: Any) -> None:
    """Change some of them; where none is left, nothing is kept."""
    marks = replace(marks_of(holder), **changes)
    if marks == _NONE:
        vars(holder).pop(_MARKS, None)
    else:
        vars(holder)[_MARKS] = marks
