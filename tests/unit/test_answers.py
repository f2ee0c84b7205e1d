"""What `events status` answers first, by how the outbox stands."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from django_events_sourcing.operating.status import PartitionStatus, Status, WorkerStatus
from django_events_sourcing.operating.verdict import verdict
from django_events_sourcing.outbox.partitioning import PARTITIONS

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)

REFUSED = (
    "RabbitMQ at mq:5672, vhost '/', user 'shop': ConnectionRefusedError: [Errno 111] Connection refused. Nobody "
    "listens there"
)


@pytest.fixture(autouse=True)
def _settings(settings):
    settings.TIME_ZONE = "UTC"
    settings.EVENTS_SOURCING = {"SWEEP_INTERVAL": 10, "LEASE": 30}


def partition(number, **more):
    well = PartitionStatus(
        number=number,
        pending=0,
        is_due=False,
        owner=None,
        holder=None,
        holder_seen_seconds=None,
        leased_seconds=None,
        failures=0,
        failing_seconds=None,
        retry_seconds=None,
        error="",
        lost=0,
        paused_seconds=None,
        paused_by="",
        paused_why="",
    )
    return replace(well, **more)


def outbox(numbers=range(PARTITIONS), each=None, **more):
    """One where all is well but what is said, of the partitions ``numbers`` by ``each``."""
    well = Status(
        now=NOW,
        delivery="outbox",
        pending=0,
        refused=0,
        oldest_pending_seconds=0.0,
        dead=0,
        buried=0,
        published_last_hour=7,
        unrouted_last_hour=0,
        last_published_seconds=0.4,
        oldest_transaction=None,
        workers=[WorkerStatus("celery@web", "web", 12, "1.0", 3.0)],
        partitions=[partition(number, **(each or {} if number in numbers else {})) for number in range(PARTITIONS)],
    )
    return replace(well, **more)


SILENT = {"workers": [WorkerStatus("celery@web", "web", 12, "1.0", 1212.0)], "last_published_seconds": None}


@pytest.mark.parametrize(
    ("one", "answer"),
    [
        (outbox(), ["All is well: last event 0.4 s ago."]),
        (outbox(last_published_seconds=None), ["All is well: no event in the last hour."]),
        (outbox(pending=1), ["All is well: 1 event is on the way; last event 0.4 s ago."]),
        (
            outbox(dead=3, unrouted_last_hour=1),
            [
                "3 events are dead: `manage.py events list --dead` says why, and what to do.",
                (
                    "1 event of the last hour went to no queue: RabbitMQ has none bound for them; the worker's "
                    "log names them."
                ),
                "Otherwise all is well: last event 0.4 s ago.",
            ],
        ),
        (
            outbox(
                each={
                    "failures": 3,
                    "failing_seconds": 1212.0,
                    "retry_seconds": 17.2,
                    "error": REFUSED,
                    "is_due": True,
                },
                pending=20_001,
                oldest_pending_seconds=1212.0,
            ),
            [
                (
                    "RabbitMQ at mq:5672, vhost '/' refuses connections since 11:39:48 UTC; 20,001 events wait; next "
                    "attempt in 17 s; nothing to do but repair it."
                )
            ],
        ),
        (
            outbox([3], {"failures": 1, "failing_seconds": 12.0, "error": "Access refused. Let it"}, pending=1, dead=1),
            [
                (
                    "RabbitMQ is in trouble with partition 3 since 11:59:48 UTC; 1 event waits; the next "
                    "attempt is due; the error says what to do."
                ),
                "1 event is dead: `manage.py events list --dead` says why, and what to do.",
            ],
        ),
        (
            outbox(each={"is_due": True}, pending=2, oldest_pending_seconds=1200.0, **SILENT),
            ["No worker has looked for events since 11:39:48 UTC; 2 events wait; start one: celery -A PROJECT worker."],
        ),
        (
            outbox(workers=[], last_published_seconds=None),
            ["No worker has ever looked for events here; start one: celery -A PROJECT worker."],
        ),
        (
            outbox(
                each={"paused_seconds": 86_400.0, "paused_by": "anna on web", "paused_why": "deploy"},
                pending=5,
                **SILENT,
            ),
            [
                (
                    "PAUSED since 2026-01-30 12:00 UTC by anna on web: deploy; 5 events wait; `manage.py "
                    "events resume` ends it."
                ),
                "No worker has looked for events since 11:39:48 UTC; start one: celery -A PROJECT worker.",
            ],
        ),
        (
            outbox([1, 2], {"paused_seconds": 1.0, "pending": 2}, pending=9),
            [
                (
                    "PAUSED, partitions 1 to 2 (4 events wait there), since 11:59:59 UTC; 9 events wait; `manage.py "
                    "events resume` ends it."
                )
            ],
        ),
        (
            outbox(
                [4],
                {
                    "owner": "x",
                    "holder": "worker celery@web, pid 7 on web",
                    "holder_seen_seconds": 18.0,
                    "leased_seconds": 12.0,
                    "is_due": True,
                },
                pending=1,
            ),
            [
                (
                    "Worker celery@web, pid 7 on web gives no sign of life, and holds partition 4; 1 event "
                    "waits; in 12 s another may take them."
                )
            ],
        ),
        (
            outbox(each={"is_due": True}, pending=20_001, oldest_pending_seconds=95.0),
            ["Events are late, the oldest by 0:01:35; 20,001 events wait; 7 went out in the last hour."],
        ),
        (
            outbox(refused=2, pending=3),
            [
                (
                    "2 events were refused, to be tried again, with those of their objects behind them: "
                    "`manage.py events list --pending` says why."
                ),
                "Otherwise all is well: 3 events are on the way; last event 0.4 s ago.",
            ],
        ),
        (
            outbox(delivery="direct", workers=[], last_published_seconds=None),
            ["The outbox is not used: EVENTS_SOURCING['DELIVERY'] is 'direct'."],
        ),
        (
            outbox(delivery="direct", workers=[], last_published_seconds=None, pending=4),
            [
                "The outbox is not used: EVENTS_SOURCING['DELIVERY'] is 'direct'. 4 events wait in it from before.",
                "No worker has ever looked for events here; 4 events wait; start one: celery -A PROJECT worker.",
            ],
        ),
    ],
)
def test_verdict__however_it_stands__says_what_is_the_matter_first(one, answer):
    """And what to do; what waits is said once."""
    assert verdict(one) == answer


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("RabbitMQ at mq:5672, vhost '/', user 'u': gaierror: [Errno -2] Name", "mq:5672, vhost '/' cannot be found"),
        ("RabbitMQ at mq:5672, vhost '/', user 'u': TimeoutError: no answer to the", "vhost '/' does not answer"),
        (
            "RabbitMQ at mq:5672, vhost '/', user 'u', which blocks those who publish (low on memory): TimeoutError",
            "vhost '/' blocks those who publish",
        ),
        ("(403) ACCESS_REFUSED - access to exchange", "RabbitMQ is in trouble with partitions 0 to 15"),
    ],
)
def test_verdict__of_each_trouble_with_rabbitmq__says_it_in_short(error, words):
    """Where it is none of these, the error itself stands further below."""
    one = outbox(each={"failures": 1, "failing_seconds": 1.0, "error": error})
    assert words in verdict(one)[0]


def test_worker_that_hangs_with_rabbitmq__within_an_attempt__is_not_missed():
    """While RabbitMQ hangs a look may take a minute; without trouble, it is missed after three intervals."""
    for failures, is_missed in ((0, True), (1, False)):
        each = {"failures": failures, "failing_seconds": 40.0, "error": REFUSED}
        one = outbox(each=each, workers=[WorkerStatus("w", "h", 1, "1", 60.0)], last_published_seconds=None)
        assert ("No worker" in " ".join(verdict(one))) == is_missed
