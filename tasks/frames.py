"""A message as the bytes that amqp writes for it, made in a fifth of the time.

Making them is most of what publishing an event costs a process: amqp asks each property for its type, looks for news
from the broker before each message, and sends each by itself. The bytes are the same, which a test compares.
"""

from collections.abc import Mapping
from functools import lru_cache
from struct import pack
from typing import Any

from amqp.serialization import dumps

__all__ = ["encoded"]

_METHOD, _HEADER, _BODY, _END = 1, 2, 3, b"\xce"
_BASIC_PUBLISH = pack(">HH", 60, 40)

# Bits by which a content header says what it holds, in the order of AMQP 0-9-1: content_type, content_encoding,
# headers, delivery_mode, priority, message_id, timestamp, type, app_id.
_FLAGS = sum(1 << bit for bit in (15, 14, 13, 12, 11, 7, 6, 5, 3))

# The most that an integer of a table takes in 32 bits.
_MOST = 2**31 - 1


def encoded(channel: int, most: int, exchange: str, message: Mapping[str, Any]) -> bytes | None:
    """The frames of a message.

    Args:
        channel: Number of the channel.
        most: How many bytes a frame may have.
        exchange: Name of the exchange.
        message: What ``Messages.arguments`` gives; its body is text that is published as it is.

    Returns:
        None if it takes more than one frame for the body.

    Raises:
        struct.error: Something is too long for its place.
    """
    body = message["body"].encode(message["content_encoding"])
    header = b"".join(
        (
            pack(">HHQH", 60, 0, len(body), _FLAGS),
            _short(message["content_type"]),
            _short(message["content_encoding"]),
            _table(message["headers"]),
            pack("BB", message["delivery_mode"], 0),
            _short(message["message_id"]),
            pack(">Q", message["timestamp"]),
            _short(message["type"]),
            _short(message["app_id"]),
        )
    )
    method = _publish(channel, exchange, message["routing_key"], message["mandatory"])
    if len(method) + len(header) + len(body) + 16 > most - 8:  # amqp's own reckoning is near that
        return None
    return b"".join(
        (
            method,
            *(pack(">BHI", _HEADER, channel, len(header)), header, _END),
            *(pack(">BHI", _BODY, channel, len(body)), body, _END),
        )
    )


@lru_cache
def _publish(channel: int, exchange: str, routing_key: str, mandatory: bool) -> bytes:
    method: bytes = _BASIC_PUBLISH + dumps("Bssbb", (0, exchange, routing_key, mandatory, False))
    return pack(">BHI", _METHOD, channel, len(method)) + method + _END


def _short(text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogatepass")
    return pack("B", len(encoded)) + encoded


def _table(headers: Mapping[str, Any]) -> bytes:
    parts = []
    for key, value in headers.items():
        if type(value) is str:
            parts += [_key(key), _long(value)]
        elif type(value) is int:
            kind = ">ci" if -_MOST <= value <= _MOST else ">cq"
            parts += [_key(key), pack(kind, b"I" if kind == ">ci" else b"L", value)]
        elif type(value) is list and all(type(each) is str for each in value):
            items = b"".join(map(_long, value))
            parts += [_key(key), b"A", pack(">I", len(items)), items]
        else:
            table: bytes = dumps("F", [headers])
            return table
    table = b"".join(parts)
    return pack(">I", len(table)) + table


_key = lru_cache(_short)


def _long(text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogatepass")
    return b"S" + pack(">I", len(encoded)) + encoded
