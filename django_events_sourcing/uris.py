"""URIs of brokers, and how to speak of them without their passwords."""

from difflib import get_close_matches
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from kombu.transport import TRANSPORT_ALIASES

__all__ = ["each_host_once", "hosts", "is_virtual", "places", "uri_problem", "vhost_of", "with_port_and_vhost"]

_AMQP = {"amqp", "amqps", "pyamqp"}


def hosts(uri: object) -> list[str]:
    """The URI of each host, of one or several that kombu takes in turns: with ``;`` in between, or a list of such."""
    return [one for each in (uri if isinstance(uri, list | tuple) else [uri]) for one in str(each).split(";")]


def each_host_once(uri: object) -> dict[str, int]:
    """The retry policy by which kombu tries each host of a URI once, without a pause."""
    return {"max_retries": len(hosts(uri)) - 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}


def with_port_and_vhost(uri: Any) -> Any:
    """The same, where each of several hosts of RabbitMQ's has a port and a vhost.

    kombu (5.7) would use those of the host before for one whose URI leaves them out.
    """
    several = hosts(uri)
    if len(several) == 1 or is_virtual(uri):
        return uri
    return ";".join(map(_complete, several))


def _complete(uri: str) -> str:
    parts = urlsplit(uri)
    default = 5671 if parts.scheme == "amqps" else 5672
    netloc = parts.netloc if parts.port else f"{parts.netloc.removesuffix(':')}:{default}"
    return urlunsplit(parts._replace(netloc=netloc, path=parts.path if len(parts.path) > 1 else "/%2F"))


def places(uri: Any) -> list[str]:
    """Where a sound URI of RabbitMQ's leads to, a host each: "host:port/vhost", without user and password."""
    return list(map(_place, hosts(uri)))


def _place(uri: str) -> str:
    parts, vhost = urlsplit(_complete(uri)), vhost_of(uri)
    return f"{parts.hostname}:{parts.port}/{'' if vhost == '/' else vhost}"


def vhost_of(uri: Any) -> str:
    """The vhost of RabbitMQ's that a sound URI leads to; of several, that of the first one."""
    return unquote(urlsplit(hosts(uri)[0]).path[1:]) or "/"


def is_virtual(uri: object) -> bool:
    """Whether a sound URI, or one of several, leads to no broker that speaks AMQP, and confirms what it is given."""
    return any(_scheme(one) not in _AMQP for one in hosts(uri))


def uri_problem(uri: object, *, needs_host: bool = True) -> str | None:
    """What is wrong with the URI of a broker, as the end of a sentence that names it; None if nothing is.

    To be asked before kombu or urllib are: their errors quote the part that they can't read, often the password. What
    this returns holds no part of the URI.

    Args:
        uri: One, several as kombu takes them to fail over, with ``;`` in between, or a list of such.
        needs_host: Whether one that speaks AMQP must name its host.
    """
    if not uri:
        return "is not set"
    if isinstance(uri, list | tuple):
        return next((problem for one in uri if (problem := uri_problem(one, needs_host=needs_host))), None)
    if not isinstance(uri, str):
        return f"is {type(uri).__name__}, not a string"
    return next((f"is malformed: {flaw}" for one in hosts(uri) if (flaw := _flaw(one, needs_host=needs_host))), None)


def _flaw(uri: str, *, needs_host: bool) -> str | None:
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:  # whose text may quote the password
        return "what should be the port is no number, or a bracket is not closed"
    if "://" not in uri:
        return "it has no scheme, such as amqp://"
    if "@" in parts.fragment or ("@" in parts.path and parts.netloc and "@" not in parts.netloc):
        return "a '#' or '/' of the user or password is not percent-encoded"
    scheme = _scheme(uri)
    if scheme not in TRANSPORT_ALIASES:
        near = get_close_matches(scheme, TRANSPORT_ALIASES, n=1)
        return "kombu has no transport for its scheme" + (f"; did you mean {near[0]}://?" if near else "")
    if needs_host and scheme in _AMQP and not parts.hostname:
        return "it names no host"
    return None


def _scheme(uri: str) -> str:
    return urlsplit(uri).scheme.partition("+")[0]  # as in sqla+postgresql://
