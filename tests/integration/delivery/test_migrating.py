"""Models that are saved while ``migrate`` runs, in a project of its own whose apps sort before the library's."""

import os
import subprocess
import sys

import psycopg
import pytest

SETTINGS = """
import os
SECRET_KEY = "x"
SERVICE_NAME = "shop"
AMQP_URI = "amqp://127.0.0.1:1/"
NAME = os.environ["DATABASE"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": NAME}}
if "PORT" in os.environ:
    server = {"HOST": "127.0.0.1", "PORT": os.environ["PORT"], "USER": "postgres"}
    DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": NAME, **server}}
LIBRARY = os.environ.get("WITHOUT") is None
INSTALLED_APPS = [
    *(["django_events_sourcing"] if LIBRARY else []),
    "django.contrib.contenttypes", "django.contrib.auth", "accounts", "rest_framework",
]
MODELS_CRUD_EVENT = [{"model": "auth.User"}, {"model": "auth.Group"}]
"""

MIGRATION = """
from django.db import migrations

def make(apps, schema_editor):
    from django.contrib.auth.models import User
    User.objects.create_superuser("admin", "admin@example.com", "x")
    other = User.objects.create_superuser("other", "other@example.com", "x")
    other.save()
    other.delete()

class Migration(migrations.Migration):
    dependencies = [("auth", "0012_alter_user_first_name_max_length")]
    operations = [migrations.RunPython(make)]
"""

APP = """
from django.apps import AppConfig
from django.db.models.signals import post_migrate

def make_group(**kwargs):
    from django.contrib.auth.models import Group
    Group.objects.get_or_create(name="staff")

class Accounts(AppConfig):
    name = "accounts"

    def ready(self):
        post_migrate.connect(make_group, sender=self)
"""

TEST = """
from django.contrib.auth.models import User
from django.test import TestCase

class TestAccounts(TestCase):
    def test_admin(self):
        User.objects.get(username="admin").save()
"""

LOOK = """
import django
django.setup()
from django.contrib.auth.models import Group, User
from django_events_sourcing.models import LogEntry
print(User.objects.count(), Group.objects.count(), *LogEntry.objects.values_list("name", flat=True))
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def project(request, tmp_path):
    """Run a command in the project; returns what it printed, and its exit code."""
    app = tmp_path / "accounts"
    (app / "migrations").mkdir(parents=True)
    for file, text in {
        "accounts/__init__.py": "",
        "accounts/apps.py": APP,
        "accounts/models.py": "",
        "accounts/tests.py": TEST,
        "accounts/migrations/__init__.py": "",
        "accounts/migrations/0001_initial.py": MIGRATION,
        "project_settings.py": SETTINGS,
    }.items():
        (tmp_path / file).write_text(text)
    known = {"DJANGO_SETTINGS_MODULE": "project_settings", "PYTHONPATH": str(tmp_path), "DATABASE": "database"}
    if request.param == "postgresql":
        known |= {"PORT": str(request.getfixturevalue("postgresql_proc").port), "DATABASE": "migrated"}
        with psycopg.connect(host="127.0.0.1", port=known["PORT"], user="postgres", autocommit=True) as session:
            session.execute("DROP DATABASE IF EXISTS migrated")
            session.execute("CREATE DATABASE migrated")

    def run(*arguments, **more):
        env = {**os.environ, **known, **more}
        command = [sys.executable, "-W", "ignore", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout + done.stderr

    return run


def migrate(*arguments):
    return ("-m", "django", "migrate", *arguments)


def test_data_migration__before_the_outbox_has_tables__migrates(project):
    """What it saves sends nothing, which is said once; what is saved afterwards does, by receivers of post_migrate."""
    code, output = project(*migrate())
    assert code == 0, output
    assert output.count("has no outbox yet") == 1
    assert project("-c", LOOK) == (0, "1 1 group__created\n")


def test_data_migration__of_one_app_on_a_fresh_database__migrates(project):
    """Also a receiver of post_migrate that saves, while the outbox is yet to be migrated."""
    code, output = project(*migrate("accounts"))
    assert code == 0, output
    assert output.count("has no outbox yet") == 1
    assert project(*migrate())[0] == 0
    assert project("-c", LOOK) == (0, "1 1\n")


def test_test_database__with_such_a_migration__is_made(project):
    code, output = project("-m", "django", "test", "accounts")
    assert code == 0, output
    assert "Ran 1 test" in output
    assert "has no outbox yet" in output


def test_outbox__that_nobody_migrated__is_an_error(project):
    """As ever, but while ``migrate`` runs."""
    assert project(*migrate(), WITHOUT="1")[0] == 0
    code, output = project(
        "-c", "import django; django.setup()\nfrom django.contrib.auth.models import Group\nGroup(name='x').save()"
    )
    assert code == 1
    assert "run `manage.py migrate" in output
