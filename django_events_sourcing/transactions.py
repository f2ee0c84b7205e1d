"""Putting a save and what its signals do into one transaction.

Outside ``atomic()``, Django commits a saved row before it sends ``post_save``: an event that fails then, or a process
that dies, would leave a change that nobody is told of. ``Collector.delete()`` is one transaction by itself.
"""

import functools
from typing import Any

from django.db import router, transaction
from django.db.models import Model

__all__ = ["join", "part"]

_METHOD = "save_base"


def join(model: type[Model]) -> None:
    """Have each save of ``model`` be one transaction with its ``post_save`` receivers, also in autocommit mode."""
    original: Any = getattr(model, _METHOD)

    @functools.wraps(original)
    def save_base(self: Model, *args: Any, using: str | None = None, **kwargs: Any) -> None:
        using = using or router.db_for_write(type(self), instance=self)
        with transaction.atomic(using=using, savepoint=False):
            original(self, *args, using=using, **kwargs)

    save_base.alters_data = True  # type: ignore[attr-defined]
    save_base.replaces_own = _METHOD in vars(model)  # type: ignore[attr-defined]
    setattr(model, _METHOD, save_base)


def part(model: type[Model]) -> None:
    """Undo ``join``."""
    joined = vars(model)[_METHOD]
    if joined.replaces_own:
        setattr(model, _METHOD, joined.__wrapped__)
    else:
        delattr(model, _METHOD)
