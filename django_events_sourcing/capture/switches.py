"""What sends no events for now: in this thread or async task, or in the whole process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.db.models import Model

__all__ = ["Rule", "is_silenced", "pop", "push", "silenced_everywhere"]

#: Whether an instance, registered as the model, is to send no events. An event may be of a model without an instance,
#: or of neither.
Rule = Callable[[type[Model] | None, Model | None], bool]

# A context variable is what threads and async tasks don't share.
_rules: ContextVar[tuple[Rule, ...]] = ContextVar("django_events_sourcing_switches", default=())
_everywhere: list[Rule] = []


def push(rule: Rule) -> None:
    """Have ``rule`` silence events in this thread or async task, until the matching ``pop``."""
    _rules.set((*_rules.get(), rule))


def pop() -> None:
    """End the rule pushed last."""
    _rules.set(_rules.get()[:-1])


@contextmanager
def silenced_everywhere(rule: Rule) -> Iterator[None]:
    """Within it ``rule`` silences events in every thread of the process."""
    _everywhere.append(rule)
    try:
        yield
    finally:
        _everywhere.remove(rule)


def is_silenced(model: type[Model] | None, instance: Model | None) -> bool:
    """Whether ``instance``, registered as ``model``, sends no events for now."""
    rules = _rules.get()
    return bool(_everywhere or rules) and any(rule(model, instance) for rule in (*_everywhere, *rules))
