"""What tasks are given, checked: whoever may write to Celery's broker can have a worker run them with anything."""

import math
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connections

from django_events_sourcing.events import Event
from django_events_sourcing.outbox.partitioning import PARTITIONS
from django_events_sourcing.types import Alias, PartitionNumber

__all__ = ["AskedOperation", "DirectEvent", "WakeUp"]


@dataclass(frozen=True)
class WakeUp:
    """What the task ``relay`` is asked for.

    Attributes:
        using: Alias of the database.
        partitions: Those with new events, where they are few.
        sent: When that was, in seconds since 1970; None if nobody says.
    """

    using: Alias
    partitions: frozenset[PartitionNumber]
    sent: float | None

    @classmethod
    def parse(cls, using: object, partitions: object = (), sent: object = None) -> "WakeUp":
        """Check the task's arguments.

        Raises:
            ValueError, TypeError: They are not those of a wake-up.
        """
        using = _database(using)
        if not isinstance(partitions, list | tuple | set | frozenset) or not all(map(_is_partition, partitions)):
            raise ValueError(f"these are no partitions: {partitions!r:.80}")
        if sent is not None and not _is_number(sent):
            raise ValueError(f"this is no time: {sent!r:.80}")
        return cls(using, frozenset(partitions), sent)  # type: ignore[arg-type]


@dataclass(frozen=True)
class AskedOperation:
    """What the task ``operation`` is asked for.

    Attributes:
        using: Alias of the database.
        id: Of the operation.
    """

    using: Alias
    id: UUID

    @classmethod
    def parse(cls, using: object, operation_id: object) -> "AskedOperation":
        """Check the task's arguments.

        Raises:
            ValueError, TypeError: They are not those of an operation.
        """
        if not isinstance(operation_id, str):
            raise TypeError(f"this is no id: {operation_id!r:.80}")
        return cls(_database(using), UUID(operation_id))


@dataclass(frozen=True)
class DirectEvent:
    """What the task ``publish_event`` is asked for.

    Attributes:
        event: The event.
        failures: How many attempts have failed by what may be the event's own fault.
    """

    event: Event
    failures: int

    @classmethod
    def parse(cls, message: Any, failures: object = 0) -> "DirectEvent":
        """Check the task's arguments.

        Raises:
            ValueError, TypeError: They are not those of an event.
        """
        if not isinstance(failures, int) or failures < 0:
            raise ValueError(f"this is no number of failures: {failures!r:.80}")
        return cls(Event.from_message(message), failures)


def _database(using: object) -> Alias:
    if not isinstance(using, str) or using not in connections:
        raise ValueError(f"this worker's DATABASES lacks it: {using!r:.80}")
    return using


def _is_partition(value: object) -> bool:
    return type(value) is int and 0 <= value < PARTITIONS


def _is_number(value: object) -> bool:
    return type(value) in {int, float} and math.isfinite(value)  # type: ignore[arg-type]
