"""Every error that this library raises on its own account."""

from django.core.exceptions import ImproperlyConfigured

from django_events_sourcing.texts import without_passwords

__all__ = [
    "BulkWriteRefused",
    "BypassError",
    "ConfigurationError",
    "EventRefused",
    "EventsSourcingError",
    "InvalidEvent",
    "NoConnectionLeft",
    "OperationError",
    "PayloadTooLarge",
    "PublishError",
    "RabbitMQUnavailable",
    "SerializationError",
]


class EventsSourcingError(Exception):
    """Base class of this library's errors: catch it to catch them all.

    Its text is one line, whatever control characters the names and values have that it quotes.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(without_passwords(message))


class ConfigurationError(EventsSourcingError, ImproperlyConfigured):
    """A setting is wrong, and something just needed it.

    ``manage.py check`` lists everything that is wrong with the settings; a web server started by WSGI or ASGI
    runs no checks, so that there the first use of the setting raises it.
    """


class SerializationError(EventsSourcingError):
    """An instance of a registered model could not be turned into an event's JSON, so its save or delete failed.

    The message names the model, the serializer and, where it is known, the field. Mend the serializer or the
    value; to save without an event, take the model out of ``MODELS_CRUD_EVENT``.
    """


class PayloadTooLarge(EventsSourcingError):
    """An event's body has more bytes than ``EVENTS_SOURCING["MAX_PAYLOAD_BYTES"]``, so its save or ``emit()`` failed.

    Or its object has a primary key that is too long for a message's headers.

    RabbitMQ would refuse it for ever. The message names the event, the object and the mend.
    """


class BulkWriteRefused(EventsSourcingError):
    """A bulk write of a registered model was not done, as it could not be known which rows it would be about.

    The message says why, and what to do in its place. What its transaction did before is undone with it.
    """


class BypassError(EventsSourcingError):
    """A registered model's table was about to be written without an event, by what ``BYPASS`` is to look for.

    Nothing was written. The message names the model, the place in the project's code, and what to do.
    """


class InvalidEvent(EventsSourcingError, ValueError):
    """What ``emit()`` or ``event_context()`` was given can't be an event's; nothing was sent.

    The message names the argument, its value and the mend.
    """


class OperationError(EventsSourcingError):
    """What an operator asked for can't be done; the message says why, and nothing was done."""


class PublishError(EventsSourcingError):
    """RabbitMQ did not take an event for a reason that may pass; publishing it again later is right."""


class RabbitMQUnavailable(PublishError):
    """RabbitMQ, or the way to it, is in trouble: no event would get through."""


class NoConnectionLeft(RabbitMQUnavailable):
    """RabbitMQ has no connection left for this process, by a limit of the vhost's or the user's.

    Other processes may have one.
    """


class EventRefused(PublishError):
    """RabbitMQ refused this one event by itself: too large, say, or (with ``MANDATORY``) wanted by no queue.

    Other events are not affected. After ``EVENTS_SOURCING["MAX_ATTEMPTS"]`` refusals it is given up.
    """
