"""What a relay whose lease ran out may still write down, on each database."""

from uuid import uuid4

import pytest

from django_events_sourcing.models import Failure, QueueEntry
from django_events_sourcing.operating.operations import ALL
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.partitioning import PARTITIONS
from django_events_sourcing.outbox.queries import Queued, RefusalPolicy

POLICY = RefusalPolicy(max_attempts=2, delay=lambda attempts: 60)
HASH = 48


@pytest.fixture
def owner(database):
    """Who holds the lease on all partitions."""
    queries.ensure_partitions(database)
    queries.take(database, owner := uuid4(), ALL, 60)
    return owner


@pytest.fixture
def queued(database):
    """Have an event be pending; its only failure, if it has one, is of an earlier attempt."""

    def queued(replay_to=None, *, refused=False):
        row = Queued(partition=HASH % PARTITIONS, sequence=7, object_hash=HASH, replay_to=replay_to)
        QueueEntry.objects.using(database).create(
            partition=row.partition, sequence=row.sequence, object_hash=HASH, replay_to=replay_to
        )
        if refused:
            Failure.objects.using(database).create(
                sequence=7,
                partition=row.partition,
                object_hash=HASH,
                attempts=1,
                retry_at=1,
                error="",
                replay_to=replay_to,
            )
        return row

    return queued


def left(using):
    return QueueEntry.objects.using(using).count(), Failure.objects.using(using).count()


@pytest.mark.parametrize("replay_to", [None, "", "one"])
def test_published_event__settled_by_the_holder_of_the_lease__is_gone_with_its_failure(
    database, owner, queued, replay_to
):
    """That it had been refused before is history."""
    queries.settle(database, owner, [queued(replay_to, refused=True)])
    assert left(database) == (0, 0)


def test_published_event__settled_by_an_earlier_holder__is_gone(database, owner, queued):
    """It is not published once more for nothing."""
    queries.settle(database, uuid4(), [queued()])
    assert left(database) == (0, 0)


@pytest.mark.parametrize("replay_to", ["", "one"])
def test_replayed_event__settled_by_an_earlier_holder__stays(database, owner, queued, replay_to):
    """What that one published may have been an earlier replay of the same event: this one must come, too."""
    queries.settle(database, uuid4(), [queued(replay_to, refused=True)])
    assert left(database) == (1, 1)


def test_event_published_for_the_first_time__pending_again_as_a_replay__stays(database, owner, queued):
    """A relay that slept through all of it takes out of the queue what it had read, and nothing else."""
    queued("")
    queries.settle(database, owner, [Queued(partition=HASH % PARTITIONS, sequence=7, object_hash=HASH)])
    assert left(database) == (1, 0)


def test_event__refused_while_it_is_settled__leaves_no_failure(database, owner, queued):
    """The lease ran out meanwhile, and the relay that took over met a refusal."""
    row = queued(refused=True)
    answers = iter([False, True])
    queries.settle(database, uuid4(), [row], lambda: next(answers))
    assert left(database) == (0, 0)


def test_event__published_by_an_earlier_holder_and_refused_now__has_no_attempt_counted(database, owner, queued):
    """It has arrived: a failure of it would stay for ever."""
    row = queued()
    queries.settle(database, uuid4(), [row])
    assert queries.refuse(database, owner, row, "too large", POLICY) is None
    assert left(database) == (0, 0)
