"""AMQP URIs, and how to speak of them without telling their passwords."""

from urllib.parse import urlsplit

from kombu.transport import TRANSPORT_ALIASES

__all__ = ["uri_problem"]


def uri_problem(uri: object) -> str | None:
    """What is wrong with an AMQP URI, as the end of a sentence that names it; None if nothing is.

    To be asked before kombu or urllib are: their errors quote the part that they can't read, often the password.
    """
    if not uri:
        return "is not set"
    if not isinstance(uri, str):
        return f"is {type(uri).__name__}, not a string"
    # kombu takes several, to fail over
    return next((f"is malformed: {flaw}" for one in uri.split(";") if (flaw := _flaw(one))), None)


def _flaw(uri: str) -> str | None:
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:  # whose text may quote the password
        return "what should be the port is no number, or a bracket is not closed"
    if "://" not in uri:
        return "it has no scheme, such as amqp://"
    if parts.scheme not in TRANSPORT_ALIASES:
        return f"kombu has no transport for the scheme {parts.scheme!r}"
    if parts.scheme in {"amqp", "amqps", "pyamqp"} and not parts.hostname:
        return "it names no host"
    return None
