"""The transports of kombu's that play a broker themselves: only where they are meant."""

import pytest
from redis import Redis

from django_events_sourcing.conf import get_settings
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.models import QueueEntry
from django_events_sourcing.tasks.relay import Relay


def test_events__with_the_url_of_celerys_broker__stay_unless_it_is_meant(redis_proc, settings, options, database, emit):
    """The relay refuses to publish them, and says what to do. The control counts one as published that is nowhere."""
    at = f"127.0.0.1:{redis_proc.port}/6"
    settings.SERVICE_NAME, settings.AMQP_URI = "shop", f"redis://:s3cret@{at}"
    emit("a:1")
    with pytest.raises(ConfigurationError) as caught:
        Relay(database, get_settings())
    assert f"is redis://…@{at}, which is no RabbitMQ" in str(caught.value)
    assert "CELERY_BROKER_URL" in str(caught.value)
    assert QueueEntry.objects.using(database).count() == 1

    settings.AMQP_URI = f"redis://{at}"
    options(VIRTUAL_TRANSPORT=True)
    assert Relay(database, get_settings()).run().published == 1
    with Redis.from_url(settings.AMQP_URI) as redis:
        assert not [key for key in redis.scan_iter() if b"_kombu.binding" not in key]
