"""Checks of what leads to RabbitMQ, and to Celery's broker."""

import logging
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import redis
from celery import Celery
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's own name
from kombu.serialization import registry as kombu_serializers

from django_events_sourcing.capture.registry import registry
from django_events_sourcing.checks.readable import readable_settings
from django_events_sourcing.delivery.celery_app import broker_problem, project_app
from django_events_sourcing.delivery.enqueue import missing_tasks
from django_events_sourcing.delivery.transports import MEND, virtual_transport_problem
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.uris import uri_problem

__all__ = ["check_broker", "check_celery"]

_REDIS = {"redis", "rediss", "sentinel"}

# The version of redis-py from which on it compares the host's name if nothing else is said.
_CHECKS_BY_DEFAULT = 6


def check_broker(**_kwargs: Any) -> list[CheckMessage]:
    """``AMQP_URI`` and ``NAMEKO_CONFIG``: E007, E010, E019, W015. A message holds no part of the URI's password."""
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
    elif doubt := _is_unchecked(settings.nameko_config.get("AMQP_SSL")):
        messages.append(
            Warning(
                f"NAMEKO_CONFIG['AMQP_SSL'] {doubt}: whoever gets between this process and RabbitMQ is sent user and "
                "password, and all events.",
                hint="Leave it out: the certificate must be one for the host of AMQP_URI then.",
                id="django_events_sourcing.W015",
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


def _is_unchecked(tls: object) -> str | None:
    """In which way a certificate of anybody's is as good as the right one; None if it is not."""
    if not isinstance(tls, Mapping) or "context" in tls:
        return None
    if tls.get("cert_reqs") == ssl.CERT_NONE and "cert_reqs" in tls:
        return "has a 'cert_reqs' of CERT_NONE"
    if tls.get("server_hostname") == "":
        return "has an empty 'server_hostname'"
    return None


def _unchecked_redis(app: Celery) -> CheckMessage | None:
    """W016: TLS to Redis that takes any certificate, as that of a bare ``rediss://`` does."""
    with _silenced("kombu.connection"):  # which warns of it, too, each time
        connection = app.connection_for_write()
    tls = connection.ssl
    if connection.transport_cls not in _REDIS or not isinstance(tls, Mapping):
        return None
    takes_any = tls.get("ssl_cert_reqs", "required") in {ssl.CERT_NONE, "none", "CERT_NONE", None}
    if not takes_any and tls.get("ssl_check_hostname", redis.VERSION[0] >= _CHECKS_BY_DEFAULT):
        return None
    what = "any certificate" if takes_any else "a trusted certificate for any host"
    return Warning(
        f"Celery's broker is Redis over TLS, and {what} is good enough: whoever gets between is sent its password.",
        hint="Add ssl_cert_reqs=required, ssl_check_hostname=true and ssl_ca_certs=FILE to the query of the URL; or, "
        "as a dict, to CELERY_BROKER_USE_SSL.",
        id="django_events_sourcing.W016",
    )


@contextmanager
def _silenced(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


def check_celery(**_kwargs: Any) -> list[CheckMessage]:
    """W001: without a Celery app of the project's own, events can't be enqueued.

    E014: one that refuses their tasks. E016: one whose broker's URL is malformed; the message holds no part of it.
    E020: one that lacks their tasks. W016: one whose broker may be anybody.
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
    doubt = _unchecked_redis(app)
    return [doubt] if doubt else []
