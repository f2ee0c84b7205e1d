"""Where Django starts the library."""

import logging

from django.apps import AppConfig

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

        celery_app.remember_app()
        in_tests.remember_databases()
        receivers.connect()
        migrating.connect(self)
        checks.register()
        for problem in registry.problems:  # a WSGI server runs no checks
            logger.log(problem.level, "%s %s (%s)", problem.msg, problem.hint, problem.id)
