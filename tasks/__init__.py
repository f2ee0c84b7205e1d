"""The worker's side: the Celery tasks. A worker loads them by itself, whatever its Celery app discovers (``apps``)."""

import logging
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from time import monotonic, time
from typing import Any, TypeVar

from celery import Task, shared_task
from celery.exceptions import Reject, SoftTimeLimitExceeded

from django_events_sourcing.conf import Settings, get_settings
from django_events_sourcing.delivery.enqueue import OPERATION_TASK, PUBLISH_TASK, RELAY_TASK, repr_of
from django_events_sourcing.delivery.waker import EXPIRES
from django_events_sourcing.events import Event
from django_events_sourcing.exceptions import (
    ConfigurationError,
    EventRefused,
    NoConnectionLeft,
    PublishError,
    RabbitMQUnavailable,
)
from django_events_sourcing.operating.performing import perform, send
from django_events_sourcing.tasks.arguments import AskedOperation, DirectEvent, WakeUp
from django_events_sourcing.tasks.attempts import Attempts
from django_events_sourcing.tasks.circuit import worker_circuit
from django_events_sourcing.tasks.publisher import event_dispatcher
from django_events_sourcing.tasks.rabbitmq import PUBLISH_TIMEOUT
from django_events_sourcing.tasks.relaying import relay_database
from django_events_sourcing.tasks.retry import delay
from django_events_sourcing.tasks.standing_back import tell
from django_events_sourcing.tasks.stopping import is_stopping
from django_events_sourcing.tasks.tallies import Count, Duration, worker_tallies
from django_events_sourcing.tasks.worker import relay_in_thread
from django_events_sourcing.texts import without_passwords

__all__ = ["operation", "publish_event", "relay"]

logger = logging.getLogger(__name__)

_Given = TypeVar("_Given")

# Between attempts while the settings, which would name another, can't be read; in seconds.
_CONFIGURATION_DELAY = 60.0

# How long a task waits for its event's confirm, in seconds, before the process is the project's own tasks' again.
_PATIENCE = 2.0

# Whoever is at an attempt for longer than this, in seconds, has met a RabbitMQ that hangs, not one that is away.
_HANGS = 1.0

_NOT_ITS_TURN = "RabbitMQ is in trouble, and another process of this worker tries."

_attempts = Attempts()

# How long a relay task runs before it enqueues itself anew, in seconds.
_LONGEST_RUN = 30.0

_STARTED = datetime.now(UTC)

# How long after a worker has new settings a web process may have the old ones.
_ROLLING_DEPLOY = timedelta(hours=1)

# What is not the event's own fault; a soft time limit of the project's is reached while RabbitMQ hangs.
_OF_RABBITMQ = (RabbitMQUnavailable, SoftTimeLimitExceeded)
_TROUBLE = (PublishError, ConfigurationError, *_OF_RABBITMQ)


class SteadyTask(Task):  # type: ignore[misc]
    """A task of the library's, whose promises no setting of the project's takes back.

    ``task_annotations`` for ``"*"`` are meant for the project's own tasks. What of them changes no promise, a rate or
    time limit say, holds here, too.
    """

    max_retries = None
    ignore_result = True
    store_errors_even_if_ignored = False
    expires = None
    serializer = "json"
    # Taken off Celery's queue only when the task has ended: a worker that is killed meanwhile loses nothing.
    acks_late = True
    acks_on_failure_or_timeout = False
    reject_on_worker_lost = True

    @cached_property
    def _longest_run(self) -> float:
        """In seconds: so that a long drain lets the project's own tasks have the process, and is ended by no limit."""
        conf = self.app.conf
        limits = [self.time_limit, self.soft_time_limit, conf.task_time_limit, conf.task_soft_time_limit]
        return min([_LONGEST_RUN, *(float(limit) / 2 for limit in limits if limit)])

    @classmethod
    def annotate(cls) -> None:
        """Celery's own, after which the attributes above are as they were."""
        ours = [name for name in vars(SteadyTask) if not (name.startswith("_") or callable(getattr(SteadyTask, name)))]
        before = {name: getattr(cls, name) for name in ours}
        super().annotate()
        for name, value in before.items():
            setattr(cls, name, value)


