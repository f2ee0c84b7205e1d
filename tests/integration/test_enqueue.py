"""The web process and a real Redis as Celery's broker."""

import logging

from django_events_sourcing import Event, direct
from tests.servers import stopped


def hand_over(number):
    direct.hand_over(Event(name=str(number), service="shop", object="shop.order:1", body="{}"), "default")


def test_redis__away_for_a_while__next_event_is_enqueued_without_a_restart(transactional_db, redis, redis_proc, caplog):
    """An event that Redis did not take is logged as lost; when Redis is back, so is the way to it."""
    hand_over(1)
    assert redis.llen("celery") == 1
    with stopped(redis_proc):
        hand_over(2)
    redis.flushdb()
    hand_over(3)
    assert redis.llen("celery") == 1
    lost = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(lost) == 1
    assert "(2, shop.order:1) is lost" in lost[0]
