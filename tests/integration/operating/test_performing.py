"""Operations that one process asks for, and a worker does."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from django.db import transaction

from django_events_sourcing import tasks
from django_events_sourcing.delivery import enqueue
from django_events_sourcing.exceptions import OperationError
from django_events_sourcing.models import LogEntry, Operation
from django_events_sourcing.operating import operations, performing
from django_events_sourcing.operating.inspection import inspect
from django_events_sourcing.operating.performing import Request, ask, latest, perform, perform_forgotten, progress, stop
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.partitioning import partition_of
from django_events_sourcing.outbox.queries import purge_counts

REPLAY = Request("replay", "some events", "anna")
BURY = Request("bury", "some events", "anna", "a mistake")


@pytest.fixture
def sent(monkeypatch):
    """The tasks that were sent to Celery's broker, a list that grows."""
    sent = []
    monkeypatch.setattr(performing, "enqueue", lambda *task: sent.append(task))
    return sent


def sequences(database):
    return list(LogEntry.objects.using(database).order_by("sequence").values_list("sequence", flat=True))


def states(database, events):
    return [inspect(database, event.id).state for event in events]


def test_operation__that_was_asked_for__is_done_by_whoever_is_told(emit, relay, database, sent):
    """Until then it waits; and it is done once."""
    events = [emit(f"thing:{number % 2}") for number in range(5)]
    relay()
    events.append(emit("thing:9"))
    asked = ask(database, REPLAY, sequences(database))
    assert (asked.state, asked.total, asked.looked_at, asked.who) == ("waiting", 6, 0, "anna")
    assert sent == [("django_events_sourcing.operation", database, str(asked.id))]
    assert states(database, events[:5]) == ["published"] * 5
    assert perform(database, asked.id)
    done = progress(database, asked.id)
    assert (done.state, done.looked_at, done.done, done.error) == ("ended", 6, 5, "")
    assert done.ended
    assert done.ended >= done.asked
    assert sorted(relay()) == sorted(event.object for event in events)
    assert perform(database, asked.id)
    assert relay() == []
    assert latest(database, 10) == [done]


def test_bury__of_many__says_who_and_why(emit, poison, relay, database, options, sent, caplog):
    """What is published already is left out."""
    options(MAX_ATTEMPTS=1)
    published, dead = emit("thing:1"), poison("thing:2")
    relay()
    pending = [emit(f"thing:{number}") for number in range(3, 60)]
    asked = ask(database, BURY, sequences(database))
    assert perform(database, asked.id)
    done = progress(database, asked.id)
    assert (done.state, done.total, done.looked_at, done.done) == ("ended", 59, 59, 58)
    assert states(database, [published, dead, *pending]) == ["published"] + ["buried"] * 58
    for event in (dead, pending[-1]):
        state = inspect(database, event.id)
        assert (state.buried_by, state.buried_why) == ("anna", "a mistake")
    assert relay() == []


def test_operation__in_a_transaction_that_is_rolled_back__is_none(emit, database, sent):
    """Nobody is told of it."""
    emit("thing:1")
    with transaction.atomic(using=database):
        ask(database, BURY, sequences(database))
        transaction.set_rollback(True, using=database)
    assert (latest(database, 10), sent) == ([], [])


def test_operation__that_celerys_broker_did_not_take__is_found(emit, relay, database, monkeypatch, caplog):
    """Only after a while: it may be on its way."""

    def refuse(*_task):
        raise ConnectionError("amqp://anna:s3cret@nobody")

    monkeypatch.setattr(performing, "enqueue", refuse)
    emit("thing:1")
    asked = ask(database, BURY, sequences(database))
    assert "a worker finds it within a minute or two" in caplog.text
    assert "s3cret" not in caplog.text
    perform_forgotten(database, lambda: False)
    assert progress(database, asked.id).state == "waiting"
    monkeypatch.setattr(performing, "_FORGOTTEN", 0)
    perform_forgotten(database, lambda: False)
    assert progress(database, asked.id).state == "ended"


def test_operation__whose_worker_was_killed__goes_on_where_it_was(emit, database, sent, monkeypatch):
    """And what that one still does, if it lives on, is not counted twice."""
    for number in range(120):
        emit(f"thing:{number}")
    asked = ask(database, BURY, sequences(database))
    bury = performing._bury

    def stand_still(*args):
        done = bury(*args)
        if progress(database, asked.id).looked_at == 50:
            monkeypatch.setattr(performing, "_FORGOTTEN", -1)
            monkeypatch.setitem(performing._PERFORMERS, "bury", (50, bury))
            perform_forgotten(database, lambda: False)
        return done

    monkeypatch.setitem(performing._PERFORMERS, "bury", (50, stand_still))
    assert perform(database, asked.id)
    done = progress(database, asked.id)
    assert (done.state, done.looked_at) == ("ended", 120)
    assert done.done == 120


def test_operation__that_a_worker_is_at__is_no_other_workers(emit, database, sent, monkeypatch):
    """As long as it gives signs of life."""
    emit("thing:1")
    asked = ask(database, BURY, sequences(database))
    Operation.objects.using(database).update(runner=uuid4(), seen_at=2**60)
    assert perform(database, asked.id)
    monkeypatch.setattr(performing, "_FORGOTTEN", 0)
    perform_forgotten(database, lambda: False)
    assert (progress(database, asked.id).state, progress(database, asked.id).looked_at) == ("running", 0)


def test_operation__when_the_worker_shuts_down__is_left_to_the_next(emit, database, sent):
    """After the portion that it is at."""
    for number in range(60):
        emit(f"thing:{number}")
    asked = ask(database, BURY, sequences(database))
    answers = iter([False, True])
    assert not perform(database, asked.id, answers.__next__)
    left = progress(database, asked.id)
    assert (left.state, left.looked_at) == ("waiting", 50)
    assert perform(database, asked.id)
    assert progress(database, asked.id).done == 60


