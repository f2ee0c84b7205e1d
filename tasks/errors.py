"""What an error of RabbitMQ's means: that it is in trouble, or that it refused one event by itself."""

import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Any

from amqp.exceptions import (
    AccessRefused,
    AMQPError,
    ChannelError,
    MessageNacked,
    NotAllowed,
    NotFound,
    PreconditionFailed,
)
from amqp.exceptions import ConnectionError as AMQPConnectionError
from kombu.exceptions import EncodeError

from django_events_sourcing.exceptions import EventRefused, NoConnectionLeft, PublishError, RabbitMQUnavailable

__all__ = [
    "add_place",
    "advice_on_a_hang_up",
    "is_over_its_name",
    "is_over_one_event",
    "may_have_idled",
    "publish_error",
    "say_what_was_awaited",
]

# Codes by which RabbitMQ closes a connection over what one frame held: FRAME_ERROR, SYNTAX_ERROR, COMMAND_INVALID,
# UNEXPECTED_FRAME.
_FRAME_FAULTS = frozenset({501, 502, 503, 505})

_CONNECTION = 10
_EXCHANGE_DECLARE = (40, 10)
_BASIC_PUBLISH = (60, 40)
_NO_ROUTE = 312


def add_place(exc: BaseException, place: str, more: Iterable[str] = ()) -> None:
    """Note with an error of RabbitMQ's where it was, for ``publish_error``.

    Args:
        exc: The error.
        place: Which host, as whom.
        more: What else there is to be said, such as what went wrong at other hosts before.
    """
    for note in (place, *more):
        exc.add_note(note)


def say_what_was_awaited(exc: BaseException, awaited: str) -> None:
    """Have an error that says no more than "timed out" say ``awaited``."""
    if isinstance(exc, TimeoutError) and exc.errno is None and "timed out" in str(exc):
        exc.args = (awaited,)


def advice_on_a_hang_up(exc: BaseException, *, over_tls: bool) -> str:
    """What to do about a connection that was ended without a word before it was open; empty if that is not what it was.

    Args:
        exc: What amqp raised.
        over_tls: Whether the connection was by TLS.
    """
    ended = isinstance(exc, ConnectionResetError | BrokenPipeError)
    if not (ended or str(exc) == "Server unexpectedly closed connection"):  # as amqp says it
        return ""
    if over_tls:
        return "If the listener there asks for a certificate, NAMEKO_CONFIG['AMQP_SSL'] names it"
    return "If the listener there asks for TLS, the URI begins with amqps://"


def publish_error(exc: Exception, exchange: str) -> PublishError:
    """What ``exc`` means.

    ``EventRefused`` if it is the event's own fault; ``RabbitMQUnavailable``, or of its kind, if it is no event's.

    Args:
        exc: What amqp or kombu raised while one event was on its way to the exchange named ``exchange``.
        exchange: Its name; empty before there was any.
    """
    advice = _advice(exc, exchange)
    if own_fault := _own_fault(exc, exchange):
        return EventRefused(f"{own_fault}. {advice}" if advice else own_fault)
    place, *more = getattr(exc, "__notes__", None) or [""]
    text = f"{place}: " if place else ""
    text += str(exc) if isinstance(exc, AMQPError) else f"{type(exc).__name__}: {exc}"
    if exchange and isinstance(exc, TimeoutError):
        text += f" to what was sent for the exchange {exchange}"
    if advice:
        text += f". {advice}"
    return _kind_of_trouble(exc)(". ".join([text.removesuffix("."), *more]))


def _kind_of_trouble(exc: Exception) -> type[PublishError]:
    if isinstance(exc, MessageNacked) or _is_over_an_exchange(exc):
        return PublishError
    return NoConnectionLeft if _is_over_a_limit(exc) else RabbitMQUnavailable


def _is_over_a_limit(exc: Exception) -> bool:
    # A vhost's and a user's limit have one code, which others have, too.
    return isinstance(exc, NotAllowed) and "connection limit" in str(exc)


def _advice(exc: Exception, exchange: str) -> str:
    """What to do about it."""
    return next((advise(exc, exchange) for kind, advise in _ADVICE.items() if isinstance(exc, kind)), "")