@shared_task(name=PUBLISH_TASK, bind=True, base=SteadyTask)  # type: ignore[untyped-decorator]
def publish_event(self: Task, *arguments: Any, **more: Any) -> None:
    """Publish one event of the delivery "direct". What is no event, or one of another delivery, is dropped.

    Trouble with the broker or the settings is retried for ever. What may be the event's own fault (a refusal, or an
    error that nobody foresaw) is retried until ``MAX_ATTEMPTS``, then given up with an error in the log; in eager mode,
    where Celery would retry without a pause, so is any trouble.

    Args:
        self: The running task.
        arguments: As of ``DirectEvent.parse``: the event, by ``Event.to_message``, and how many attempts have failed.
        more: None.
    """
    given = _parsed(self, DirectEvent.parse, arguments, more)
    if given is None:
        return
    event, failures = given.event, given.failures
    attempts = self.request.retries + 1
    seconds, max_attempts = _CONFIGURATION_DELAY, math.inf
    try:
        settings = get_settings()
        if not (settings.delivery == "direct" or self.request.is_eager or _may_be_from_before(event)):
            logger.error(
                "Event %s is dropped: a task carries it, but DELIVERY is %r.",
                event.label,
                settings.delivery,
                extra=event.log_fields,
            )
            return
        seconds, max_attempts = delay(attempts, settings), settings.max_attempts
        if self.request.is_eager:
            event_dispatcher(settings)(event)
        else:
            _publish(event, settings, is_first=attempts == 1)
        return
    except Exception as exc:
        if isinstance(exc, EventRefused) or not isinstance(exc, _TROUBLE):
            failures += 1
            worker_tallies.count_one(Count.REFUSED, event)
        if failures >= max_attempts or self.request.is_eager:
            logger.exception("Event %s is given up.", event.label, extra=event.log_fields)
            worker_tallies.count_one(Count.DEAD, event)
            return
        if isinstance(exc, NoConnectionLeft):
            seconds = delay(1, settings)  # it may get to another process, which has one
        elif isinstance(exc, _OF_RABBITMQ) and (worker_circuit.seconds_tried >= _HANGS or _attempts.are_left):
            # As long as the attempt may take, or the tasks of all that waits would keep the worker busy meanwhile.
            seconds = delay(attempts, settings, shortest=PUBLISH_TIMEOUT)
        # What the circuit logs stands there once for all events.
        level = logging.INFO if isinstance(exc, _OF_RABBITMQ) else logging.WARNING
        problem = without_passwords(exc)
        text = "Event %s: attempt %d failed, next in %.1f s. %s"
        logger.log(level, text, event.label, attempts, seconds, problem, extra=event.log_fields)
        failed = exc.with_traceback(None)
    # Not while the error is handled: Celery would send its main process the traceback of it, which takes longer than
    # all the rest, at each event's each attempt of an outage.
    try:
        args = [event.to_message(), failures]
        raise self.retry(
            args=args, kwargs={}, countdown=seconds, exc=failed, throw=False, argsrepr=repr_of(args), kwargsrepr="{}"
        )
    except Reject as rejected:
        # Celery's broker did not take the retry; what it still holds of this attempt is all there is.
        raise Reject(rejected.reason, requeue=True) from failed


