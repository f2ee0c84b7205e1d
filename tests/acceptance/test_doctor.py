"""``events doctor``: deployments that are broken, each in one way, and what it says of them."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kombu.connection import Connection

from tests.acceptance.conftest import connect
from tests.acceptance.shop import Shop
from tests.acceptance.test_odd_workers import OLD, worker_of
from tests.acceptance.test_outbox_faults import LIBFAKETIME
from tests.processes import running, wait_until
from tests.servers import RabbitMQ, free_port, suspended
from tests.servers.suspended_thread import suspended_thread


def examine(system, *options: str) -> tuple[int, list[dict[str, Any]]]:
    """Its exit code, and what it finds."""
    command = [sys.executable, "-m", "django", "events", "doctor", "--json", *options]
    done = subprocess.run(command, env=system.env, capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)["findings"]


@dataclass
class Deployment:
    """One that is broken.

    Attributes:
        breaks: Within it, it is.
        item: What is to be found of it: of what,
        level: how bad,
        words: and in these words, of the finding or of what to do.
    """

    breaks: Callable[[Shop], AbstractContextManager[None]]
    item: str
    level: str
    words: tuple[str, ...]


DEPLOYMENTS: dict[str, Deployment] = {}


def broken(item: str, level: str, *words: str) -> Any:
    """Have a function be a deployment."""

    def add(breaks: Callable[[Shop], Iterator[None]]) -> None:
        DEPLOYMENTS[breaks.__name__] = Deployment(contextmanager(breaks), item, level, words)

    return add


def sql(shop, *statements):
    with connect(shop.system.env) as connection:
        for statement in statements:
            connection.execute(statement)


def worker(shop, *options, **environment):
    """A worker with something in its environment."""
    shop.system.worker_env |= environment
    return shop.system.worker(*options)


def worker_by(shop, before):
    """A worker that runs some code before it is one."""
    code = f"import sys\n{before}\nfrom celery.__main__ import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "-A", "tests.project", "worker", "--loglevel", "INFO", "-n", "worker@%h"]
    return running(command, " ready.", shop.system.log("worker"), shop.system.env)


def uri(shop, user="guest:guest", vhost=""):
    return f"amqp://{user}@127.0.0.1:{shop.rabbitmq.port}/{vhost}"


@contextmanager
def user_of(shop, *permissions, topics=""):
    """A user of RabbitMQ's who may do that; the settings have him."""
    name = f"user-{uuid4()}"
    shop.rabbitmq.rabbitctl_output("add_user", name, "s3cret")
    shop.rabbitmq.rabbitctl_output("set_permissions", name, *permissions)
    if topics:
        exchange = f"{shop.system.env['SERVICE_NAME']}.events"
        shop.rabbitmq.rabbitctl_output("set_topic_permissions", name, exchange, topics, ".*")
    shop.system.env["AMQP_URI"] = uri(shop, f"{name}:s3cret")
    try:
        yield
    finally:
        shop.rabbitmq.rabbitctl_output("delete_user", name)


@broken("settings", "failing", "unknown key, 'SWEEP'", "SWEEP_INTERVAL")
def a_setting_is_misspelt(shop):
    shop.system.configure(SWEEP=1)
    yield


@broken("database", "failing", "lacks the migrations 0006", "manage.py migrate")
def migrations_were_not_run(shop):
    sql(shop, "UPDATE django_migrations SET app = 'gone' WHERE app = 'django_events_sourcing' AND name LIKE '0006%'")
    yield
    sql(shop, "UPDATE django_migrations SET app = 'django_events_sourcing' WHERE app = 'gone'")


@broken("database", "failing", "cannot be asked", "Connection refused")
def the_database_is_away(shop):
    shop.system.env["POSTGRES_PORT"] = str(free_port())
    yield


