"""Other workers that take the library's tasks and don't know them, told by a worker that does."""

import logging
import threading
from collections.abc import Iterator

from celery import Celery

from django_events_sourcing.delivery.celery_app import project_app
from django_events_sourcing.delivery.enqueue import PUBLISH_TASK, RELAY_TASK, missing_tasks, queue_of
from django_events_sourcing.logs import HOUR
from django_events_sourcing.tasks.schedule import Schedule
from django_events_sourcing.texts import without_passwords

__all__ = ["look_at_neighbours_if_due"]

# How long an answer may take, in seconds.
_TIMEOUT = 2.0

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
        logger.debug("The other workers can't be asked for their tasks. %s", without_passwords(exc))


def _problems(app: Celery) -> Iterator[str]:
    with app.connection_for_write() as connection:
        # Not all of Celery's brokers can ask workers, and not all projects let them be asked.
        if not (app.conf.worker_enable_remote_control and connection.supports_exchange_type("fanout")):
            return
        inspect = app.control.inspect(timeout=_TIMEOUT, connection=connection)
        tasks, queues = inspect.registered() or {}, inspect.active_queues() or {}
    ours = {queue_of(name, app) for name in (RELAY_TASK, PUBLISH_TASK)}
    for worker in sorted(tasks.keys() & queues):
        taken = ours & {queue["name"] for queue in queues[worker]}
        if taken and (missing := missing_tasks(tasks[worker])):
            yield (
                f"Worker {worker} takes Celery's queue {', '.join(map(repr, sorted(filter(None, taken))))}, and lacks "
                f"the tasks {', '.join(missing)}: it throws away the wake-ups for new events, which the sweep finds, "
                "and the events of the delivery 'direct'. Start it with this version of the project, with "
                "django_events_sourcing in INSTALLED_APPS; or end it, or set EVENTS_SOURCING['QUEUE'] to a queue that "
                "only workers take which have them. (Looked for once an hour.)"
            )
