"""The project's Celery app."""

from typing import Any

from celery import Celery, _state

from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.uris import uri_problem

__all__ = ["broker_problem", "broker_url", "current_project_app", "is_eager", "project_app", "remember_app"]

# The project's app, as far as it is known.
_known: list[Celery] = []


def project_app() -> Celery:
    """The project's Celery app: this thread's, or that which was there when Django started.

    Raises:
        ConfigurationError: There is none. Celery's own fallback would send the task to a RabbitMQ on localhost.
    """
    app = current_project_app() or next(iter(_known), None)
    if app is None:
        raise ConfigurationError(
            "This process has no Celery app: import it in <project>/__init__.py, as Celery's 'First steps with Django' "
            "shows."
        )
    if not _known:
        _known.append(app)
    return app


def remember_app() -> None:
    """Remember the project's Celery app for threads that don't know it, if it is there yet: when Django starts."""
    if app := current_project_app():
        _known[:] = [app]


def current_project_app() -> Celery | None:
    """This thread's Celery app, None for the fallback that Celery makes for threads without one.

    Celery's ``current_app`` would make that fallback, and keep the project's own app from being the default.
    """
    # There is no public way. Without these there are no wake-ups, and the sweep finds the events.
    of_thread = getattr(_state, "_tls", None)
    app: Celery | None = getattr(of_thread, "current_app", None) or getattr(_state, "default_app", None)
    if app is None or (app.main == "default" and not app.conf.broker_url):
        return None
    return app


def is_eager(app: Celery) -> bool:
    """Whether tasks are run here and now: ``CELERY_TASK_ALWAYS_EAGER``."""
    return bool(app.conf.task_always_eager)


def broker_url(app: Celery) -> Any:
    """Where tasks are sent to: a URL, or several."""
    return app.conf.broker_write_url or app.conf.broker_url


def broker_problem(app: Celery) -> str | None:
    """What is wrong with the URL of Celery's broker, None if nothing is. No part of the URL is in it."""
    url = broker_url(app)
    # One whose scheme is the path of a transport's class is Celery's to read.
    if not url or app.conf.broker_transport or (isinstance(url, str) and ":" in url.partition("://")[0]):
        return None
    problem = uri_problem(url, needs_host=False)
    return f"Celery's broker URL (CELERY_BROKER_URL) {problem}." if problem else None
