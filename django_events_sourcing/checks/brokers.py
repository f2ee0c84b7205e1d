"""Checks of what leads to RabbitMQ, and to Celery's broker."""

from importlib import import_module
from typing import Any

from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's own name
from kombu.serialization import registry as kombu_serializers

from django_events_sourcing.capture.registry import registry
from django_events_sourcing.checks.readable import readable_settings
from django_events_sourcing.delivery.celery_app import broker_problem, project_app
from django_events_sourcing.delivery.enqueue import missing_tasks
from django_events_sourcing.delivery.transports import MEND, virtual_transport_problem
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.uris import hosts, uri_problem

__all__ = ["check_broker", "check_celery"]


def check_broker(**_kwargs: Any) -> list[CheckMessage]:
    """``AMQP_URI`` and ``NAMEKO_CONFIG``: E007, E010, E019, W010. A message holds no part of the URI's password."""
    settings = readable_settings()
    if settings is None or not registry.registrations:
        return []
    messages: list[CheckMessage] = []
    if problem := uri_problem(settings.nameko_config.get("AMQP_URI")):
        messages.append(
            Error(
                f"AMQP_URI or NAMEKO_CONFIG['AMQP_URI'] {problem}.",
                hint="Write amqp://user:password@host:port/vhost, with special characters in user, password and vhost "
                "percent-encoded.",
                id="django_events_sourcing.E007",
            )
        )
    elif problem := virtual_transport_problem(settings):
        messages.append(Error(problem, hint=MEND, id="django_events_sourcing.E019"))
    elif len(hosts(settings.nameko_config["AMQP_URI"])) > 1 and _names_no_host(settings.nameko_config.get("AMQP_SSL")):
        messages.append(
            Warning(
                "NAMEKO_CONFIG['AMQP_SSL']['server_hostname'] is None, and AMQP_URI has several hosts: of each kombu "
                "expects the certificate of the first.",
                hint="Set it to a name that the certificates of all hosts have.",
                id="django_events_sourcing.W010",
            )
        )
    serializer = settings.nameko_config.get("serializer", "json")
    known = {*kombu_serializers.name_to_type, *(settings.nameko_config.get("SERIALIZERS") or {})}
    if serializer not in known:
        messages.append(
            Error(
                f"NAMEKO_CONFIG['serializer'] is {serializer!r}, which is registered nowhere.",
                hint=f"Add it to NAMEKO_CONFIG['SERIALIZERS'], or use one of {', '.join(sorted(known))}.",
                id="django_events_sourcing.E010",
            )
        )
    return messages


def _names_no_host(tls: object) -> bool:
    return isinstance(tls, dict) and tls.get("server_hostname", "") is None


def check_celery(**_kwargs: Any) -> list[CheckMessage]:
    """W001: without a Celery app of the project's own, events can't be enqueued.

    E014: one that refuses their tasks. E016: one whose broker's URL is malformed; the message holds no part of it.
    E020: one that lacks their tasks.
    """
    if not registry.registrations:
        return []
    try:
        app = project_app()
    except ConfigurationError:
        return [
            Warning(
                "No Celery app is set up in this process, so that nothing would publish the events.",
                hint="Define one in <project>/celery.py and import it in <project>/__init__.py, as Celery's "
                "'First steps with Django' shows.",
                id="django_events_sourcing.W001",
            )
        ]
    if problem := broker_problem(app):
        return [
            Error(
                problem,
                hint="Write scheme://user:password@host:port/…, with special characters in user and password "
                "percent-encoded.",
                id="django_events_sourcing.E016",
            )
        ]
    if not {"json", "application/json"} & set(app.conf.accept_content):
        return [
            Error(
                f"Celery's accept_content is {list(app.conf.accept_content)!r}: workers would throw the events away, "
                "whose tasks are JSON.",
                hint="Add 'json' to it.",
                id="django_events_sourcing.E014",
            )
        ]
    import_module("django_events_sourcing.tasks")  # as a worker does
    if missing := missing_tasks(app.tasks):
        return [
            Error(
                f"The Celery app lacks the tasks {', '.join(missing)}: workers would throw the events away.",
                hint="Leave these names in its registry.",
                id="django_events_sourcing.E020",
            )
        ]
    return []
