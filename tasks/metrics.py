"""What a worker has counted and measured, as metrics for Prometheus; it needs the extra ``[prometheus]``."""

from collections.abc import Iterable
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from django_events_sourcing import __version__
from django_events_sourcing.conf import get_settings
from django_events_sourcing.outbox.tables import outbox_databases
from django_events_sourcing.tasks.health import is_silent
from django_events_sourcing.tasks.heartbeats import worker_heartbeats
from django_events_sourcing.tasks.presence import presence
from django_events_sourcing.tasks.schedule import MOST_DATABASES
from django_events_sourcing.tasks.sums import OTHER
from django_events_sourcing.tasks.tallies import BOUNDS, MOST_NAMES, Count, Distribution, Duration, worker_tallies
from django_events_sourcing.types import Alias

__all__ = ["WorkerCollector"]

_PREFIX = "django_events_sourcing"

_COUNTERS = {
    Count.PUBLISHED: ("events_published", "Events that RabbitMQ has confirmed."),
    Count.UNROUTED: ("events_unrouted", "Confirmed events that it had no queue for."),
    Count.REFUSED: ("events_refused", "Attempts at single events that it refused."),
    Count.DEAD: ("events_dead", "Events that became dead by that."),
}

_HISTOGRAMS = {
    Duration.DELAY: (
        "event_delay_seconds",
        "From when an event was made, by the saving process' clock, to its confirm.",
    ),
    Duration.TURN: ("relay_turn_seconds", "Turns of a relay: for how long it publishes before it looks anew."),
    Duration.WAIT: (
        "wake_up_wait_seconds",
        "From when a wake-up was sent, by its sender's clock, to when a worker took it.",
    ),
}

_BOUNDS = [*map(str, BOUNDS), "+Inf"]


class WorkerCollector(Collector):
    """Those of this worker's processes, all together; no database is asked."""

    def collect(self) -> Iterable[Metric]:
        """All of them, 0 where nothing has happened yet.

        Raises:
            ConfigurationError: A setting is wrong.
        """
        about = {"worker": presence.name, "version": __version__}
        yield InfoMetricFamily(f"{_PREFIX}_worker", "The version of the library.", about)
        yield from _counters()
        aliases = outbox_databases()[:MOST_DATABASES]
        yield from _histograms(aliases)
        yield from _relays(aliases)


def _counters() -> Iterable[Metric]:
    counts = worker_tallies.counts()
    for count, (name, what) in _COUNTERS.items():
        more = f" Of more than {MOST_NAMES} services and names the rest is {OTHER!r}."
        family = CounterMetricFamily(f"{_PREFIX}_{name}", what + more, labels=["service", "event"])
        for key, numbers in counts.items():
            family.add_metric(key, numbers[count])
        yield family


def _histograms(aliases: list[Alias]) -> Iterable[Metric]:
    nothing = Distribution([0] * len(_BOUNDS), 0.0)
    for duration, (name, what) in _HISTOGRAMS.items():
        family = HistogramMetricFamily(f"{_PREFIX}_{name}", what, labels=["database"])
        found = {**dict.fromkeys(aliases, nothing), **worker_tallies.distributions(duration)}
        for alias, one in found.items():
            if alias in aliases or any(one.counts):
                family.add_metric([alias], [*zip(_BOUNDS, accumulate(one.counts), strict=True)], one.total)
        yield family


def _relays(aliases: list[Alias]) -> Iterable[Metric]:
    longest, signs = get_settings().health_max_age, list(worker_heartbeats.signs())
    threads = _gauge("relay_threads", "Threads of this worker's processes that relay.")
    silent = _gauge("relay_threads_silent", "Those of them that have given no sign of life for HEALTH_MAX_AGE.")
    looks = _gauge("relay_last_look_timestamp_seconds", "When one of them last looked for events; 0 if never.")
    for place, alias in enumerate(aliases):
        of_this = [sign for sign in signs if sign.place == place]
        threads.add_metric([alias], len(of_this))
        silent.add_metric([alias], sum(is_silent(sign, longest) for sign in of_this))
        looks.add_metric([alias], worker_heartbeats.last_look(place))
    return threads, silent, looks


def _gauge(name: str, what: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", what, labels=["database"])
