"""The tests of a project, run by Django's own test runner: what they send, and what they see of the library."""

import os
import subprocess
import sys
from uuid import uuid4

import pytest
from kombu.connection import Connection
from kombu.entity import Queue
from nameko.standalone.events import get_event_exchange
from redis import Redis

SETTINGS = """
import json, os
SECRET_KEY = "x"
SERVICE_NAME = os.environ["SERVICE_NAME"]
AMQP_URI = os.environ["AMQP_URI"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "database"}}
INSTALLED_APPS = [
    "django.contrib.contenttypes", "django.contrib.auth", "rest_framework", "django_events_sourcing", "accounts",
]
MODELS_CRUD_EVENT = [{"model": "auth.Group"}]
EVENTS_SOURCING = json.loads(os.environ["EVENTS_SOURCING"])

from celery import Celery
app = Celery("project", broker=os.environ["REDIS_URL"], set_as_current=True)
app.set_default()
app.conf.task_always_eager = os.environ["EAGER"] == "1"
"""

TESTS = """
from django.contrib.auth.models import Group
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import transaction
from django.test import TestCase, TransactionTestCase, override_settings

from django_events_sourcing.models import LogEntry
from django_events_sourcing.testing import disable_dispatcher

WITHOUT = ["django.contrib.contenttypes", "django.contrib.auth", "accounts"]


class Captured(TestCase):
    @classmethod
    def setUpTestData(cls):
        Group.objects.create(name="before")

    def setUp(self):
        Group.objects.create(name="set up")

    def test_callbacks(self):
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            Group.objects.create(name="x")
            transaction.on_commit(lambda: "the project's own")
        print("callbacks", len(callbacks))

    def test_again(self):
        with self.captureOnCommitCallbacks(execute=True):
            Group.objects.create(name="y")
        with disable_dispatcher(), self.captureOnCommitCallbacks(execute=True) as callbacks:
            Group.objects.create(name="z")
        print("silenced", len(callbacks))


class Committed(TransactionTestCase):
    def test_commit(self):
        Group.objects.create(name="committed")
        with transaction.atomic():
            Group.objects.create(name="committed, too").delete()


class WithoutTheApp(TransactionTestCase):
    available_apps = WITHOUT

    def test_commit(self):
        with self.assertNumQueries(1):
            Group.objects.create(name="nobody hears of it")
        print("problems", [problem.id for problem in run_checks() if "events" in problem.id])


class WithOtherSettings(TestCase):
    def test_apps(self):
        with override_settings(INSTALLED_APPS=WITHOUT), self.captureOnCommitCallbacks(execute=True) as callbacks:
            with self.assertNumQueries(1):
                Group.objects.create(name="nobody hears of it")
        print("without", len(callbacks))
        Group.objects.create(name="noted")
        self.assertIn("noted", LogEntry.objects.get().body)


class Command(TransactionTestCase):
    def test_relay(self):
        Group.objects.create(name="relayed")
        try:
            call_command("events", "relay")
        except Exception as exc:
            print("command", type(exc).__name__, exc)
"""


@pytest.fixture
def project(tmp_path, rabbitmq_proc, redis_proc):
    """Run tests of the project; returns what they printed, and the bodies of what arrived at RabbitMQ and Redis."""
    (tmp_path / "accounts").mkdir()
    (tmp_path / "accounts/__init__.py").write_text("")
    (tmp_path / "accounts/tests.py").write_text(TESTS)
    (tmp_path / "project_settings.py").write_text(SETTINGS)
    service = f"shop-{uuid4()}"
    amqp_uri = f"amqp://guest:guest@127.0.0.1:{rabbitmq_proc.port}/"
    redis_url = f"redis://127.0.0.1:{redis_proc.port}/4"

    def run(*tests, eager=True, options="{}", **env):
        known = {
            "DJANGO_SETTINGS_MODULE": "project_settings",
            "PYTHONPATH": str(tmp_path),
            "SERVICE_NAME": service,
            "AMQP_URI": amqp_uri,
            "REDIS_URL": redis_url,
            "EAGER": "1" if eager else "0",
            "EVENTS_SOURCING": options,
        }
        command = [sys.executable, "-m", "django", "test", *(f"accounts.tests.{test}" for test in tests)]
        with Connection(amqp_uri) as connection, Redis.from_url(redis_url) as redis:
            redis.flushdb()
            queue = Queue(str(uuid4()), get_event_exchange(service, {}), "#", exclusive=True)(
                connection.default_channel
            )
            queue.declare()
            done = subprocess.run(
                command, cwd=tmp_path, env={**os.environ, **known, **env}, capture_output=True, text=True, timeout=120
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert "Traceback" not in done.stderr
            arrived = []
            while message := queue.get(no_ack=True):
                arrived.append(message.payload["name"])
            return done.stdout + done.stderr, sorted(arrived), redis.llen("celery")

    return run


@pytest.mark.parametrize("delivery", ["outbox", "direct"])
@pytest.mark.parametrize("eager", [True, False])
def test_real_broker__none_of_it_reached(project, eager, delivery):
    """Nor RabbitMQ, nor Celery's; one line names the setting; Django's own documentation counts callbacks right."""
    output, arrived, enqueued = project("Captured", "Committed", eager=eager, options=f'{{"DELIVERY": "{delivery}"}}')
    assert (arrived, enqueued) == ([], 0)
    assert output.count("PUBLISH_IN_TESTS") == 1
    assert ("amqp://…@127.0.0.1" if eager else "redis://127.0.0.1") in output
    assert "callbacks 1\n" in output
    assert "silenced 0\n" in output


@pytest.mark.parametrize("delivery", ["outbox", "direct"])
def test_real_broker__with_publish_in_tests__has_what_is_committed(project, delivery):
    """What a TestCase only captures, too; also where it saved before."""
    output, arrived, _ = project(
        "Captured", "Committed", options=f'{{"DELIVERY": "{delivery}", "PUBLISH_IN_TESTS": true}}'
    )
    expected = ["committed", "committed, too", "committed, too", "x", "y"]
    if delivery == "outbox":  # what the same transaction holds that nobody captured goes along
        expected += ["before", "before", "set up", "set up"]
    assert arrived == sorted(expected)
    assert "PUBLISH_IN_TESTS" not in output
    assert "silenced 0\n" in output


def test_celerys_broker__with_publish_in_tests__has_the_wake_ups(project):
    assert project("Committed", eager=False, options='{"PUBLISH_IN_TESTS": true}')[2] > 0


def test_embedded_broker__says_nothing(project):
    """It is nobody else's."""
    output, arrived, enqueued = project("Captured", "Committed", AMQP_URI="memory://")
    assert (arrived, enqueued) == ([], 0)
    assert "PUBLISH_IN_TESTS" not in output


def test_app__not_installed_in_a_test__is_not_there(project):
    """No statement, no callback, no problem found, and no traceback at a commit."""
    output, arrived, enqueued = project("WithoutTheApp", "WithOtherSettings", eager=False)
    assert (arrived, enqueued) == ([], 0)
    assert "problems []" in output
    assert "without 0" in output


def test_command__in_a_test__says_why_it_sends_nothing(project):
    output, arrived, _ = project("Command")
    assert arrived == []
    (line,) = [line for line in output.splitlines() if line.startswith("command")]
    assert line.startswith("command CommandError Database 'default' is a test's")
