"""Other workers that take the library's tasks and don't know them, told by a worker that does."""

import logging
import threading
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from typing import Any

from celery import Celery
from kombu.connection import Connection

from django_events_sourcing.delivery.celery_app import project_app
from django_events_sourcing.delivery.enqueue import PUBLISH_TASK, RELAY_TASK, missing_tasks, queue_of
from django_events_sourcing.logs import HOUR
from django_events_sourcing.tasks.schedule import Schedule
from django_events_sourcing.texts import without_passwords

__all__ = ["ANSWER_WITHIN", "can_ask_workers", "look_at_neighbours_if_due", "queue_names", "workers_without_tasks"]

#: How long an answer may take, in seconds.
ANSWER_WITHIN = 2.0

logger = logging.getLogger(__name__)

_looks = Schedule()


def look_at_neighbours_if_due() -> None:
    """Once an hour, have one process of this worker log which other workers throw the library's tasks away.

    It waits for nothing: a thread does it.
    """
    if _looks.claim_if_due(0, HOUR):
        threading.Thread(target=_look, name="events-neighbours", daemon=True).start()


def _look() -> None:
    try:
        for problem in _problems(project_app()):
            logger.warning(problem)
    except Exception as exc:  # noqa: BLE001 - Celery itself tells of trouble with its broker
        logger.debug("The other workers cannot be asked for their tasks. %s", without_passwords(exc))


def _problems(app: Celery) -> Iterator[str]:
    with app.connection_for_write() as connection:
        if not can_ask_workers(app, connection):
            return
        inspect = app.control.inspect(timeout=ANSWER_WITHIN, connection=connection)
        tasks, queues = inspect.registered() or {}, queue_names(inspect.active_queues())
    ours = {queue_of(name, app) for name in (RELAY_TASK, PUBLISH_TASK)}
    for worker, missing in workers_without_tasks(tasks, queues, ours).items():
        taken = ours & queues[worker]
        yield (
            f"Worker {worker} takes Celery's queue {', '.join(map(repr, sorted(filter(None, taken))))}, and lacks "
            f"the tasks {', '.join(missing)}: it throws away the wake-ups for new events, which the sweep finds, "
            "and the events of the delivery 'direct'. Start it with this version of the project, with "
            "django_events_sourcing in INSTALLED_APPS; or end it, or set EVENTS_SOURCING['QUEUE'] to a queue that "
            "only workers take which have them. (Looked for once an hour.)"
        )


def can_ask_workers(app: Celery, connection: Connection) -> bool:
    """Not all of Celery's brokers can ask workers, and not all projects let them be asked."""
    can_broadcast: bool = connection.supports_exchange_type("fanout")  # type: ignore[no-untyped-call]
    return can_broadcast and bool(app.conf.worker_enable_remote_control)


def queue_names(answers: Mapping[str, Iterable[Mapping[str, Any]]] | None) -> dict[str, set[str]]:
    """By worker, the names of the queues that it takes, of what Celery's ``active_queues`` answers."""
    return {worker: {queue["name"] for queue in queues} for worker, queues in (answers or {}).items()}


def workers_without_tasks(
    tasks: Mapping[str, Container[str]], queues: Mapping[str, set[str]], ours: Collection[str | None]
) -> dict[str, list[str]]:
    """The workers that take any of our queues and lack tasks of the library's; which ones.

    Args:
        tasks: By worker, those that it has.
        queues: By worker, those that it takes.
        ours: The names of the queues.
    """
    takers = [worker for worker in sorted(tasks.keys() & queues) if queues[worker].intersection(ours)]
    return {worker: missing for worker in takers if (missing := missing_tasks(tasks[worker]))}
