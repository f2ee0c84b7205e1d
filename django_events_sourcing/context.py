"""What the code around a change puts into the headers of its events: on whose behalf it is made, say."""

import json
import logging
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Self

from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError

from django_events_sourcing.exceptions import InvalidEvent
from django_events_sourcing.logs import log_once
from django_events_sourcing.tracing import TRACE_CONTEXT

__all__ = ["OWN_NAMES", "checked_headers", "context_headers", "event_context", "merged_headers"]

logger = logging.getLogger(__name__)

#: Those that the library writes itself.
OWN_NAMES = {
    *("event_id", "event_time", "event_object", "event_sequence", "event_changed", "event_replayed", "event_tenant"),
    *TRACE_CONTEXT,
}
_CALL_ID_STACK = "call_id_stack"

# An AMQP short string holds 255 bytes, and "nameko." comes before it.
_MAX_NAME_BYTES = 240

# All of them go into one frame, for which client and broker agree on 128 KiB, if nobody says otherwise.
_MAX_BYTES = 32 * 1024

# What AMQP has whole numbers of.
_INT64 = range(-(2**63), 2**63)

# Of this thread or async task, the innermost one last.
_contexts: ContextVar[tuple[Mapping[str, Any], ...]] = ContextVar("django_events_sourcing_contexts", default=())


class event_context:  # noqa: N801 - a context manager, and the users' name for it
    """Within it, events carry these values in their headers; nameko's handlers have them in their worker context.

    ``with event_context(user_id=7, correlation_id="a1b2"):`` holds for this thread or async task, and for what that
    awaits. Of nested ones, all values hold, and the inner one wins.

    Args:
        **values: By name what the events carry: what is JSON, or a function without arguments, which is called for each
            event. None for what they are not to carry (any more). ``call_id_stack`` is nameko's: a list of the calls
            that led here.

    Raises:
        InvalidEvent: A value is no JSON, a name is the library's own, or all of it is too large for a header.
    """

    def __init__(self, **values: Any) -> None:
        for name in values:
            _check_name("event_context", name, OWN_NAMES)
        stack = values.get(_CALL_ID_STACK)
        if stack is not None and not (isinstance(stack, list) and all(isinstance(call, str) for call in stack)):
            raise InvalidEvent(
                f"event_context: {_CALL_ID_STACK!r} is {stack!r}, no list of texts. Pass a worker context's "
                "'call_id_stack', or leave it out."
            )
        self._values = {
            name: value if value is None or callable(value) else _as_json("event_context", name, value)
            for name, value in values.items()
        }

    def __enter__(self) -> Self:
        contexts = _contexts.get()
        merged = {**(contexts[-1] if contexts else {}), **self._values}
        merged = {name: value for name, value in merged.items() if value is not None}
        _check_size("event_context", {name: value for name, value in merged.items() if not callable(value)})
        _contexts.set((*contexts, merged))
        return self

    def __exit__(self, *_exc_info: object) -> None:
        _contexts.set(_contexts.get()[:-1])


def context_headers() -> dict[str, Any]:
    """What an event that is made now carries, by the contexts of this thread or async task.

    Raises:
        django.db.DatabaseError: A query of a value's function failed. What else a function raises is logged, and its
            value left out.
    """
    contexts = _contexts.get()
    if not contexts:
        return {}
    values = {name: _called(name, value) if callable(value) else value for name, value in contexts[-1].items()}
    return {name: value for name, value in values.items() if value is not None}


def checked_headers(where: str, headers: Mapping[str, Any]) -> dict[str, Any]:
    """Headers as plain JSON types, without those that are None.

    Args:
        where: Who was given them, for messages.
        headers: By name, without nameko's prefix.

    Raises:
        InvalidEvent: They can't be an event's; the message names the header.
    """
    if not isinstance(headers, Mapping):
        raise InvalidEvent(f"{where}: headers is {type(headers).__name__}, no dict.")
    for name in headers:
        _check_name(where, name, {*OWN_NAMES, _CALL_ID_STACK})
    return {name: _as_json(where, name, value) for name, value in headers.items() if value is not None}


def merged_headers(where: str, *parts: Mapping[str, Any]) -> dict[str, Any]:
    """All of them in one, the last one's before the others'.

    Raises:
        InvalidEvent: Together they are too large.
    """
    merged = {name: value for part in parts for name, value in part.items()}
    _check_size(where, merged)
    return merged


def _called(name: str, function: Any) -> Any:
    # An event that is made by the function, of a user whose last visit it saves, say, asks for no values in turn.
    contexts = _contexts.get()
    _contexts.set(())
    try:
        value = function()
        return None if value is None else _as_json("event_context", name, value)
    except DatabaseError:
        raise
    except Exception as exc:  # noqa: BLE001 - the change itself is none of its business
        log_once(
            logger,
            logging.WARNING,
            ("context", name, type(exc).__name__),
            f"Events lack the header {name!r}: its function in event_context() failed. {type(exc).__name__}: {exc}",
        )
        return None
    finally:
        _contexts.set(contexts)


def _check_name(where: str, name: object, taken: set[str]) -> None:
    if not (isinstance(name, str) and name and name.isprintable() and len(name.encode()) <= _MAX_NAME_BYTES):
        raise InvalidEvent(
            f"{where}: {str(name)[:60]!r} is no name of a header. Give it a text of 1 to {_MAX_NAME_BYTES} bytes, "
            "without control characters."
        )
    if name in taken:
        raise InvalidEvent(f"{where}: the header {name!r} is written by the library itself. Give yours another name.")


def _as_json(where: str, name: str, value: Any) -> Any:
    """The value in JSON's plain types."""
    try:
        text = json.dumps(value, cls=DjangoJSONEncoder, allow_nan=False, ensure_ascii=False)
        text.encode()  # half of a pair of surrogates is no text
        plain = json.loads(text)
        problem = _why_not_in_amqp(plain)
    except (TypeError, ValueError, RecursionError) as exc:
        problem = str(exc)
    if problem:
        raise InvalidEvent(f"{where}: the header {name!r} is no JSON that AMQP has a type for. {problem}")
    return plain


def _why_not_in_amqp(value: Any) -> str | None:
    if isinstance(value, int) and value not in _INT64:
        return f"{str(value)[:30]}… has more than 64 bits."
    if isinstance(value, dict) and any(len(key.encode()) > _MAX_NAME_BYTES for key in value):
        return f"A key has more than {_MAX_NAME_BYTES} bytes."
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next(filter(None, map(_why_not_in_amqp, children)), None)


def _check_size(where: str, headers: Mapping[str, Any]) -> None:
    size = len(json.dumps(headers))
    if size > _MAX_BYTES:
        raise InvalidEvent(
            f"{where}: the headers have {size:,} bytes, of at most {_MAX_BYTES:,}. Put the large ones into the payload."
        )
