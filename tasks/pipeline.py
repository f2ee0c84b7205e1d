"""Publishing a batch of events with pipelined confirms, one event of each object in flight."""

import logging

from django_events_sourcing.conf import Settings
from django_events_sourcing.exceptions import EventRefused
from django_events_sourcing.logs import Numbers
from django_events_sourcing.tasks.batch import Batch
from django_events_sourcing.tasks.errors import is_over_its_name, is_over_one_event, publish_error
from django_events_sourcing.tasks.flight import Flight
from django_events_sourcing.tasks.messages import messages_of
from django_events_sourcing.tasks.rabbitmq import rabbitmq_of
from django_events_sourcing.tasks.spans import PublishSpans

__all__ = ["Pipeline"]

logger = logging.getLogger(__name__)

# Note [Whose fault it was]
# RabbitMQ answers a message that it takes offence at by closing the channel, or even the connection. With several in
# flight nobody knows which one it was: those are sent again one by one, first of all, and the one that is alone when
# the channel closes is the culprit. Of the others some may arrive twice, under the same id.
#
# Topic permissions forbid a name. Where other events of the service get through, that is its events' own fault; else
# the permissions may be wrong altogether, and it is trouble, which costs no event an attempt.
#
# A connection that breaks is no trouble yet: it may have been idle in the pool while RabbitMQ was restarted. Only when
# a second one breaks too, or nothing is confirmed for PUBLISH_TIMEOUT, is the batch given up.


class Pipeline:
    """Publishes batches, on the producers of nameko's pool.

    Args:
        settings: As for ``RabbitMQ`` and ``Messages``, whose errors it raises.
    """

    def __init__(self, settings: Settings) -> None:
        self._rabbitmq = rabbitmq_of(settings)
        self._messages = messages_of(settings)
        self._spans = PublishSpans(settings)

    def publish(self, batch: Batch, one_by_one: int = 0) -> None:
        """Publish what may be published, and have ``batch`` learn what became of each event.

        It returns when nothing is in flight any more; within a minute, if RabbitMQ hangs.

        Args:
            batch: The events.
            one_by_one: How many of the first ones to send each by itself.
        """
        self._publish(batch, one_by_one)
        self._rabbitmq.note_confirmed(batch.through)
        for (service, _), (error, rows) in batch.forbidden.items():
            is_own_fault = self._rabbitmq.takes_others(service)
            for row in rows:
                if is_own_fault:
                    batch.refuse(row, EventRefused(str(error)))
                else:
                    batch.trouble(row, error)

    def _publish(self, batch: Batch, one_by_one: int) -> None:
        has_reconnected = False
        while True:
            flight = Flight(batch, self._messages, self._spans, one_by_one)
            try:
                with self._rabbitmq.producer(confirms=False) as producer:
                    flight.run(producer)
                return
            except self._rabbitmq.errors as exc:
                unknown = flight.unconfirmed()
                error = publish_error(exc, flight.exchange_name)
                sequences = Numbers([row.sequence for row in unknown])
                logger.debug("The flight of %r broke off, events %s unconfirmed. %s", batch, sequences, error)
                one_by_one = 0
                if not (unknown and is_over_one_event(exc)):
                    if has_reconnected or isinstance(exc, TimeoutError):
                        batch.give_up(error)
                        return
                    has_reconnected = True
                    batch.again(unknown)
                elif len(unknown) > 1:
                    one_by_one = len(unknown)
                    batch.again(unknown)
                elif isinstance(error, EventRefused):
                    batch.refuse(unknown[0], error)
                elif is_over_its_name(exc):
                    batch.forbid(unknown[0], error)
                else:
                    batch.trouble(unknown[0], error)
