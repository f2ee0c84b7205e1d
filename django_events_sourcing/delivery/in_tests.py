"""While a test database is in use, nothing goes to a real broker, unless the settings say so."""

import logging
from collections.abc import Iterable

from django.conf import settings as django_settings
from django.db import connections

from django_events_sourcing.conf import get_settings
from django_events_sourcing.delivery.celery_app import broker_url, is_eager, project_app
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.texts import without_passwords
from django_events_sourcing.types import Alias

__all__ = ["any_test_database", "is_test_database", "is_withheld", "remember_databases", "why_withheld"]

logger = logging.getLogger(__name__)

# The names of the databases as the project has them: Django's tests put others in their place.
_names: dict[Alias, str] = {}

# What was logged already.
_logged: set[str] = set()


def remember_databases() -> None:
    """Remember what the databases are called that are no test's; for the start of Django."""
    if not _names:
        _names.update((alias, str(database.get("NAME"))) for alias, database in django_settings.DATABASES.items())


def is_test_database(using: Alias) -> bool:
    """Whether database ``using`` was made for tests, by Django's test runner or pytest-django, say."""
    name = _names.get(using)
    return name is not None and str(connections.settings[using]["NAME"]) != name


def any_test_database(databases: Iterable[Alias] | None = None) -> Alias | None:
    """One that was made for tests, of these databases or of all; None if there is none."""
    return next(filter(is_test_database, _names if databases is None else databases), None)


def is_withheld(using: Alias) -> bool:
    """Whether what happens in database ``using`` is to reach nobody, which is logged once."""
    if not is_test_database(using):
        return False
    try:
        app = project_app()
        next_broker = get_settings().nameko_config.get("AMQP_URI") if is_eager(app) else broker_url(app)
    except ConfigurationError:  # it is reported where something is sent
        return False
    problem = why_withheld(next_broker, [using])
    if problem and problem not in _logged:
        _logged.add(problem)
        logger.warning(problem)
    return problem is not None


def why_withheld(broker: object, databases: Iterable[Alias] | None = None) -> str | None:
    """Why nothing is to be sent to a broker, as a text to be shown; None if all may be.

    Args:
        broker: Its URL.
        databases: What is to be sent comes from one of these; None where that is not known.
    """
    url = without_passwords(broker)
    test_database = any_test_database(databases)
    if test_database is None or url.startswith("memory:") or get_settings().publish_in_tests:
        return None
    return (
        f"Database {test_database!r} is a test's, so that its events are not sent to {url}. Set EVENTS_SOURCING"
        "['PUBLISH_IN_TESTS'] = True to have them sent there, or use a broker in memory://."
    )
