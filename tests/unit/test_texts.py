"""What comes from elsewhere, made safe to print and to log."""

import logging
from time import monotonic

import pytest

from django_events_sourcing import logs
from django_events_sourcing.conf import get_settings
from django_events_sourcing.delivery import direct
from django_events_sourcing.delivery.enqueue import enqueue
from django_events_sourcing.events import Event
from django_events_sourcing.exceptions import ConfigurationError, EventsSourcingError
from django_events_sourcing.tasks.rabbitmq import rabbitmq_of
from django_events_sourcing.texts import printable, without_passwords

EVENT = Event(name="n", service="s", object="o", body="{}")


@pytest.mark.parametrize(
    "text, expected",
    [("plain é€😀", "plain é€😀"), ("a\nb", "a\\nb"), ("\x1b[2J", "\\x1b[2J"), ("\u202e", "\\u202e"), (1, "1")],
)
def test_printable__of_any_text__one_line_without_control_characters(text, expected):
    """What can be printed stays."""
    assert printable(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "can't reach redis://:s3cret@host:1/0",
        "amqp://user:s3cret@one;amqp://user:s3cret@two",
        "'amqp://user:s3/c@ret@host'",
        "['redis://u:s3cret@a', 'redis://u:s3cret@b']",
    ],
)
def test_without_passwords__of_a_text_with_uris__has_none(text):
    """Whatever stands around them."""
    assert "s3" not in without_passwords(text)
    assert "ret" not in without_passwords(text)


@pytest.mark.parametrize("long", ["x" * 140_000, "://" * 100_000, "amqp://u:s3cret@h/" * 10_000, "\n" * 100_000])
def test_error__of_any_length__has_a_bound(long):
    """And is made in no time, whatever is in it; a password is not cut in two."""
    began = monotonic()
    text = str(EventsSourcingError(long))
    assert monotonic() - began < 5
    assert len(text) < 2100
    assert f"({len(long):,} characters)" in text
    assert "s3" not in text
    error = f"{'y' * 1985}amqp://user:s3cret@host/{'z' * 5000}"
    assert "user" not in without_passwords(error)


def test_event__with_a_long_key__is_told_of_in_a_short_line():
    """In logs and what they carry."""
    event = Event(name="n" * 300, service="s", object=f"shop.thing:{'k' * 140_000}", body="{}")
    assert len(event.label) < 800
    assert "(140,011 characters)" in event.label
    assert len(event.log_fields["event_object"]) < 400


def test_error__of_the_librarys__is_one_line():
    """Whatever it quotes."""
    assert str(EventsSourcingError("a\nb\x1b[0m amqp://u:p@h/")) == "a\\nb\\x1b[0m amqp://…@h/"


def test_problem__that_comes_again__logged_once_for_what_it_is_about(caplog):
    """Texts with numbers that are never the same neither escape that, nor are they kept."""
    for number in range(100):
        logs.log_once(logging.getLogger("x"), logging.ERROR, ("default", "deadlock"), f"process {number} waits")
    logs.log_once(logging.getLogger("x"), logging.ERROR, ("other", "deadlock"), "process 1 waits")
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 2
    assert len(logs._last_logged) == 2


@pytest.mark.parametrize("url", ["redis://:s3#cret@host:1/0", "redis://:s3/cret@host:1/0", "amqp://u:12#s3cret@h/"])
def test_celerys_broker_url__malformed__password_in_no_error_and_no_log(make_celery_app, caplog, url):
    """kombu's own error would quote it, and so would the frames that it comes from."""
    make_celery_app(broker=url)
    with pytest.raises(ConfigurationError) as raised:
        enqueue("some.task")
    direct._enqueue(EVENT)
    assert "is lost" in caplog.text
    for text in (caplog.text, str(raised.value), *frames(raised.value)):
        assert "cret" not in text


@pytest.mark.parametrize("uri", ["amqp://u:s3#cret@h/", "s3cret://h", "u:s3cret@h", "amqp://u:12/s3cret@h/"])
def test_amqp_uri__malformed__password_in_no_frame(settings, uri):
    """Pages and trackers of errors show the variables of each."""
    settings.AMQP_URI = uri
    with pytest.raises(ConfigurationError) as raised:
        rabbitmq_of(get_settings())
    for text in (str(raised.value), *frames(raised.value)):
        assert "cret" not in text


def frames(exc):
    """The variables of the library's own frames, as such pages show them."""
    traceback = exc.__traceback__
    while traceback:
        if "django_events_sourcing" in traceback.tb_frame.f_globals.get("__name__", ""):
            yield repr(traceback.tb_frame.f_locals)
        traceback = traceback.tb_next
    assert exc.__cause__ is None
    assert exc.__suppress_context__ or exc.__context__ is None
