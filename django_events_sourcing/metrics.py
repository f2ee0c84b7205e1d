"""The outbox as metrics for Prometheus; it needs the extra ``[prometheus]``.

``OutboxCollector`` is for a registry of prometheus-client; ``views.metrics`` has one of its own. With
django-prometheus, which serves the default one, have an ``AppConfig.ready`` call
``prometheus_client.REGISTRY.register(OutboxCollector())``.
"""

from collections.abc import Iterable, Iterator, Mapping

from django.db import Error
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from django_events_sourcing.conf import get_settings
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.operating.asking import ask_each
from django_events_sourcing.operating.counting import COUNTED
from django_events_sourcing.operating.gauges import Gauges, gauges
from django_events_sourcing.outbox.tables import outbox_databases
from django_events_sourcing.types import Alias

__all__ = ["OutboxCollector"]

_PREFIX = "django_events_sourcing"

# The label that names a database.
_OF = "database"

# How long a scrape may take, in seconds: half of what Prometheus waits by default.
_WITHIN = 5.0

_ESTIMATED = f"Exact up to {COUNTED:,} in a partition, estimated from the planner's statistics above that."

# By the name after the prefix: what it is.
_GAUGES = {
    "pending_events": ("pending", f"Events that have to go out. {_ESTIMATED}"),
    "due_events": ("due", f"Pending events whose objects do not wait. {_ESTIMATED}"),
    "oldest_due_age_seconds": (
        "oldest_due_seconds",
        "How long the oldest due event has waited, since it was made or replayed; 0 if none is due.",
    ),
    "refused_events": ("refused", "Events that RabbitMQ refused by themselves, to be tried again."),
    "dead_events": ("dead", "Dead events, those that were buried left out."),
    "buried_events": ("buried", "Buried events."),
    "events_published_last_hour": ("published_last_hour", "Events that were published in the last 60 minutes."),
    "events_unrouted_last_hour": ("unrouted_last_hour", "Those of them that RabbitMQ had no queue for."),
    "partitions_backing_off": ("backing_off", "Partitions of the queue that wait after trouble."),
    "partitions_paused": ("paused", "Partitions of the queue that an operator paused."),
    "partitions_leased": ("leased", "Partitions of the queue that a relay, or a command, has a lease on."),
}


class OutboxCollector(Collector):
    """Asks each database how its outbox stands, at a cost that does not grow with what is in it."""

    def describe(self) -> Iterable[Metric]:
        """The metrics without their samples; no database is asked."""
        return _families({})

    def collect(self) -> Iterable[Metric]:
        """Ask, for five seconds at most; of a database that can't be asked there is but one sample: it is not up."""
        answers = ask_each(outbox_databases(), _ask, _WITHIN)
        has_any = any(isinstance(answer, Gauges) for answer in answers.values())
        return _families({alias: one for alias, one in answers.items() if not (has_any and one == _NO_OUTBOX)})


# Of a database that lacks the tables, as others may have them; and of one that can't be asked.
_NO_OUTBOX, _NOT_UP = "no outbox", "not up"


def _ask(alias: Alias) -> Gauges | str:
    try:
        return gauges(alias, get_settings())
    except ConfigurationError:
        return _NO_OUTBOX
    except Error:
        return _NOT_UP


def _families(answers: Mapping[Alias, object]) -> Iterator[Metric]:
    up = GaugeMetricFamily(f"{_PREFIX}_database_up", "Whether the database answers, and has the tables.", labels=[_OF])
    for alias, answer in answers.items():
        up.add_metric([alias], float(isinstance(answer, Gauges)))
    yield up
    found = {alias: answer for alias, answer in answers.items() if isinstance(answer, Gauges)}
    for name, (attribute, what) in _GAUGES.items():
        family = GaugeMetricFamily(f"{_PREFIX}_{name}", what, labels=[_OF])
        for alias, one in found.items():
            family.add_metric([alias], getattr(one, attribute))
        yield family
    lost = CounterMetricFamily(
        f"{_PREFIX}_lost_leases", "Leases that ran out under a relay that was at work.", labels=[_OF]
    )
    looks = GaugeMetricFamily(
        f"{_PREFIX}_worker_last_look_timestamp_seconds",
        "When one of the worker's relays last looked for events, of the workers that did so last.",
        labels=[_OF, "worker"],
    )
    for alias, one in found.items():
        lost.add_metric([alias], one.lost_leases)
        for worker, moment in one.last_looks.items():
            looks.add_metric([alias, worker], moment)
    yield lost
    yield looks
