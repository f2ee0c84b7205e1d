"""Messages as bytes: those that amqp writes."""

import struct
from types import SimpleNamespace
from typing import Any

import pytest
from amqp.basic_message import Message
from amqp.method_framing import frame_writer
from amqp.serialization import dumps
from hypothesis import given
from hypothesis import strategies as st

from django_events_sourcing import Event
from django_events_sourcing.conf import get_settings
from django_events_sourcing.tasks.frames import encoded
from django_events_sourcing.tasks.messages import Messages

FRAME_MAX = 131_072
json_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)
texts = st.text(min_size=1, max_size=60)
events = st.builds(
    Event,
    name=texts,
    service=texts,
    object=texts,
    body=st.text(min_size=1),
    headers=st.dictionaries(st.text(max_size=20), json_values, max_size=3),
    sequence=st.none() | st.integers(1, 2**63 - 1),
)


def by_amqp(exchange: str, message: dict[str, Any]) -> bytes:
    """What amqp writes for the message that kombu makes of these arguments."""
    written: list[bytes] = []
    connection = SimpleNamespace(frame_max=FRAME_MAX, bytes_sent=0)
    write = frame_writer(connection, SimpleNamespace(write=lambda data: written.append(bytes(data))))
    properties = {key: message[key] for key in ("message_id", "timestamp", "type", "app_id", "delivery_mode")}
    content = Message(
        message["body"],
        content_type=message["content_type"],
        content_encoding=message["content_encoding"],
        application_headers=message["headers"],
        priority=0,
        **properties,
    )
    arguments = dumps("Bssbb", (0, exchange, message["routing_key"], message["mandatory"], False))
    write(1, 7, (60, 40), arguments, content)
    return b"".join(written)


@given(events, st.none() | texts, st.booleans())
def test_encoded__any_event__bytes_are_amqps(event, replay_to, is_mandatory):
    """Whatever an event holds, and wherever it goes."""
    message = {**Messages(get_settings()).arguments(event, replay_to), "mandatory": is_mandatory}
    assert encoded(7, FRAME_MAX, "shop.events", message) == by_amqp("shop.events", message)


@pytest.mark.parametrize("size, is_one_frame", [(FRAME_MAX - 1000, True), (FRAME_MAX, False)])
def test_encoded__large_body__none_where_it_takes_several_frames(size, is_one_frame):
    """That is left to amqp."""
    event = Event(name="order__created", service="shop", object="shop.order:1", body="x" * size)
    frames = encoded(1, FRAME_MAX, "shop.events", Messages(get_settings()).arguments(event))
    assert (frames is not None) is is_one_frame


def test_encoded__header_too_long__error_as_of_amqp():
    """It is refused as that event's own fault."""
    event = Event(name="order__created", service="shop", object="shop.order:1", body="{}", headers={"k" * 256: "v"})
    with pytest.raises(struct.error):
        encoded(1, FRAME_MAX, "shop.events", Messages(get_settings()).arguments(event))
