"""The system checks, ``manage.py check``: each names what is wrong, where, and the mend."""

import sys
from collections.abc import Collection, Iterator
from typing import Any

from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, Warning  # noqa: A004 - Django's own name
from django.db import connections, router
from kombu.serialization import registry as kombu_serializers

from django_events_sourcing.capture.registration import Registration
from django_events_sourcing.capture.registry import registry
from django_events_sourcing.capture.serialization import hyperlinked_field
from django_events_sourcing.conf import Settings, get_settings, option_problems
from django_events_sourcing.delivery.celery_app import broker_problem, project_app
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.outbox.tables import has_tables, missing_tables
from django_events_sourcing.uris import uri_problem

__all__ = [
    "check_broker",
    "check_celery",
    "check_databases",
    "check_models",
    "check_options",
    "check_tables",
    "register",
]


def register() -> None:
    """Have ``manage.py check`` run the checks of this module."""
    for check in (check_models, check_options, check_broker, check_databases, check_celery):
        checks.register(check)
    checks.register(check_tables, Tags.database)


def check_models(**_kwargs: Any) -> list[CheckMessage]:
    """``MODELS_CRUD_EVENT``: E001 to E006, E008, E011, E012, E015 and W002."""
    messages = list(registry.problems)
    settings = _settings()
    by_name: dict[tuple[str, str], Registration] = {}
    for registration in registry.registrations:
        messages += _serializer_problems(registration)
        service = registration.service_name or (settings and settings.service_name)
        if service:
            first = by_name.setdefault((service, registration.prefix), registration)
            if first is not registration:
                messages.append(
                    Error(
                        f"{registration.where} and {first.where} have the same event names, {registration.prefix}__…, "
                        f"at service {service!r}: nobody could distinguish {registration.model._meta.label} from "
                        f"{first.model._meta.label}.",
                        hint="Give one of them an 'event_name_prefix' or a 'service_name' of its own.",
                        id="django_events_sourcing.E012",
                    )
                )
        elif settings is not None:
            messages.append(
                Error(
                    f"{registration.where} has no 'service_name', and SERVICE_NAME is not set.",
                    hint="Set SERVICE_NAME to the name of the service that the events come from.",
                    id="django_events_sourcing.E006",
                )
            )
    return messages


def _serializer_problems(registration: Registration) -> Iterator[Error]:
    try:
        serializer_class = registration.serializer_class
    except ConfigurationError as exc:
        yield Error(
            str(exc),
            hint="Give the dotted path of a serializer, such as 'app.serializers.ModelSerializer', or leave "
            "'serializer' out for one with all fields.",
            id="django_events_sourcing.E004",
        )
        return
    if field := hyperlinked_field(serializer_class):
        yield Error(
            f"{registration.where}['serializer'], {serializer_class.__qualname__}: its field {field!r} makes a "
            "hyperlink, which takes the request that it is an answer to; an event has none.",
            hint="Use a ModelSerializer, whose relations are primary keys.",
            id="django_events_sourcing.E015",
        )


def check_options(**_kwargs: Any) -> list[CheckMessage]:
    """``EVENTS_SOURCING``: E002 and E009."""
    return list(option_problems())


def check_broker(**_kwargs: Any) -> list[CheckMessage]:
    """``AMQP_URI`` and ``NAMEKO_CONFIG``: E007 and E010. A message never holds any part of the URI's password."""
    settings = _settings()
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


def check_databases(**_kwargs: Any) -> list[CheckMessage]:
    """E013: where Django does not commit, it doesn't know when an event of the delivery "direct" may go out."""
    settings = _settings()
    if not registry.registrations or settings is None or settings.delivery != "direct":
        return []
    return [
        Error(
            f"DATABASES[{alias!r}]['AUTOCOMMIT'] is False: saves of registered models there raise "
            "TransactionManagementError.",
            hint="Remove it, and use transaction.atomic() or ATOMIC_REQUESTS for transactions; or use the delivery "
            "'outbox'.",
            id="django_events_sourcing.E013",
        )
        for alias in connections
        if not connections[alias].settings_dict["AUTOCOMMIT"]
    ]


def check_tables(*, databases: Collection[str] | None = None, **_kwargs: Any) -> list[CheckMessage]:
    """W003: a database that lacks the outbox's tables. No error: ``migrate``, which makes them, would refuse to run."""
    if "migrate" in sys.argv[1:2]:  # which runs this check first, and needs no warning
        return []
    settings = _settings()
    if not registry.registrations or settings is None or settings.delivery != "outbox":
        return []
    return [
        Warning(
            f"Saves of registered models in database {alias!r} will raise ConfigurationError.",
            hint=missing_tables(alias),
            id="django_events_sourcing.W003",
        )
        for alias in databases or ()
        if not has_tables(alias)
        and any(router.allow_migrate_model(alias, entry.model) for entry in registry.registrations)
    ]


def check_celery(**_kwargs: Any) -> list[CheckMessage]:
    """W001: without a Celery app of the project's own, events can't be enqueued.

    E014: one that refuses their tasks. E016: one whose broker's URL is malformed; the message holds no part of it.
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
    return []


def _settings() -> Settings | None:
    """The settings, or None where they can't be read, which another check reports."""
    try:
        return get_settings()
    except ConfigurationError:
        return None
