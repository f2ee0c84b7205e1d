"""The queues that are bound to the project's exchanges, as RabbitMQ's management API has them."""

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.error import URLError
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from django_events_sourcing.conf import get_settings
from django_events_sourcing.doctor.findings import Finding, Item, Level
from django_events_sourcing.doctor.project import event_names, may_be_a_status
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.texts import without_passwords
from django_events_sourcing.uris import vhost_of

__all__ = ["examine_queues"]

# How long one answer may take, in seconds.
_TIMEOUT = 5.0

# Arguments of a queue, and keys of a policy, by which it loses messages.
_DROPPING = ("max-length", "max-length-bytes", "message-ttl", "expires", "delivery-limit")


class _Management:
    """RabbitMQ's management API.

    Args:
        url: Where it is, with user and password.
        vhost: Which one is asked about.
    """

    def __init__(self, url: str, vhost: str) -> None:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        self._url = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        credentials = f"{unquote(parts.username or 'guest')}:{unquote(parts.password or 'guest')}"
        self._authorization = f"Basic {base64.b64encode(credentials.encode()).decode()}"
        self._vhost = quote(vhost, safe="")

    def ask(self, what: str, *names: str) -> Any:
        """What it says of something in the vhost.

        Raises:
            OSError, ValueError: It can't be asked.
        """
        kind, _, rest = what.partition("/")
        path = "/".join(["api", kind, self._vhost, *(quote(name, safe="") for name in names), *filter(None, [rest])])
        url = f"{self._url}/{path}"  # whose scheme was looked at
        request = Request(url, headers={"Authorization": self._authorization})  # noqa: S310
        with urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
            return json.load(answer)


def examine_queues(url: str) -> Iterator[Finding]:
    """Who listens to what is sent, and what keeps or loses it.

    Args:
        url: Of the management API, as http://user:password@host:15672.
    """
    if urlsplit(url).scheme not in {"http", "https"}:
        yield Finding(
            Item.QUEUE, Level.FAILING, "The management API's URL must begin with http:// or https://.", "Mend it."
        )
        return
    try:
        management = _Management(url, vhost_of(get_settings().nameko_config.get("AMQP_URI")))
        for service, names in event_names().items():
            yield from _of_exchange(management, service, names)
    except ConfigurationError as exc:
        yield Finding(Item.QUEUE, Level.FAILING, str(exc), "Then the queues can be asked for.")
    except (OSError, ValueError) as exc:
        reason = exc.reason if isinstance(exc, URLError) else exc
        problem = f"RabbitMQ's management API cannot be asked: {without_passwords(reason)}"
        hint = "It needs the plugin rabbitmq_management, and a user with the tag monitoring or management."
        yield Finding(Item.QUEUE, Level.FAILING, problem, hint)


def _of_exchange(management: _Management, service: str, names: set[str]) -> Iterator[Finding]:
    exchange = f"{service}.events"
    bindings = management.ask("exchanges/bindings/source", exchange)
    keys = {each["routing_key"] for each in bindings}
    patterns = {key for key in keys if "*" in key or "#" in key}
    if not patterns:
        for name in sorted(names - keys):
            problem = f"Nobody listens to {name} of {service}: its events are published, and get into no queue."
            yield Finding(
                Item.QUEUE, Level.WARNING, problem, "A nameko service that handles it makes its queue as it starts."
            )
    for each in bindings:
        key = each["routing_key"]
        if key not in patterns | names and not may_be_a_status(service, key):
            problem = f"{each['destination']} waits for {key} of {service}, which this project does not send."
            yield Finding(
                Item.QUEUE, Level.WARNING, problem, "Compare the handler's event name with MODELS_CRUD_EVENT."
            )
    queues = sorted({each["destination"] for each in bindings if each["destination_type"] == "queue"})
    for queue in queues:
        yield from _of_queue(queue, management.ask("queues", queue))
    if queues:
        yield Finding(Item.QUEUE, Level.OK, f"{len(queues)} queues are bound to {exchange}.")


def _of_queue(name: str, found: dict[str, Any]) -> Iterator[Finding]:
    if not found.get("consumers"):
        problem = f"Nobody consumes from the queue {name}; {found.get('messages', 0):,} messages are in it."
        yield Finding(Item.QUEUE, Level.WARNING, problem, "Start the service that handles them; or delete the queue.")
    policy = found.get("effective_policy_definition") or {}
    arguments = {key.removeprefix("x-"): value for key, value in (found.get("arguments") or {}).items()}
    given = {**policy, **arguments}
    overflow = given.get("overflow", "drop-head")
    for key in _DROPPING:
        if key in given and not (key.startswith("max-length") and overflow != "drop-head"):
            problem = f"The queue {name} loses messages: its {key} is {given[key]}."
            yield Finding(
                Item.QUEUE, Level.WARNING, problem, "If that is not meant, change its policy, or its arguments."
            )
