"""Where Django starts the library."""

import logging
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from celery.signals import worker_init
from django.apps import AppConfig
from django.conf import global_settings, settings

logger = logging.getLogger(__name__)


class DjangoEventsSourcingConfig(AppConfig):
    """Connects the receivers and registers the checks."""

    name = "django_events_sourcing"
    verbose_name = "Events"

    def ready(self) -> None:
        """Connect the models of ``MODELS_CRUD_EVENT``. Wrong entries don't stop it: ``manage.py check`` must run."""
        from django_events_sourcing import checks  # noqa: PLC0415 - they need the apps loaded
        from django_events_sourcing.capture import receivers  # noqa: PLC0415
        from django_events_sourcing.capture.registry import registry  # noqa: PLC0415
        from django_events_sourcing.delivery import celery_app, in_tests, migrating  # noqa: PLC0415

        _hide_passwords()
        celery_app.remember_app()
        in_tests.remember_databases()
        receivers.connect()
        migrating.connect(self)
        checks.register()
        worker_init.connect(_prepare_worker)
        if not _is_command():  # which shows them itself; a WSGI server runs no checks
            for problem in registry.problems:
                logger.log(problem.level, "%s %s (%s)", problem.msg, problem.hint, problem.id)


def _hide_passwords() -> None:
    """Have Django's pages of errors show none in a URI, unless the project has a filter of its own."""
    name = "DEFAULT_EXCEPTION_REPORTER_FILTER"
    if getattr(settings, name) == getattr(global_settings, name):
        setattr(settings, name, "django_events_sourcing.debug.ExceptionReporterFilter")


def _prepare_worker(sender: Any, **_kwargs: Any) -> None:
    """Give a worker the library's tasks and threads, whatever the project's Celery app discovers."""
    import_module("django_events_sourcing.tasks.worker").prepare(sender)


def _is_command() -> bool:
    """Whether this is a command of Django's, which runs the checks before anything else."""
    program = Path(sys.argv[0])
    return program.name in {"manage.py", "django-admin"} or program.parts[-2:] == ("django", "__main__.py")
