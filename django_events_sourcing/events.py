"""The one thing that flows through the library: an immutable event."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID

from django_events_sourcing.texts import brief
from django_events_sourcing.types import SequenceNumber

if sys.version_info >= (3, 14):
    from uuid import uuid7
else:
    from uuid_utils.compat import uuid7

__all__ = ["Event", "uuid7"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happened to one object, as it will be published.

    Attributes:
        name: Event name, the routing key; ``"order__created"``.
        service: Name of the service it comes from; the exchange is ``<service>.events``.
        object: The object it is about, ``"app.model:pk"``; for a proxy model that of the model behind it.
        body: The serialized object, as the JSON text that is published.
        id: UUIDv7, the same however often the event is published.
        time: When it was made, with the time zone UTC.
        headers: What the caller adds to nameko's worker context, JSON types only.
        sequence: Its place among the events of its object; only the outbox gives it one, when it is committed.
    """

    name: str
    service: str
    object: str
    body: str
    id: UUID = field(default_factory=uuid7)
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    headers: Mapping[str, Any] = field(default_factory=dict, hash=False)
    sequence: SequenceNumber | None = None

    @property
    def data(self) -> Any:
        """The body, decoded, as a nameko handler gets it."""
        return json.loads(self.body)

    @property
    def label(self) -> str:
        """Its id, name and object, as logs call it."""
        return f"{self.id} ({brief(self.name)}, {brief(self.object)})"

    @property
    def log_fields(self) -> dict[str, str]:
        """What lines of the log that are about it have as ``extra``."""
        return {
            "event_id": str(self.id),
            "event_name": brief(self.name),
            "event_service": brief(self.service),
            "event_object": brief(self.object),
        }

    def to_message(self) -> dict[str, Any]:
        """The event as plain JSON types, the argument of a Celery task."""
        return {
            "name": self.name,
            "service": self.service,
            "object": self.object,
            "body": self.body,
            "id": str(self.id),
            "time": self.time.isoformat(),
            "headers": dict(self.headers),
        }

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Self:
        """The event that ``to_message`` gave ``message`` for.

        Raises:
            ValueError: It gave no such message.
        """
        try:
            event = cls._from_message(message)
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            raise ValueError(f"it is no event: {type(exc).__name__}: {exc}") from exc
        texts = (event.name, event.service, event.object, event.body)
        if not (
            all(isinstance(text, str) for text in texts) and isinstance(event.headers, Mapping) and event.time.tzinfo
        ):
            raise ValueError("it is no event: a value is of the wrong type")
        return event

    @classmethod
    def _from_message(cls, message: Mapping[str, Any]) -> Self:
        return cls(
            name=message["name"],
            service=message["service"],
            object=message["object"],
            body=message["body"],
            id=UUID(message["id"]),
            time=datetime.fromisoformat(message["time"]),
            headers=message["headers"],
        )
