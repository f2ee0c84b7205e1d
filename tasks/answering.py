"""What a worker answers when it is asked how it is, over Celery's remote control."""

import time
from typing import Any

from celery.worker.control import inspect_command

from django_events_sourcing import __version__
from django_events_sourcing.conf import get_settings
from django_events_sourcing.delivery.enqueue import REPORT
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.tasks.health import relay_problems
from django_events_sourcing.texts import without_passwords
from django_events_sourcing.uris import places

__all__ = ["report"]


@inspect_command(name=REPORT)  # type: ignore[untyped-decorator]
def report(state: Any) -> dict[str, Any]:  # noqa: ARG001 - Celery's signature
    """How this worker is: JSON types, and no password. Its tasks and queues Celery itself tells.

    Args:
        state: Celery's, of the worker.
    """
    answer: dict[str, Any] = {
        "version": __version__,
        "time": time.time(),
        "problems": [str(problem) for problem in relay_problems()],
    }
    try:
        settings = get_settings()
        answer |= {"delivery": settings.delivery, "rabbitmq": places(settings.nameko_config.get("AMQP_URI"))}
    except ConfigurationError as exc:
        answer["problems"].append(without_passwords(exc))
    return answer
