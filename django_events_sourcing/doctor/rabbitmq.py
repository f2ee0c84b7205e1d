"""RabbitMQ, as the settings have it."""

import time
from collections.abc import Iterator
from dataclasses import replace

from django_events_sourcing.conf import Settings, get_settings
from django_events_sourcing.doctor.findings import Finding, Item, Level
from django_events_sourcing.doctor.project import event_names
from django_events_sourcing.exceptions import ConfigurationError, PublishError
from django_events_sourcing.tasks.access import server_version, try_to_publish
from django_events_sourcing.uris import hosts, is_virtual, places

__all__ = ["examine_rabbitmq"]

_NO_EVENTS_UNTIL = "Until that is repaired no event goes out; they are kept."


def examine_rabbitmq() -> Iterator[Finding]:
    """Whether it can be reached, each host of several, and each event be published, by its name; none is."""
    try:
        settings = get_settings()
        uri = settings.nameko_config.get("AMQP_URI")
        if uri and is_virtual(uri):
            problem = "AMQP_URI leads to no RabbitMQ: kombu plays a broker there, which promises nothing."
            yield Finding(Item.RABBITMQ, Level.WARNING, problem, "Write amqp://user:password@host:port/vhost.")
            return
        found = _hosts(settings)
    except ConfigurationError as exc:
        yield Finding(Item.RABBITMQ, Level.FAILING, str(exc), _NO_EVENTS_UNTIL)
        return
    yield from found
    if any(each.level is Level.OK for each in found):
        for service, names in event_names().items():
            yield from _names(settings, service, sorted(names))


def _hosts(settings: Settings) -> list[Finding]:
    found = [_host(settings, uri) for uri in hosts(settings.nameko_config.get("AMQP_URI"))]
    if not any(each.level is Level.OK for each in found):
        return found
    beside = "Events go out over the other hosts meanwhile."
    return [each if each.level is Level.OK else replace(each, level=Level.WARNING, hint=beside) for each in found]


def _host(settings: Settings, uri: str) -> Finding:
    began = time.monotonic()
    try:
        version = server_version(replace(settings, nameko_config={**settings.nameko_config, "AMQP_URI": uri}))
    except PublishError as exc:
        return Finding(Item.RABBITMQ, Level.FAILING, str(exc), _NO_EVENTS_UNTIL)
    took = 1000 * (time.monotonic() - began)
    (place,) = places(uri)
    return Finding(Item.RABBITMQ, Level.OK, f"RabbitMQ {version} at {place} answers, in {took:.0f} ms.")


def _names(settings: Settings, service: str, names: list[str]) -> Iterator[Finding]:
    try:
        problems = try_to_publish(settings, service, names)
    except PublishError as exc:
        yield Finding(Item.RABBITMQ, Level.FAILING, str(exc), _NO_EVENTS_UNTIL)
        return
    for problem in problems:
        hint = "Events of that name are refused, and dead after MAX_ATTEMPTS."
        yield Finding(Item.RABBITMQ, Level.FAILING, str(problem), hint)
    if not problems:
        text = f"The exchange {service}.events takes all events that are known by name, {len(names)}."
        yield Finding(Item.RABBITMQ, Level.OK, text)
