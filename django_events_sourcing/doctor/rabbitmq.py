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

_NO_EVENTS_UNTIL = "No event goes out until that is mended; they are kept."


def examine_rabbitmq() -> Iterator[Finding]:
    """Whether it can be reached, each host of several, and each event be published, by its name; none is."""
    try:
        settings = get_settings()
        uri = settings.nameko_config.get("AMQP_URI")
        if uri and is_virtual(uri):
            problem = "AMQP_URI leads to no RabbitMQ: kombu plays a broker there, which promises nothing."
            yield Finding(Item.RABBITMQ, Level.WARNING, problem, "Write amqp://user:password@host:port/vhost.")
            return
        found = list(_hosts(settings))
    except ConfigurationError as exc:
        yield Finding(Item.RABBITMQ, Level.FAILING, str(exc), _NO_EVENTS_UNTIL)
        return
    yield from found
    if any(each.level is Level.OK for each in found):
        for service, names in event_names().items():
            yield from _names(settings, service, sorted(names))


def _hosts(settings: Settings) -> Iterator[Finding]:
    uris = hosts(settings.nameko_config.get("AMQP_URI"))
    found: list[tuple[str, PublishError | None]] = []
    for uri in uris:
        began = time.monotonic()
        try:
            version = server_version(replace(settings, nameko_config={**settings.nameko_config, "AMQP_URI": uri}))
        except PublishError as exc:
            found.append((str(exc), exc))
        else:
            (place,) = places(uri)
            took = 1000 * (time.monotonic() - began)
            found.append((f"RabbitMQ {version} at {place} answers, in {took:.0f} ms.", None))
    is_any_well = any(problem is None for _, problem in found)
    for text, problem in found:
        if problem is None:
            yield Finding(Item.RABBITMQ, Level.OK, text)
        elif is_any_well:
            yield Finding(Item.RABBITMQ, Level.WARNING, text, "Events go out over the other hosts meanwhile.")
        else:
            yield Finding(Item.RABBITMQ, Level.FAILING, text, _NO_EVENTS_UNTIL)


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
