"""The system checks, ``manage.py check``: each names what is wrong, where, and the mend."""

from typing import Any

from celery import current_app
from django.core import checks
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's own name
from kombu.serialization import registry as kombu_serializers

from django_events_sourcing.conf import Settings, get_settings, option_problems
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.registry import registry
from django_events_sourcing.uris import uri_problem

__all__ = ["check_broker", "check_celery", "check_models", "check_options", "register"]


def register() -> None:
    """Have ``manage.py check`` run the checks of this module."""
    for check in (check_models, check_options, check_broker, check_celery):
        checks.register(check)


def check_models(**_kwargs: Any) -> list[CheckMessage]:
    """``MODELS_CRUD_EVENT``: E001 to E006 and E008."""
    messages: list[CheckMessage] = list(registry.problems)
    for registration in registry.registrations:
        try:
            _ = registration.serializer_class
        except ConfigurationError as exc:
            messages.append(
                Error(
                    str(exc),
                    hint="Give the dotted path of a serializer, such as 'app.serializers.ModelSerializer', or leave "
                    "'serializer' out for one with all fields.",
                    id="django_events_sourcing.E004",
                )
            )
    settings = _settings()
    if settings is not None and not settings.service_name:
        messages += [
            Error(
                f"{registration.where} has no 'service_name', and SERVICE_NAME is not set.",
                hint="Set SERVICE_NAME to the name of the service that the events come from.",
                id="django_events_sourcing.E006",
            )
            for registration in registry.registrations
            if not registration.service_name
        ]
    return messages


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


def check_celery(**_kwargs: Any) -> list[CheckMessage]:
    """W001: without a Celery app of the project's own, tasks would go to Celery's default broker."""
    if not registry.registrations or current_app.main != "default":
        return []
    return [
        Warning(
            "No Celery app is set up in this process, so that nothing would publish the events.",
            hint="Define one in <project>/celery.py and import it in <project>/__init__.py, as Celery's "
            "'First steps with Django' shows.",
            id="django_events_sourcing.W001",
        )
    ]


def _settings() -> Settings | None:
    """The settings, or None where they can't be read, which another check's message tells."""
    try:
        return get_settings()
    except ConfigurationError:
        return None
