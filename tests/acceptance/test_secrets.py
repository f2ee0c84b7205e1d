"""No password and no payload is told anywhere: a whole system with all of its logs open, well and in trouble."""

from uuid import uuid4

import pytest
from redis import Redis

from tests.acceptance.conftest import connect
from tests.processes import wait_until

AMQP, REDIS, POSTGRESQL, PAYLOAD = SECRETS = "s3cret-of-rabbitmq", "s3cret-of-redis", "s3cret-of-postgresql", "p4yload"
SETTINGS = f"""
from tests.project.settings import *

DATABASES["default"]["PASSWORD"] = "{POSTGRESQL}"
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
LOGGING = {{
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {{"all": {{"class": "tests.acceptance.reporting.Reporter"}}}},
    "root": {{"level": "DEBUG", "handlers": ["all"]}},
}}
"""
# A project's web process: it saves, whatever is in trouble, and its views and commands are asked.
WEB = f"""
from django.core.management import call_command
from django.test import Client
from tests.acceptance import traced

for number in range(5):
    Product.objects.create(name=f"{PAYLOAD} {{number}}", price=1)
for path in ("/health/", "/metrics"):
    print(Client().get(path).content.decode())
call_command("check", databases=["default"])
call_command("events", "status")
call_command("events", "list")
"""

# What Celery tells, of which secret, and in which loggers: errors of a worker's own connection to its broker, with the
# frames of the broker's client; and, at the level DEBUG, the beginning of each task.
TOLD_BY_CELERY = {REDIS: ("celery.worker.", "celery.bootsteps"), PAYLOAD: ("celery.pool",)}


class Locked:
    """A system whose RabbitMQ and Redis ask for passwords, and whose logs are open.

    Attributes:
        user: RabbitMQ's.
    """

    def __init__(self, system, redis, rabbitmq):
        self.system, self._redis, self._rabbitmq = system, redis, rabbitmq
        self.user = f"user-{uuid4()}"
        self._rabbitmq.rabbitctl_output("add_user", self.user, AMQP)
        self._rabbitmq.rabbitctl_output("set_permissions", self.user, ".*", ".*", ".*")
        (system.folder / "secret_settings.py").write_text(SETTINGS)
        self.lock_redis(REDIS, before="")
        system.env |= {
            "AMQP_URI": f"amqp://{self.user}:{AMQP}@127.0.0.1:{rabbitmq.port}/",
            "REDIS_URL": f"redis://:{REDIS}@127.0.0.1:{redis.port}/0",
            "DJANGO_SETTINGS_MODULE": "secret_settings",
            "PYTHONPATH": str(system.folder),
            "SPANS": str(system.log("spans")),
            "INSTRUMENTED": "django celery psycopg redis",
        }

    def lock_redis(self, password, before):
        """Have Redis ask for another password, of all that connect from now on, which all have to."""
        with Redis(port=self._redis.port, password=before) as redis:
            redis.config_set("requirepass", password)
            redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def lock_rabbitmq(self, password):
        """The same."""
        self._rabbitmq.rabbitctl_output("change_password", self.user, password)
        self._rabbitmq.rabbitctl_output("close_all_connections", "of a test")

    def run_web(self):
        """Save 5 products, and ask the views and commands; what all this prints is kept."""
        with self.system.log("web").open("a") as file:
            file.write(self.system.django(WEB))

    def told(self):
        """Where a secret was told."""
        return [
            f"{log.name}: {line[max(0, line.find(secret) - 200) : line.find(secret) + 100]}"
            for log in self.system.folder.glob("*.log")
            for line in log.read_text().splitlines()
            for secret in SECRETS
            if secret in line and not line.startswith(TOLD_BY_CELERY.get(secret, ()))
        ]


@pytest.fixture
def locked(system, redis_proc, rabbitmq_proc):
    """Such a system, as it was afterwards."""
    locked = Locked(system, redis_proc, rabbitmq_proc)
    yield locked
    locked.lock_redis("", before=REDIS)
    rabbitmq_proc.rabbitctl_output("delete_user", locked.user)


@pytest.mark.parametrize("delivery", ["outbox", "direct"])
def test_secrets__with_each_server_in_trouble__are_told_nowhere(locked, shop, database, delivery):
    """Logs at the level DEBUG, tracebacks with all that their frames hold, spans, commands, checks, views."""
    system = locked.system
    system.configure(SWEEP_INTERVAL=1, RETRY_BACKOFF=1, RETRY_BACKOFF_MAX=1, DELIVERY=delivery)
    with system.worker("--loglevel", "DEBUG", "--include", "tests.acceptance.traced"):
        locked.run_web()
        wait_until(lambda: shop.arrived() == 5, "5 events arrive")
        locked.lock_rabbitmq("another")
        locked.run_web()
        wait_until(lambda: "ACCESS_REFUSED" in system.log("worker").read_text(), "RabbitMQ refuses the worker")
        with connect(database) as connection:
            backends = "pg_stat_activity WHERE application_name = 'worker'"
            connection.execute(f"SELECT pg_terminate_backend(pid) FROM {backends}")
        locked.lock_redis("another", before=REDIS)
        locked.run_web()
        locked.lock_redis(REDIS, before="another")
        locked.lock_rabbitmq(AMQP)
        if delivery == "outbox":
            wait_until(lambda: shop.arrived() >= 15, "15 events arrive", within=60)
    assert locked.told() == []
    assert "django_events_sourcing" in system.log("web").read_text()
    assert "django_events_sourcing" in system.log("worker").read_text()
    assert "messaging.rabbitmq" in system.log("spans").read_text()
