"""A user's own project, set up by nothing but the README that version 0.8.0's users know: ``seed_project/``."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.processes import run, running, wait_until

MANAGE = [sys.executable, "manage.py"]


@pytest.fixture
def project(tmp_path):
    """A copy of the project."""
    return shutil.copytree(Path(__file__).parent / "seed_project", tmp_path / "project")


@pytest.fixture
def env(project, redis_proc, rabbitmq_proc):
    """Environment of the project's processes."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "proj.settings",
        "PYTHONPATH": str(project),
        "PYTHONUNBUFFERED": "1",
        "REDIS_URL": f"redis://127.0.0.1:{redis_proc.port}/1",
        "AMQP_URI": f"amqp://guest:guest@127.0.0.1:{rabbitmq_proc.port}/",
    }


def test_readme__followed_word_for_word__events_at_an_unmodified_service(project, env):
    """Installed apps, settings, models and serializer as the document has them; a Celery app, a worker, a service."""
    run([*MANAGE, "makemigrations", "app"], env, project)
    run([*MANAGE, "migrate"], env, project)
    assert run([*MANAGE, "check"], env, project) == "System check identified no issues (0 silenced).\n"

    celery = [sys.executable, "-m", "celery", "-A", "proj", "worker", "--loglevel", "INFO"]
    nameko = [sys.executable, "-c", "from nameko.cli.main import main; main()", "run", "--config", "nameko.yaml"]
    log = project / "service.log"
    with (
        running([*nameko, "service"], "services started", log, env, project),
        running(celery, " ready.", project / "worker.log", env, project),
    ):
        run([*MANAGE, "changes"], env, project)
        wait_until(lambda: log.read_text().count("handled") == 7, "7 events handled")
    handled = sorted(line for line in log.read_text().splitlines() if line.startswith("handled"))
    assert handled == [
        "handled model1__created {'id': 1, 'name': 'one'}",
        "handled model1__deleted {'id': 1, 'name': 'two'}",
        "handled model1__updated {'id': 1, 'name': 'two'}",
        "handled model2__created {'id': 1, 'name': 'all fields'}",
        "handled model_with_status__deleted {'id': 1, 'status': 'finished'}",
        "handled model_with_status__finished {'id': 1, 'status': 'finished'}",
        "handled model_with_status__started {'id': 1, 'status': 'started'}",
    ]


def test_readme__tests_with_disable_dispatcher__as_it_says(project, env):
    """The document's test classes switch off what it says they do."""
    run([*MANAGE, "makemigrations", "app"], env, project)
    run([*MANAGE, "test"], env, project)
