"""RabbitMQ, reached over the producers of nameko's pool."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from time import monotonic
from typing import Any

from amqp.exceptions import AMQPError, MessageNacked
from kombu.connection import Connection
from kombu.exceptions import KombuError
from kombu.messaging import Producer
from kombu.pools import producers

from django_events_sourcing.conf import Settings
from django_events_sourcing.delivery.in_tests import why_withheld
from django_events_sourcing.delivery.transports import MEND, virtual_transport_problem
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.tasks.blocking import listen_for_blocking, why_blocked
from django_events_sourcing.tasks.errors import add_place, advice_on_a_hang_up, is_over_one_event, say_what_was_awaited
from django_events_sourcing.tasks.tls import forget_host, tls_options
from django_events_sourcing.uris import each_host_once, uri_problem, with_port_and_vhost

__all__ = ["PUBLISH_TIMEOUT", "RabbitMQ", "rabbitmq_of"]

#: How long RabbitMQ may take to answer, in seconds: suspended, or with a memory or disk alarm, it never does.
PUBLISH_TIMEOUT = 10.0


# How long the confirm of one event shows that its exchange takes others, in seconds.
_LATELY = 60.0


class RabbitMQ:
    """The broker that the settings name.

    Args:
        settings: For ``NAMEKO_CONFIG``, honoured whole. Of several hosts in its ``AMQP_URI`` the next one is taken when
            one is in trouble.

    Attributes:
        errors: What publishing raises when RabbitMQ or the way to it is in trouble; with a virtual transport, its own,
            too.

    Raises:
        ConfigurationError: The AMQP URI is not set or malformed.
    """

    def __init__(self, settings: Settings) -> None:
        # A frame that raises holds no configuration: pages and trackers of errors show its variables.
        if problem := uri_problem(settings.nameko_config.get("AMQP_URI")):
            raise ConfigurationError(f"AMQP_URI or NAMEKO_CONFIG['AMQP_URI'] {problem}.")
        config = settings.nameko_config
        # kombu's own retries are off: waiting is ours (``retry``), and the retry connects anew.
        self._confirmed: dict[str, float] = {}  # by service: when an event of its was, the last time
        self._each_host_once = each_host_once(config["AMQP_URI"])
        self._connections = {confirms: self._connection(config, confirms=confirms) for confirms in (False, True)}
        connection = self._connections[True]
        self.errors: tuple[type[Exception], ...] = (
            *(AMQPError, KombuError, MessageNacked, OSError),
            *connection.connection_errors,
            *connection.channel_errors,
        )

    @contextmanager
    def producer(self, *, confirms: bool) -> Iterator[Producer]:
        """A connected producer of nameko's pool, none of whose waits is unbounded.

        What is raised meanwhile gets notes that say where that was.

        Args:
            confirms: Whether each ``publish`` waits for its confirm.
        """
        with producers[self._connections[confirms]].acquire(block=True) as producer:
            connection = producer.connection
            is_connecting = True
            awaited = f"no answer to the attempt to connect within {connection.connect_timeout:g} s"
            more: list[str] = []

            def on_error(exc: Exception, _interval: float) -> None:
                forget_host(connection.ssl)  # before kombu goes to the next one
                say_what_was_awaited(exc, awaited)
                more.append(f"Before that, {_place(connection)}: {type(exc).__name__}: {exc}")

            try:
                forget_host(connection.ssl)
                connection.ensure_connection(on_error, reraise_as_library_errors=False, **self._each_host_once)
                if connection.transport.driver_type == "amqp":
                    listen_for_blocking(connection.connection)
                    # amqp has no timeout for the answers to opening a channel and declaring; its read_timeout is
                    # ignored there (it goes on reading).
                    connection.connection.transport.sock.settimeout(PUBLISH_TIMEOUT)
                is_connecting, awaited = False, f"no answer within {PUBLISH_TIMEOUT:g} s"
                yield producer
            except BaseException as exc:
                say_what_was_awaited(exc, awaited)
                if is_connecting and (advice := advice_on_a_hang_up(exc, over_tls=bool(connection.ssl))):
                    more.append(advice)
                add_place(exc, _place(connection), more)
                connection.collect()  # in what state it is nobody knows, and the pool would give it to the next event
                if isinstance(exc, self.errors) and (is_connecting or not is_over_one_event(exc)):
                    connection.maybe_switch_next()
                raise

    def note_confirmed(self, services: Iterable[str]) -> None:
        """Learn that events of these services have just got through, over their own exchanges."""
        self._confirmed.update(dict.fromkeys(services, monotonic()))

    def takes_others(self, service: str) -> bool:
        """Whether events of the service have got through lately."""
        return monotonic() - self._confirmed.get(service, -math.inf) < _LATELY

    def _connection(self, config: Mapping[str, Any], *, confirms: bool) -> Connection:
        """What nameko's ``get_producer`` makes anew for each message, and asks its pools by."""
        options = {**self._each_host_once, **config.get("TRANSPORT_OPTIONS", {}), "confirm_publish": confirms}
        return Connection(  # type: ignore[no-untyped-call]
            with_port_and_vhost(config["AMQP_URI"]),
            transport_options=options,
            ssl=tls_options(config),
            login_method=config.get("LOGIN_METHOD"),
        )


def _place(connection: Connection) -> str:
    """Which host, as whom, and what it said of itself; no password."""
    info = connection.info()  # type: ignore[no-untyped-call]
    place = f"RabbitMQ at {info['hostname']}:{info['port']}, vhost {info['virtual_host']!r}, user {info['userid']!r}"
    if connection.connected and (reason := why_blocked(connection.connection)):
        place += f", which blocks those who publish ({reason})"
    return place


def rabbitmq_of(settings: Settings) -> RabbitMQ:
    """That of the settings.

    Raises:
        ConfigurationError: As ``RabbitMQ``; the URI is not RabbitMQ's, which nobody said was meant; or a test database
            is in use, whose events are not for a real broker.
    """
    if problem := why_withheld(settings.nameko_config.get("AMQP_URI")):
        raise ConfigurationError(problem)
    rabbitmq = _made(settings)
    if problem := virtual_transport_problem(settings):
        raise ConfigurationError(f"{problem} {MEND}")
    return rabbitmq


@lru_cache(maxsize=1)
def _made(settings: Settings) -> RabbitMQ:
    return RabbitMQ(settings)