@shared_task(  # type: ignore[untyped-decorator]
    name=RELAY_TASK,
    bind=True,
    base=SteadyTask,
    # A wake-up that is lost with its worker is no loss, and one that comes back again and again could be harm.
    acks_late=False,
    reject_on_worker_lost=False,
)
def relay(self: Task, *arguments: Any, **more: Any) -> None:
    """Publish what is due in a database: the wake-up of the delivery "outbox".

    What it leaves undone, as the worker shuts down or its time is up, the next wake-up does, which it sends itself.
    With ``CELERY_TASK_ALWAYS_EAGER`` all of it is done here.

    Args:
        self: The running task.
        arguments: As of ``WakeUp.parse``: alias of the database, partitions, time. A wake-up that is too old for
            anything but the sweep is dropped, as is what is none.
        more: None.
    """
    wake_up = _parsed(self, WakeUp.parse, arguments, more)
    if wake_up is None:
        return
    if wake_up.sent is not None:
        age = time() - wake_up.sent
        worker_tallies.measure(Duration.WAIT, wake_up.using, [age])
        if age > EXPIRES:
            text = "A wake-up for database %r is dropped: it was sent %.0f s ago."
            logger.info(text, wake_up.using, age, extra={"database": wake_up.using})
            return
    seconds = self._longest_run
    if self.request.is_eager or not relay_in_thread(wake_up.using, seconds, wake_up.partitions):
        ends = monotonic() + seconds
        relay_database(wake_up.using, lambda: is_stopping() or monotonic() >= ends, wake_up.partitions)


@shared_task(  # type: ignore[untyped-decorator]
    name=OPERATION_TASK,
    bind=True,
    base=SteadyTask,
    # What gets lost with its worker, another finds within a minute or two.
    acks_late=False,
    reject_on_worker_lost=False,
)
def operation(self: Task, *arguments: Any, **more: Any) -> None:
    """Do what was asked for in Django's admin; what is left when the task's time is up, the next one does.

    Args:
        self: The running task.
        arguments: As of ``AskedOperation.parse``: alias of the database, id of the operation.
        more: None.
    """
    asked = _parsed(self, AskedOperation.parse, arguments, more)
    if asked is None:
        return
    ends = monotonic() + self._longest_run
    is_eager = self.request.is_eager
    if not perform(asked.using, asked.id, lambda: not is_eager and (is_stopping() or monotonic() >= ends)):
        send(asked.using, asked.id)


def _publish(event: Event, settings: Settings, *, is_first: bool) -> None:
    """Publish it; while RabbitMQ hangs, leave that to a thread, and the process to the project's own tasks."""
    if _attempts.are_left:
        raise RabbitMQUnavailable("RabbitMQ has not answered to an earlier event of this process yet.")
    if worker_circuit.seconds_until_next:
        raise RabbitMQUnavailable(_NOT_ITS_TURN)
    # One that is merely slow would get the event once more at each attempt, if nobody waited for it ever.
    patience = _PATIENCE if is_first or worker_circuit.is_open else None
    if not _attempts.run(partial(_try, event, settings), patience):
        raise RabbitMQUnavailable(
            f"RabbitMQ has not confirmed it within {_PATIENCE:g} s. It is still waited for, without this task."
        )


def _try(event: Event, settings: Settings) -> None:
    """Publish it, if RabbitMQ is not known to be in trouble; what is learned of it, the whole worker learns."""
    with worker_circuit.attempt() as may_try:
        if not may_try:
            raise RabbitMQUnavailable(_NOT_ITS_TURN)
        try:
            event_dispatcher(settings)(event)
        except RabbitMQUnavailable as exc:
            since_success = monotonic() - worker_circuit.last_success
            if isinstance(exc, NoConnectionLeft) and since_success < 2 * settings.sweep_interval:
                tell(exc)  # others of the worker publish
            else:
                worker_circuit.failed(without_passwords(exc), settings)
            raise
        worker_circuit.succeeded()


def _parsed(
    task: Task, parse: Callable[..., _Given], arguments: tuple[Any, ...], more: dict[str, Any]
) -> _Given | None:
    """What the task was given; None if it is not what the library enqueues."""
    try:
        return parse(*arguments, **more)
    except (TypeError, ValueError) as exc:
        logger.error("A task %s is dropped: %s", task.name, without_passwords(exc))  # noqa: TRY400 - one line
        return None


def _may_be_from_before(event: Event) -> bool:
    """Whether it may have been enqueued while DELIVERY was "direct": before this worker was there, or soon after."""
    return event.time < _STARTED + _ROLLING_DEPLOY
