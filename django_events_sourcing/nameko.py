"""For nameko services whose methods change models, or emit events."""

from typing import Any

from nameko.extensions import DependencyProvider

from django_events_sourcing.context import OWN_NAMES, event_context
from django_events_sourcing.exceptions import InvalidEvent

__all__ = ["EventContext"]

# Of one value that came with a call, in characters.
_MAX_VALUE = 1024


class EventContext(DependencyProvider):  # type: ignore[misc]
    """Events that a method makes go on with the call that it handles: its ``call_id_stack`` and its context data.

    ``events = EventContext()`` in the service's class is all. What tells of the handled event (its id, time, object and
    trace) stays behind, and so does what is no text or number, or longer than 1,024 characters.
    """

    def worker_setup(self, worker_ctx: Any) -> None:
        """Begin the context; nameko runs each call in a greenlet of its own."""
        stack = {"call_id_stack": worker_ctx.call_id_stack}
        data = {name: value for name, value in worker_ctx.data.items() if name not in OWN_NAMES and _is_short(value)}
        try:
            event_context(**data, **stack).__enter__()
        except InvalidEvent:  # so much that no header holds it, or by names that none has
            event_context(**stack).__enter__()

    def worker_teardown(self, worker_ctx: Any) -> None:  # noqa: ARG002 - nameko's signature
        """End it."""
        event_context().__exit__()


def _is_short(value: object) -> bool:
    return isinstance(value, str | int | float) and len(str(value)) <= _MAX_VALUE
