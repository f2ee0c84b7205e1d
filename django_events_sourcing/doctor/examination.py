"""An examination of a deployment: each part of it after the other, and a canary at last."""

from collections.abc import Collection, Iterator
from functools import partial

from django_events_sourcing.conf import get_settings
from django_events_sourcing.doctor.canary import send_canary
from django_events_sourcing.doctor.celery import examine_celery
from django_events_sourcing.doctor.databases import examine_databases
from django_events_sourcing.doctor.findings import Finding, Item, Level, bounded
from django_events_sourcing.doctor.project import examine_settings
from django_events_sourcing.doctor.queues import examine_queues
from django_events_sourcing.doctor.rabbitmq import examine_rabbitmq
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.outbox.identity import one_of_each_outbox
from django_events_sourcing.types import Alias

__all__ = ["examine"]

# How long Celery's broker and the workers, and RabbitMQ, may take, in seconds.
_CELERY_WITHIN, _RABBITMQ_WITHIN = 20.0, 60.0

# How long the canary may take beside two sweeps, in seconds.
_CANARY_WITHIN = 10.0


def examine(aliases: Collection[Alias], *, is_fast: bool = False, management: str = "") -> Iterator[Finding]:
    """Look at everything that an event needs to get from a save to a queue; nobody else notices.

    Args:
        aliases: Of the databases.
        is_fast: Whether to send no canary: an event that goes the whole way, to a queue of its own.
        management: URL of RabbitMQ's management API, with user and password; empty to leave the queues out.

    Yields:
        What was found, as it is found.
    """
    yield from examine_settings()
    usable: dict[Alias, None] = {}
    for finding in examine_databases(aliases):
        if finding.level is Level.OK and finding.database:
            usable[finding.database] = None
        yield finding
    yield from bounded(Item.CELERY, examine_celery, _CELERY_WITHIN)
    yield from bounded(Item.RABBITMQ, examine_rabbitmq, _RABBITMQ_WITHIN)
    if management:
        yield from bounded(Item.QUEUE, partial(examine_queues, management), _RABBITMQ_WITHIN)
    if not is_fast:
        for alias in one_of_each_outbox(usable):
            yield from send_canary(alias, _within())


def _within() -> float:
    try:
        return 2 * get_settings().sweep_interval + _CANARY_WITHIN
    except ConfigurationError:
        return _CANARY_WITHIN