@broken("database", "warning", "lacks DELETE on", "GRANT")
def the_databases_user_lacks_a_right(shop):
    role = f"role_{uuid4().hex}"
    sql(
        shop,
        f"CREATE ROLE {role} LOGIN",
        f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO {role}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}",
    )
    shop.system.env["POSTGRES_USER"] = role
    yield
    sql(shop, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@broken("database", "warning", "has CACHE 50", "ALTER SEQUENCE")
def the_sequence_is_drawn_from_ahead(shop):
    sql(shop, "ALTER SEQUENCE django_events_sourcing_log_sequence_seq CACHE 50")
    yield
    sql(shop, "ALTER SEQUENCE django_events_sourcing_log_sequence_seq CACHE 1")


@broken("database", "warning", "Autovacuum of the queue", "ALTER TABLE")
def the_queue_is_not_vacuumed(shop):
    sql(shop, "ALTER TABLE django_events_sourcing_queue SET (autovacuum_enabled = off)")
    yield
    sql(shop, "ALTER TABLE django_events_sourcing_queue RESET (autovacuum_enabled)")


@broken("database", "failing", "Events are late", "went out in the last hour")
def events_have_piled_up(shop):
    shop.system.configure(MAX_RATE=1)
    with shop.system.worker():
        shop.system.django("for number in range(100): Product.objects.create(name=number, price=1)")
        sql(shop, "UPDATE django_events_sourcing_log SET time = time - 1000000000")
        yield


@broken("database", "warning", "PAUSED since", "events resume")
def somebody_forgot_a_pause(shop):
    with shop.system.worker():
        wait_until(lambda: shop.system.status()["databases"]["default"]["workers"], "the worker looks")
        shop.system.django("from django_events_sourcing.operating.operations import pause; pause('default')")
        yield


@broken("database", "warning", "1 event is dead", "events list --dead")
def an_event_is_dead(shop):
    sql(
        shop,
        "INSERT INTO django_events_sourcing_failure (sequence, partition, object_hash, attempts, dead_at, error) "
        "VALUES (1, 0, 0, 10, 1, 'refused')",
    )
    yield


@broken("celery", "failing", "Celery's broker cannot be asked", "CELERY_BROKER_URL")
def celerys_broker_is_away(shop):
    shop.system.env["REDIS_URL"] = f"redis://127.0.0.1:{free_port()}/0"
    yield


@broken("celery", "failing", "Celery's broker cannot be asked", "Timeout")
def celerys_broker_hangs(shop):
    with suspended(shop.redis):
        yield


@broken("worker", "failing", "No worker has answered", "celery -A PROJECT worker")
def no_worker_runs(shop):
    yield


@broken("worker", "failing", "No worker takes Celery's queue", "worker@", "takes emails", "EVENTS_SOURCING['QUEUE']")
def workers_take_another_queue(shop):
    with shop.system.worker("--queues", "emails"):
        yield


@broken("worker", "failing", "old@", "lacks the tasks django_events_sourcing.relay", "INSTALLED_APPS")
def a_worker_has_no_such_tasks(shop):
    with worker_of(shop.system, OLD, "old"):
        yield


@broken("worker", "warning", "worker@", "another the library's version", "0.8.0")
def a_worker_is_of_another_version(shop):
    with worker_by(shop, "import django_events_sourcing; django_events_sourcing.__version__ = '0.8.0'"):
        yield


@broken("worker", "warning", "worker@", "does not say how it is", "one release")
def a_worker_is_older_than_the_doctor(shop):
    code = (
        "from celery.signals import worker_ready\n"
        "@worker_ready.connect(weak=False)\n"
        "def forget(**_): from celery.worker.control import Panel; del Panel.data['django_events_sourcing_report']"
    )
    with worker_by(shop, code):
        yield


@broken("worker", "warning", "worker@", "another RabbitMQ", "/elsewhere")
def a_worker_has_another_rabbitmq(shop):
    with worker(shop, AMQP_URI=uri(shop, vhost="elsewhere")):
        yield


@broken("worker", "warning", "The clock of worker@", "behind", "NTP")
def a_workers_clock_is_wrong(shop):
    fake = {"LD_PRELOAD": LIBFAKETIME, "FAKETIME": "-60s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with worker(shop, **fake):
        yield


@broken("worker", "failing", "worker@", "the relay of process", "gives no sign of life")
def a_relay_stands_still(shop):
    shop.system.configure(HEALTH_MAX_AGE=2, SWEEP_INTERVAL=1)
    with shop.system.worker("--pool", "solo") as process:
        time.sleep(3)  # until it waits to be asked
        threads = sorted(int(each.name) for each in Path(f"/proc/{process.pid}/task").iterdir())
        with suspended_thread(threads[1]):
            time.sleep(3)
            yield


@broken("rabbitmq", "failing", "Nobody listens there", "Until that is repaired no event goes out")
def rabbitmq_is_away(shop):
    shop.system.env["AMQP_URI"] = f"amqp://guest:guest@127.0.0.1:{free_port()}/"
    yield


@broken("rabbitmq", "failing", "Correct the user or the password")
def the_password_is_wrong(shop):
    shop.system.env["AMQP_URI"] = uri(shop, "guest:wrong")
    yield


@broken("rabbitmq", "failing", "Make the vhost")
def the_vhost_is_wrong(shop):
    shop.system.env["AMQP_URI"] = uri(shop, vhost="nowhere")
    yield


@broken("rabbitmq", "warning", "Nobody listens there", "over the other hosts")
def one_of_several_hosts_is_away(shop):
    shop.system.env["AMQP_URI"] += f";amqp://guest:guest@127.0.0.1:{free_port()}/"
    yield


@broken("rabbitmq", "failing", "may not declare the exchange", "set_permissions")
def the_exchange_may_not_be_declared(shop):
    with user_of(shop, "^$", ".*", ".*"):
        yield


@broken("rabbitmq", "failing", "may not write to the exchange", "set_permissions")
def the_exchange_may_not_be_written_to(shop):
    with user_of(shop, ".*", "^$", ".*"):
        yield


@broken("rabbitmq", "failing", "product__deleted", "set_topic_permissions", "dead after MAX_ATTEMPTS")
def a_name_is_forbidden(shop):
    with user_of(shop, ".*", ".*", ".*", topics="created$"):
        yield


@broken("rabbitmq", "failing", "exists with other arguments", "AUTO_DELETE_EVENT_EXCHANGES")
def the_exchange_is_an_old_one(shop):
    name = f"{shop.system.env['SERVICE_NAME']}.events"
    with Connection(shop.system.env["AMQP_URI"]) as connection:
        channel = connection.default_channel
        channel.exchange_delete(name)
        channel.exchange_declare(name, "topic", durable=True, auto_delete=True)
        yield
        channel.exchange_delete(name)


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_deployment__that_is_broken__is_named_with_what_to_do(shop, name):
    """Each cause is a function above, with the words that are to be found."""
    deployment = DEPLOYMENTS[name]
    with deployment.breaks(shop):
        code, findings = examine(shop.system, "--fast")
    told = [
        each
        for each in findings
        if (each["item"], each["level"]) == (deployment.item, deployment.level)
        and all(word in f"{each['what']} {each['hint']}" for word in deployment.words)
    ]
    assert told, json.dumps(findings, indent=2)
    assert code == int(any(each["level"] == "failing" for each in findings))


def test_deployment__that_is_well__is_told_so_and_nothing_is_left(shop):
    """A canary goes through it, which no queue gets that is bound to everything."""
    with shop.system.worker():
        code, findings = examine(shop.system)
        assert {each["level"] for each in findings} == {"ok"}, findings
        assert code == 0
        (canary,) = [each for each in findings if each["item"] == "canary"]
        assert list(canary["seconds"]) == ["table", "wake-up", "relay and RabbitMQ", "settled"]
        assert sum(canary["seconds"].values()) < 10
    assert shop.arrived() == 0
    assert left(shop) == "0 0 0"
    text = (Path(__file__).parents[2] / "docs/reference/commands.md").read_text()
    table = text.partition("## The keys of `events doctor --json`")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == {"is_well", "findings", *findings[0]}


def left(shop):
    names = "LogEntry, QueueEntry, Failure"
    code = f"from django_events_sourcing.models import {names}; print(*(m.objects.count() for m in ({names})))"
    return shop.system.django(code).strip()


def test_canary__that_does_not_come_back__leaves_nothing_either(shop):
    """And where everything is paused none is sent, which is told."""
    shop.system.configure(SWEEP_INTERVAL=1)
    code, findings = examine(shop.system)
    assert code == 1
    (canary,) = [each for each in findings if each["item"] == "canary"]
    assert canary["level"] == "failing"
    assert "has not come back from RabbitMQ within 12 s" in canary["what"]
    assert left(shop) == "0 0 0"
    shop.system.django("from django_events_sourcing.operating.operations import pause; pause('default')")
    _, findings = examine(shop.system)
    (canary,) = [each for each in findings if each["item"] == "canary"]
    assert "every partition is paused" in canary["what"]


def test_screen__of_a_terminal_or_a_file__has_letters_only_and_says_the_end(shop):
    """What is wrong is counted in the last line, on stderr; bad input is one line."""
    shop.system.env["COLUMNS"] = "40"

    def run(*options):
        command = [sys.executable, "-m", "django", "events", "doctor", *options]
        done = subprocess.run(command, env=shop.system.env, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout, done.stderr

    code, out, problems = run("--fast")
    assert code == 1
    assert problems == "CommandError: 2 things are wrong: what says FAILING, above.\n"
    assert out.count("\nFAILING ") == 2
    assert max(map(len, out.splitlines())) <= 80
    assert out.isascii()
    assert run("--database", "nowhere")[::2] == (
        1,
        "CommandError: DATABASES has no 'nowhere'; it has default, other.\n",
    )
    code, out, _ = run("--fast", "--management", "file:///etc/passwd")
    assert code == 1
    assert "URL must begin with http:// or https://" in " ".join(out.split())


def test_queues__that_nobody_takes_from_or_that_drop__named_by_the_management_api(shop, tmp_path):
    """Given its URL; the password is in no finding."""
    with RabbitMQ(
        tmp_path, free_port(), f"management.tcp.port = {(port := free_port())}", "rabbitmq_management"
    ) as own:
        shop.system.env["AMQP_URI"] = f"amqp://guest:guest@127.0.0.1:{own.port}/"
        service = shop.system.env["SERVICE_NAME"]
        with Connection(shop.system.env["AMQP_URI"]) as connection:
            channel = connection.default_channel
            channel.exchange_declare(f"{service}.events", "topic", durable=True, auto_delete=False)
            for queue, name, arguments in (
                ("mailer", "product__created", {"x-max-length": 10}),
                ("search", "product__removed", {}),
            ):
                channel.queue_declare(queue, durable=True, auto_delete=False, arguments=arguments)
                channel.queue_bind(queue, f"{service}.events", name)
        _, findings = examine(shop.system, "--fast", "--management", f"http://guest:guest@127.0.0.1:{port}")
        found = [each["what"] for each in findings if each["item"] == "queue" and each["level"] == "warning"]
        assert f"Nobody listens to product__deleted of {service}" in "\n".join(found)
        assert "Nobody listens to product__created" not in "\n".join(found)
        assert f"search waits for product__removed of {service}, which this project does not send." in found
        assert "The queue mailer loses messages: its max-length is 10." in found
        assert "Nobody consumes from the queue search; 0 messages are in it." in found
        _, findings = examine(shop.system, "--fast", "--management", f"http://guest:wr0ng@127.0.0.1:{port}")
        (problem,) = [each for each in findings if each["item"] == "queue"]
        assert "cannot be asked" in problem["what"]
        assert "wr0ng" not in json.dumps(findings)
