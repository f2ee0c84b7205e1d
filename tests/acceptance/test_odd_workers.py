"""Workers that take no wake-ups, or can do nothing with them: no event is lost, and the logs say so."""

import os
import pickle
import sys
from contextlib import contextmanager

import pytest
from celery import Celery
from redis import Redis

from django_events_sourcing.delivery.enqueue import OPERATION_TASK, PUBLISH_TASK, RELAY_TASK
from django_events_sourcing.delivery.untaken import MOST_UNTAKEN
from tests.processes import running, wait_until

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


# Celery apps as a project may write them.
NARROW = """
import os
from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.project.settings")
app = Celery("narrow")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["tests.project"])
"""
FILTERING = f"""{NARROW}
from celery.signals import import_modules, worker_init


@import_modules.connect
@worker_init.connect
def keep_our_own(**kwargs):
    app.tasks.pop("django_events_sourcing.relay", None)
"""
OLD = """
import os
from celery import Celery

del os.environ["DJANGO_SETTINGS_MODULE"]
app = Celery("old", broker=os.environ["REDIS_URL"])
app.conf.task_default_queue = os.environ["SERVICE_NAME"]
"""


@contextmanager
def worker_of(system, app, name):
    """A worker of another Celery app."""
    (system.folder / f"{name}_app.py").write_text(app)
    celery = [sys.executable, "-m", "celery", "--workdir", system.folder, "-A", f"{name}_app", "worker"]
    command = [*celery, "--loglevel", "INFO", "--concurrency", "2", "--hostname", f"{name}@%h"]
    with running(command, " ready.", system.log(name), system.env):
        yield


def save(system, number):
    system.django(f"for number in range({number}): Product.objects.create(name=number, price=1)")


def test_worker__that_discovers_its_own_tasks_only__relays_all_the_same(system):
    """The tasks come with the app, at once."""
    with system.service(), worker_of(system, NARROW, "narrow"):
        save(system, 5)
        system.wait_for(5, within=5)
    assert "ERROR" not in system.log("narrow").read_text()


def test_worker__that_filters_the_tasks_away__says_so(system):
    """It sweeps."""
    system.configure(SWEEP_INTERVAL=2)
    with system.service(), worker_of(system, FILTERING, "filtering"):
        save(system, 5)
        system.wait_for(5, within=10)
    assert "lacks the tasks django_events_sourcing.relay" in system.log("filtering").read_text()


@pytest.mark.parametrize("delivery", ["outbox", "direct"])
def test_worker__without_the_library_beside_one_with_it__is_named_by_that(system, delivery):
    """Whoever takes the wake-up, no event of the outbox is lost."""
    system.configure(SWEEP_INTERVAL=2, DELIVERY=delivery)
    with system.service(), worker_of(system, OLD, "old"), system.worker():
        wait_until(lambda: "Worker old@" in system.log("worker").read_text(), "it is told", within=15)
        if delivery == "outbox":
            save(system, 20)
            system.wait_for(20, within=15)
    told = "lacks the tasks django_events_sourcing.relay, django_events_sourcing.publish_event"
    assert system.log("worker").read_text().count(told) == 1


class MakesAFolder:
    """What makes a folder where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_task__that_is_no_json__is_not_decoded(system):
    """A pickle runs whatever it says, where it is read; the worker drops it, and goes on."""
    folder = system.folder / "made"
    attack = MakesAFolder(folder)
    pickle.loads(pickle.dumps(attack))
    folder.rmdir()
    app = Celery("attacker", broker=system.env["REDIS_URL"], set_as_current=False)
    for task in (RELAY_TASK, PUBLISH_TASK, OPERATION_TASK):
        app.send_task(task, args=[attack], serializer="pickle", queue=system.env["SERVICE_NAME"])
    app.close()
    with system.service(), system.worker():
        save(system, 5)
        system.wait_for(5, within=10)
    assert system.log("worker").read_text().count("invalid task message: Refusing to deserialize") == 3
    assert not folder.exists()
