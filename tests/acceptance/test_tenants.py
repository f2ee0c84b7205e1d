"""django-tenants: two tenants, each with a schema of its own, and what they share."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import connect, environment
from tests.acceptance.shop import Shop
from tests.processes import run, running, wait_until

GUIDE = (Path(__file__).parent.parent.parent / "docs/how-to/tenants.md").read_text()

SETUP = """
from django.core.management import call_command
from tests.tenants.directory.models import Client

call_command("migrate_schemas", shared=True, verbosity=0)
for schema in ("acme", "Über/uns"):
    Client(schema_name=schema).save(verbosity=0)
"""
CHANGES = """
from django_tenants.utils import schema_context
from tests.tenants.directory.models import Plan
from tests.tenants.notes.models import Note

for schema in ("acme", "Über/uns"):
    with schema_context(schema):
        note = Note.objects.create(pk=1, text=schema)
        note.save()
        plan, _ = Plan.objects.get_or_create(pk=1, name="gold")
        plan.save()
        note.delete()
"""


class Tenants:
    """The project; its processes are Django's, and a worker.

    Args:
        env: Environment of all of them.
    """

    def __init__(self, env):
        self.env = env

    def django(self, code):
        return run([sys.executable, "-c", f"import django; django.setup()\n{code}"], self.env)

    def manage(self, *arguments, **env):
        return subprocess.run(
            [sys.executable, "-m", "django", *arguments], env={**self.env, **env}, capture_output=True, text=True
        )


@pytest.fixture
def tenants(tmp_path, postgresql_proc, redis_proc, rabbitmq_proc):
    """A project without tables."""
    name = f"tenants_{tmp_path.name.rpartition('_')[2].strip('_')}".lower()[:40]
    server = {"POSTGRES_PORT": str(postgresql_proc.port), "POSTGRES_DATABASE": "postgres"}
    with connect(server) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}")
        connection.execute(f"CREATE DATABASE {name}")
    database = {**server, "POSTGRES_DATABASE": name, "DJANGO_SETTINGS_MODULE": "tests.tenants.settings"}
    return Tenants(environment(database, redis_proc, rabbitmq_proc))


def test_two_tenants__with_rows_of_one_key__are_told_apart(tenants, tmp_path, redis_proc, rabbitmq_proc):
    """In the object's key and in a header, each tenant's objects in order; what they share has one key for all."""
    tenants.django(SETUP)
    shop = Shop(tenants, redis_proc, rabbitmq_proc)
    shop.open()
    celery = [sys.executable, "-m", "celery", "-A", "tests.tenants", "worker", "--loglevel", "INFO"]
    with running(celery, " ready.", tmp_path / "worker.log", tenants.env):
        tenants.django(CHANGES)
        wait_until(lambda: shop.arrived() == 9, "all events", within=15)
    found = []
    with shop.queue() as queue:
        while message := queue.get(no_ack=True):
            headers = message.headers
            found.append(
                (
                    headers["nameko.event_object"],
                    headers.get("nameko.event_tenant"),
                    message.delivery_info["routing_key"],
                )
            )
    for schema in ("acme", "Über/uns"):
        mine = [name for key, tenant, name in found if (key, tenant) == (f"{schema}/notes.note:1", schema)]
        assert mine == ["note__created", "note__updated", "note__deleted"]
    shared = [name for key, tenant, name in found if (key, tenant) == ("directory.plan:1", None)]
    assert shared == ["plan__created", "plan__updated", "plan__updated"]
    assert json.loads(tenants.manage("events", "status", "--json").stdout)["pending"] == 0


def test_outbox__in_the_tenants_schemas__refused_by_check_and_can_be_moved(tenants, redis_proc, rabbitmq_proc):
    """No worker looks there. The steps are those of the docs."""
    wrong = {"TENANT_APPS": "django.contrib.contenttypes,tests.tenants.notes,django_events_sourcing"}
    assert tenants.manage("check").returncode == 0
    checked = tenants.manage("check", **wrong)
    assert "django_events_sourcing.E021" in checked.stderr
    assert "Put it into SHARED_APPS and not into TENANT_APPS" in checked.stderr
    before = tenants.env
    tenants.env = before | wrong
    tenants.django(SETUP)
    shop = Shop(tenants, redis_proc, rabbitmq_proc)
    shop.open()
    tenants.django(CHANGES)
    for step in (
        "all_tenants_command events --skip-checks relay",
        "migrate_schemas --skip-checks --tenant django_events_sourcing zero",
    ):
        assert step in GUIDE
        done = tenants.manage(*step.split())
        assert done.returncode == 0, done
    assert shop.arrived() == 9
    tenants.env = before
    tenants.django("from django.core.management import call_command; call_command('migrate_schemas', verbosity=0)")
    tenants.django(CHANGES)
    tenants.manage("events", "relay")
    assert shop.arrived() == 9 + 8  # the plan is there already
