"""TLS to RabbitMQ: the server must have a certificate that is trusted, and is for the host that the URI names."""

import ssl
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from django_events_sourcing.uris import hosts

__all__ = ["TLSOptions", "forget_host", "tls_options"]

_NAME = "server_hostname"

# Note [Whose certificate it is]
# amqp compares a certificate with a host's name only if it is given the name: without, whoever has a certificate of any
# trusted authority's, for a host of his own, is sent user and password. kombu gives it the host of the URI where
# `server_hostname` is None, which is the default here. It writes the name into the options, and would take it from
# there for the next host, too, and for the other connections of its pool, which share them: so each thread has a name
# of its own there, and forgets it before it connects.


class TLSOptions(dict[str, Any]):
    """What amqp takes as ``ssl``; without a name for all hosts, each thread has that of the host it connects to."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self.is_by_host = options.get(_NAME, "") is None
        self._of_thread = threading.local()

    def __getitem__(self, key: str) -> Any:
        if key == _NAME and self.is_by_host:
            return getattr(self._of_thread, "name", None)
        return super().__getitem__(key)

    def __setitem__(self, key: str, value: Any) -> None:
        if key == _NAME and self.is_by_host:
            self._of_thread.name = value
        else:
            super().__setitem__(key, value)

    def __iter__(self) -> Iterator[str]:
        """The keys; where a subclass has this of its own, ``**options`` asks ``__getitem__``, too."""
        return super().__iter__()


def tls_options(config: Mapping[str, Any]) -> TLSOptions | None:
    """What ``AMQP_SSL`` of ``NAMEKO_CONFIG`` comes to; None where RabbitMQ is spoken to in plain text.

    Args:
        config: ``NAMEKO_CONFIG``. With an ``amqps://`` URI, or an ``AMQP_SSL`` that is there, be it empty, it is TLS. A
            ``cert_reqs`` of ``CERT_NONE`` compares nothing, a ``server_hostname`` of ``""`` no name.
    """
    given = config.get("AMQP_SSL")
    is_plain = given is None or given is False
    if is_plain and not any(uri.startswith("amqps:") for uri in hosts(config["AMQP_URI"])):
        return None
    options = dict(given) if isinstance(given, Mapping) else {}
    if "context" in options:  # amqp's own way, in which the project has said all of it
        return TLSOptions(options)
    options.setdefault("cert_reqs", ssl.CERT_REQUIRED)
    if options["cert_reqs"] != ssl.CERT_NONE:
        options.setdefault(_NAME, None)
    if options.get(_NAME) == "":
        del options[_NAME]
    return TLSOptions(options)


def forget_host(options: object) -> None:
    """Have the name be that of the host which this thread connects to next, where none is given for all.

    Args:
        options: A connection's ``ssl``, which may be none of ours.
    """
    if isinstance(options, TLSOptions) and options.is_by_host:
        options[_NAME] = None