def test_stop__of_an_operation__leaves_the_rest(emit, database, sent):
    """Of one that has ended, it changes nothing."""
    events = [emit(f"thing:{number}") for number in range(60)]
    asked = ask(database, BURY, sequences(database))

    def stop_now():
        assert stop(database, asked.id, "berta")
        return False

    assert perform(database, asked.id, stop_now)
    stopped = progress(database, asked.id)
    assert (stopped.state, stopped.error, stopped.done) == ("stopped", "stopped by berta", 50)
    assert states(database, events) == ["buried"] * 50 + ["pending"] * 10
    assert perform(database, asked.id)
    assert progress(database, asked.id) == stopped
    assert not stop(database, asked.id, "carla")
    assert progress(database, asked.id).error == "stopped by berta"


def test_operation__that_meets_with_trouble__says_so_and_goes_on_later(
    emit, database, sent, at_work, monkeypatch, caplog
):
    """A relay that hangs holds the partition."""
    emit("thing:1")
    at_work([partition_of("thing:1")])
    monkeypatch.setattr(operations, "_PATIENCE", -60)
    asked = ask(database, BURY, sequences(database))
    assert perform(database, asked.id)
    waiting = progress(database, asked.id)
    assert waiting.state == "running"
    assert "a relay holds it" in waiting.error
    assert "goes on in a minute" in caplog.text
    monkeypatch.setattr(operations, "_PATIENCE", 5)
    monkeypatch.setattr(performing, "_FORGOTTEN", -1)
    Operation.objects.using(database).update(asked_at=0)
    monkeypatch.setattr(queries, "bury", lambda *_args: None)
    monkeypatch.setattr(performing, "reserved", lambda *_args: transaction.atomic(using=database))
    perform_forgotten(database, lambda: False)
    assert "The lease on partition" in progress(database, asked.id).error


def test_two_operators__who_replay_the_same__replay_it_once(emit, relay, database, sent):
    """The second one's was pending already."""
    emit("thing:1")
    relay()
    first, second = (ask(database, REPLAY, sequences(database)) for _ in range(2))
    assert perform(database, second.id)
    assert perform(database, first.id)
    assert [progress(database, each.id).done for each in (first, second)] == [0, 1]
    assert relay() == ["thing:1"]


def test_operations__of_long_ago__are_forgotten(emit, database, sent):
    """Not those that have not ended."""
    emit("thing:1")
    ended, waiting = (ask(database, BURY, sequences(database)) for _ in range(2))
    perform(database, ended.id)
    purge_counts(database)
    assert len(latest(database, 10)) == 2
    Operation.objects.using(database).filter(id=ended.id).update(ended_at=1)
    purge_counts(database)
    assert [each.id for each in latest(database, 10)] == [waiting.id]


def test_commands__keep_who_did_what(emit, poison, relay, database, events, options, caplog):
    """By the name that is given, or the user's."""
    options(MAX_ATTEMPTS=1)
    dead = poison("thing:1")
    emit("thing:2", time=datetime(2020, 1, 1, tzinfo=UTC))
    relay()
    events("pause", "--partition", 3, "--partition", 5, "--why", "deploy", "--by", "anna")
    events("resume", "--now", "--by", "berta")
    events("replay", "--dead", "--by", "carla")
    relay()
    events("bury", "--id", dead.id, "--why", "a mistake", "--by", "doris")
    events("purge", "--no-input", "--by", "edda")
    events("purge", "--buried", "--no-input")
    noted = [(each.kind, each.what, each.who, each.why, each.done) for each in reversed(latest(database, 10))]
    assert noted[:5] == [
        ("pause", "partitions 3, 5", "anna", "deploy", 0),
        ("resume", "all partitions, without its delay after trouble", "berta", "", 0),
        ("replay", "1 event, state dead", "carla", "", 1),
        ("bury", f"event {dead.label}", "doris", "a mistake", 1),
        ("purge", "1 published event", "edda", "", 1),
    ]
    assert noted[5][:2] == ("purge", "1 buried event")
    assert " on " in noted[5][2]
    assert {each.state for each in latest(database, 10)} == {"ended"}


def test_bad_questions__raise_what_is_wrong(database):
    """In a sentence."""
    with pytest.raises(OperationError, match="has no operation"):
        progress(database, uuid4())
    with pytest.raises(ValueError, match="There is no operation 'purge'"):
        ask(database, Request("purge", "all", "anna"), [1])


@pytest.mark.parametrize("arguments", [(), ("nowhere", str(uuid4())), ("default", "x"), ("default", 7), ("default",)])
def test_task__that_is_none_of_ours__is_dropped(arguments, caplog):
    """With a line in the log."""
    tasks.operation.apply(arguments)
    assert "is dropped" in caplog.text


def test_task__whose_time_is_up__sends_the_next(emit, database, sent, settings, make_celery_app, monkeypatch):
    """Which does the rest."""
    for number in range(60):
        emit(f"thing:{number}")
    asked = ask(database, BURY, sequences(database))
    sent.clear()
    monkeypatch.setattr(tasks, "is_stopping", lambda: progress(database, asked.id).looked_at > 0)
    tasks.operation(database, str(asked.id))
    assert progress(database, asked.id).looked_at == 50
    assert sent == [(enqueue.OPERATION_TASK, database, str(asked.id))]
    tasks.operation.apply((database, str(asked.id)))  # eager: all of it
    assert progress(database, asked.id).state == "ended"
