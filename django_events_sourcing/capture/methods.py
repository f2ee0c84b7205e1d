"""Methods of ours in the place of those that a class has."""

import functools
from collections.abc import Callable
from typing import Any

__all__ = ["replace", "restore", "wrap"]

# On a method of ours: that of the class itself in whose place it is, None if the class inherits it.
_REPLACED = "replaces"


def replace(cls: type, name: str, method: Any) -> None:
    """Give a class a function or class method of ours, in the place of its own or of an inherited one."""
    vars(_function(method))[_REPLACED] = vars(cls).get(name)
    setattr(cls, name, method)


def wrap(cls: type, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Have ``make`` make a function in the place of a class's, of that."""
    original = getattr(cls, name)
    replace(cls, name, functools.wraps(original)(make(original)))


def restore(cls: type, name: str) -> None:
    """Undo ``replace`` or ``wrap``; nothing is done where nothing was replaced."""
    ours = vars(_function(vars(cls).get(name, object)))
    if _REPLACED not in ours:
        return
    if ours[_REPLACED] is None:
        delattr(cls, name)
    else:
        setattr(cls, name, ours[_REPLACED])


def _function(method: Any) -> Any:
    return getattr(method, "__func__", method)