def _on_a_vhost(exc: Any, _exchange: str) -> str:
    if _is_over_a_limit(exc):
        return "Allow more connections in RabbitMQ, or run fewer processes"
    if "not found" in str(exc):
        return "Make the vhost (rabbitmqctl add_vhost), or correct the URI: its path is the vhost, percent-encoded"
    return "Give the user permissions on the vhost (rabbitmqctl set_permissions), or correct the URI"


def _on_access(exc: Any, exchange: str) -> str:
    if exc.method_sig == _EXCHANGE_DECLARE:
        return (
            f"The user may not declare the exchange {exchange}: allow that (rabbitmqctl set_permissions, configure), "
            "or declare it elsewhere, and set DECLARE_EVENT_EXCHANGES = False in NAMEKO_CONFIG"
        )
    if exc.method_sig == _BASIC_PUBLISH:
        return (
            f"The user may not write to the exchange {exchange}: allow that (rabbitmqctl set_permissions, write; and "
            "set_topic_permissions if the error names a topic)"
        )
    return "Correct the user or the password in the URI"


def _on_a_missing_exchange(_exc: Any, exchange: str) -> str:
    return (
        f"RabbitMQ has no exchange {exchange}. Without DECLARE_EVENT_EXCHANGES = False in NAMEKO_CONFIG it is declared "
        "before the first event"
    )


def _on_a_precondition(exc: Any, exchange: str) -> str:
    if exc.method_sig == _BASIC_PUBLISH and "message size" in str(exc):
        return "Leave something out of its serializer, or raise max_message_size in rabbitmq.conf"
    if exc.method_sig != _EXCHANGE_DECLARE:
        return ""
    return (
        f"The exchange {exchange} exists with other arguments: set AUTO_DELETE_EVENT_EXCHANGES (version 0.8.0 of this "
        "library declared it True) or DECLARE_EVENT_EXCHANGES in NAMEKO_CONFIG, or delete the exchange"
    )


_ADVICE: dict[type[Exception], Callable[[Any, str], str]] = {
    ConnectionRefusedError: lambda *_: "Nobody listens there: is RabbitMQ running, and is this its host and port?",
    socket.gaierror: lambda *_: "The host's name cannot be resolved: is it spelt right?",
    ssl.SSLError: lambda *_: "Compare NAMEKO_CONFIG['AMQP_SSL'] with what RabbitMQ's listener asks for",
    NotAllowed: _on_a_vhost,
    AccessRefused: _on_access,
    NotFound: _on_a_missing_exchange,
    PreconditionFailed: _on_a_precondition,
}


def _own_fault(exc: Exception, exchange: str) -> str | None:
    if isinstance(exc, EncodeError):
        return f"NAMEKO_CONFIG['serializer'] cannot encode it: {exc}"
    if isinstance(exc, ChannelError) and exc.reply_code == _NO_ROUTE:
        if not exchange:
            return "the queue that it is replayed to does not exist"
        return f"no queue is bound to {exchange} for it, and MANDATORY is set"
    is_unmet = isinstance(exc, PreconditionFailed) and exc.method_sig == _BASIC_PUBLISH  # it is too large, mostly
    is_odd_frame = isinstance(exc, AMQPConnectionError) and exc.reply_code in _FRAME_FAULTS  # its headers are too long
    return str(exc) if is_unmet or is_odd_frame else None


def _is_over_an_exchange(exc: Exception) -> bool:
    # A user who may not connect is refused by the same class of error.
    return isinstance(exc, ChannelError) and exc.method_sig[0] != _CONNECTION


def may_have_idled(exc: BaseException) -> bool:
    """Whether a connection broke, as one does that was ended while it idled: no trouble yet, if the next one works."""
    return not (is_over_one_event(exc) or isinstance(exc, TimeoutError | MessageNacked | EncodeError))


def is_over_its_name(exc: BaseException) -> bool:
    """Whether RabbitMQ's topic permissions forbid the name of an event, which is its routing key."""
    # Of an exchange that may not be written to at all the text names no topic.
    return isinstance(exc, AccessRefused) and exc.method_sig == _BASIC_PUBLISH and "access to topic" in str(exc)


def is_over_one_event(exc: BaseException) -> bool:
    """Whether RabbitMQ closed a channel or a connection because of something that was sent over it."""
    if isinstance(exc, AMQPConnectionError):
        return exc.reply_code in _FRAME_FAULTS
    return isinstance(exc, ChannelError)
