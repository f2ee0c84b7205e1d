"""Wake-ups that nobody takes: they are bounded, and told."""

# Note [A queue that nobody takes from]
# Where no worker takes Celery's queue of wake-ups (`celery worker -Q emails`, and no other), the sweep finds all
# events, and the wake-ups would pile up for ever. Few brokers say who takes from a queue, but most how long it is. The
# project's own tasks may wait in it, too: a long queue that shrinks, or grows by less than was sent there, is taken.

from time import monotonic

from celery import Celery

from django_events_sourcing.delivery.enqueue import RELAY_TASK, queue_length, queue_of

__all__ = ["MOST_UNTAKEN", "WakeUpQueue"]

#: How many tasks may wait in a queue that nobody takes from, before no more wake-ups are sent there.
MOST_UNTAKEN = 500

# How many wake-ups are sent between two looks at the queue: while it is short, and else.
_BETWEEN_LOOKS, _BETWEEN_CLOSE_LOOKS = 20, 1

# Between two looks at a queue that nobody takes from, in seconds.
_LOOK_AGAIN = 1.0


class WakeUpQueue:
    """Celery's queue of wake-ups, as one process sees it.

    Args:
        app: The Celery app.

    Attributes:
        problem: What there is to be told where nobody takes from it; empty if that is not so.
    """

    def __init__(self, app: Celery) -> None:
        self.problem = ""
        self._app = app
        self._length: int | None = None  # at the last look
        self._looked = 0.0
        self._sent = 0  # since the last look

    def __repr__(self) -> str:
        return f"<WakeUpQueue: {self._length} tasks at the last look, {self._sent} sent since. {self.problem}>"

    def takes_one_more(self) -> bool:
        """Whether a wake-up may be sent there, which the caller then does. It looks at the queue every so often.

        Raises:
            Exception: As ``look``.
        """
        if self._is_look_due():
            self.look()
        self._sent += not self.problem
        return not self.problem

    def look(self) -> None:
        """Find out whether anybody takes from it.

        Raises:
            Exception: As ``queue_length``.
        """
        queue = queue_of(RELAY_TASK, self._app)
        length = 0 if queue is None else queue_length(queue, self._app)
        expected = 0 if self._length is None else self._length + self._sent
        self._length, self._sent, self._looked = length, 0, monotonic()
        self.problem = ""
        if length >= max(MOST_UNTAKEN, expected):
            self.problem = (
                f"{length} tasks wait in Celery's queue {queue!r}, and do not seem to get fewer: no more wake-ups for "
                "new events are sent there, and the workers' sweep finds the events. Have a worker take it "
                f"(celery worker -Q {queue}), or more of them; or name in EVENTS_SOURCING['QUEUE'] a queue that one "
                "takes."
            )

    def _is_look_due(self) -> bool:
        if self._length is None:
            return True
        if self.problem:
            return monotonic() - self._looked >= _LOOK_AGAIN
        is_close = self._length >= MOST_UNTAKEN / 2
        return self._sent >= (_BETWEEN_CLOSE_LOOKS if is_close else _BETWEEN_LOOKS)
