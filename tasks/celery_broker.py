"""Celery's broker, where a fault of kombu's would be the worker's end."""

# Note [Redis comes back, the worker does not]
# A worker that loses its connection to Redis closes it twice. With kombu 5.7, where an error of one channel breaks off
# the first time, the second one goes to restore the unacknowledged messages of the channels that are left, over a
# connection that has forgotten where it led; the AttributeError of that ends the worker. What Redis doesn't get now,
# it hands out by itself after its visibility_timeout, as ever when it is away.

from functools import wraps
from typing import Any

from kombu.transport.redis import QoS
from redis.exceptions import ConnectionError as LostError

__all__ = ["outlive_lost_connections"]


def outlive_lost_connections() -> None:
    """Have this process go on when it loses its connection to Redis."""
    original: Any = QoS.restore_unacked
    if hasattr(original, "__wrapped__"):
        return

    @wraps(original)
    def restore_unacked(self: Any, client: Any = None) -> Any:
        if client is None and self.channel.connection.client is None:
            raise LostError(
                "The connection is closed; unacknowledged messages are delivered again after visibility_timeout."
            )
        return original(self, client)

    QoS.restore_unacked = restore_unacked  # type: ignore[method-assign]
