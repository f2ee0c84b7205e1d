"""The settings object."""

from datetime import timedelta

from django_events_sourcing.conf import get_settings


def test_settings__overridden__followed(settings):
    """A test that overrides a setting sees it at once, and the old one afterwards."""
    assert get_settings().max_attempts == 10
    settings.EVENTS_SOURCING = {"MAX_ATTEMPTS": 3}
    assert get_settings().max_attempts == 3


def test_durations__timedelta__seconds(settings):
    """A duration may be a timedelta."""
    settings.EVENTS_SOURCING = {"RETRY_BACKOFF": timedelta(minutes=1)}
    assert get_settings().retry_backoff == 60.0


def test_amqp_uri__wins_over_nameko_config(settings):
    """AMQP_URI stands in for NAMEKO_CONFIG's and wins, as in version 0.8.0; the rest of it is kept."""
    settings.NAMEKO_CONFIG = {"AMQP_URI": "amqp://one/", "LOGIN_METHOD": "PLAIN"}
    settings.AMQP_URI = "amqp://two/"
    assert get_settings().nameko_config == {"AMQP_URI": "amqp://two/", "LOGIN_METHOD": "PLAIN"}


def test_settings__printed__no_password(settings):
    """The settings object can be logged."""
    settings.AMQP_URI = "amqp://guest:s3cret@localhost/"
    assert "s3cret" not in repr(get_settings())
