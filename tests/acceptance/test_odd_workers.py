"""Workers that take no wake-ups, or can do nothing with them: no event is lost, and the logs say so."""

from redis import Redis

from django_events_sourcing.delivery.untaken import MOST_UNTAKEN

SAVES = """
import logging, sys, time
logging.basicConfig(stream=sys.stdout)
for number in range(100):
    Product.objects.create(name=number, price=1)
    time.sleep(0.03)
"""


def test_worker__of_other_queues_only__sweeps_and_all_logs_say_so(system):
    """Nobody takes the wake-ups, of which many were sent already: the number of those that wait is bounded."""
    system.configure(SWEEP_INTERVAL=2)
    queue = system.env["SERVICE_NAME"]
    with Redis.from_url(system.env["REDIS_URL"]) as redis, system.service():
        redis.rpush(queue, *["untaken"] * (MOST_UNTAKEN - 10))
        printed = system.django(SAVES)
        assert redis.llen(queue) == MOST_UNTAKEN
        with system.worker("--queues", "emails"):
            system.wait_for(100, within=20)
        redis.delete(queue)
    told = f"{MOST_UNTAKEN} tasks wait in Celery's queue {queue!r}"
    assert printed.count(told) == 1
    assert system.log("worker").read_text().count(told) == 1
