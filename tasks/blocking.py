"""Why RabbitMQ takes nothing more over a connection, as it says in ``connection.blocked``: low on memory, or on disk.

See https://www.rabbitmq.com/docs/connection-blocked. amqp knows the method, but doesn't read its argument, the reason.
"""

from typing import Any

from amqp import spec

__all__ = ["listen_for_blocking", "why_blocked"]

# Of amqp's connection.
_REASON = "_django_events_sourcing_blocked"


def listen_for_blocking(connection: Any) -> None:
    """Have amqp's ``connection`` remember why it is blocked, if it comes to be."""
    if _REASON in vars(connection):
        return
    vars(connection)[_REASON] = ""

    def on_blocked(reason: str) -> None:
        vars(connection)[_REASON] = reason

    def on_unblocked() -> None:
        vars(connection)[_REASON] = ""

    connection.on_blocked, connection.on_unblocked = on_blocked, on_unblocked
    # By these the reason itself comes; without, amqp's standing phrase.
    methods, callbacks = (getattr(connection, name, None) for name in ("_METHODS", "_callbacks"))
    if isinstance(methods, dict) and isinstance(callbacks, dict):
        blocked = spec.Connection.Blocked
        connection._METHODS = {**methods, blocked: spec.method(blocked, "s")}  # noqa: SLF001
        callbacks[blocked] = on_blocked


def why_blocked(connection: Any) -> str:
    """RabbitMQ's reason; empty if it doesn't block the connection."""
    return str(vars(connection).get(_REASON, ""))
