"""Where Django starts the library."""

import logging

from celery import Celery
from django.apps import AppConfig

logger = logging.getLogger(__name__)


class DjangoEventsSourcingConfig(AppConfig):
    """Connects the receivers and registers the checks.

    Attributes:
        celery_app: The project's Celery app, as far as it is known yet: other threads may not know it.
    """

    name = "django_events_sourcing"
    verbose_name = "Events"
    celery_app: Celery | None = None

    def ready(self) -> None:
        """Connect the models of ``MODELS_CRUD_EVENT``. Wrong entries don't stop it: ``manage.py check`` must run."""
        from django_events_sourcing import checks  # noqa: PLC0415 - they need the apps loaded
        from django_events_sourcing.capture import receivers  # noqa: PLC0415
        from django_events_sourcing.capture.registry import registry  # noqa: PLC0415
        from django_events_sourcing.delivery import celery_app, migrating  # noqa: PLC0415

        self.celery_app = celery_app.current_project_app()
        receivers.connect()
        migrating.connect(self)
        checks.register()
        for problem in registry.problems:  # a WSGI server runs no checks
            logger.log(problem.level, "%s %s (%s)", problem.msg, problem.hint, problem.id)
