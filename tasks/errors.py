"""What an error of RabbitMQ's means: that it is in trouble, or that it refused one event by itself."""

from amqp.exceptions import ChannelError, NotFound, PreconditionFailed
from amqp.exceptions import ConnectionError as AMQPConnectionError
from kombu.exceptions import EncodeError

from django_events_sourcing.exceptions import EventRefused, PublishError

__all__ = ["is_over_one_event", "publish_error"]

# Codes by which RabbitMQ closes a connection over what one frame held: FRAME_ERROR, SYNTAX_ERROR, COMMAND_INVALID,
# UNEXPECTED_FRAME.
_FRAME_FAULTS = frozenset({501, 502, 503, 505})

_EXCHANGE_DECLARE = (40, 10)
_BASIC_PUBLISH = (60, 40)
_NO_ROUTE = 312


def publish_error(exc: Exception, exchange: str) -> PublishError:
    """What ``exc`` means: ``EventRefused`` if it is the event's own fault.

    Args:
        exc: What amqp or kombu raised while one event was on its way to the exchange named ``exchange``.
        exchange: Its name.
    """
    if own_fault := _own_fault(exc, exchange):
        return EventRefused(own_fault)
    if isinstance(exc, NotFound):
        return PublishError(
            f"{exc}: RabbitMQ has no exchange {exchange}. Without DECLARE_EVENT_EXCHANGES = False in NAMEKO_CONFIG it "
            "is declared before the first event."
        )
    if isinstance(exc, ChannelError) and exc.method_sig == _EXCHANGE_DECLARE:
        return PublishError(
            f"{exc}: the exchange {exchange} could not be declared. If it exists with other arguments, set "
            "AUTO_DELETE_EVENT_EXCHANGES (version 0.8.0 of this library declared it True) or "
            "DECLARE_EVENT_EXCHANGES in NAMEKO_CONFIG, or delete the exchange."
        )
    return PublishError(f"{type(exc).__name__}: {exc}")


def _own_fault(exc: Exception, exchange: str) -> str | None:
    if isinstance(exc, EncodeError):
        return f"NAMEKO_CONFIG['serializer'] can't encode it: {exc}"
    if isinstance(exc, ChannelError) and exc.reply_code == _NO_ROUTE:
        if not exchange:
            return "the queue that it is replayed to does not exist"
        return f"no queue is bound to {exchange} for it, and MANDATORY is set"
    is_too_large = isinstance(exc, PreconditionFailed) and exc.method_sig == _BASIC_PUBLISH
    is_odd_frame = isinstance(exc, AMQPConnectionError) and exc.reply_code in _FRAME_FAULTS  # its headers are too long
    return str(exc) if is_too_large or is_odd_frame else None


def is_over_one_event(exc: BaseException) -> bool:
    """Whether RabbitMQ closed a channel or a connection because of something that was sent over it."""
    if isinstance(exc, AMQPConnectionError):
        return exc.reply_code in _FRAME_FAULTS
    return isinstance(exc, ChannelError)
