"""What operators do: each command and the function behind it, on each database."""

import json
import logging
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from django_events_sourcing.delivery import waker
from django_events_sourcing.exceptions import OperationError
from django_events_sourcing.models import Failure, LogEntry, Partition, QueueEntry
from django_events_sourcing.operating.inspection import inspect
from django_events_sourcing.operating.operations import ALL, bury, pause, resume
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.partitioning import PARTITIONS, partition_of

MAX_SIZE = 5000


def status(events):
    return json.loads(events("status", "--json"))


def test_pause__of_all__nothing_goes_out_until_resumed(emit, relay, events, database):
    """What is written meanwhile waits, and status says so."""
    emit("thing:1")
    assert "all partitions are paused" in events("pause")
    emit("thing:2")
    assert relay() == []
    found = status(events)
    assert found["pending"] == 2
    assert all(partition["paused_seconds"] >= 0 for partition in found["partitions"])
    assert "paused for" in events("status")
    with pytest.raises(CommandError, match="2 events left, in partitions that are paused: `manage.py events resume`"):
        events("relay")
    assert "resumed" in events("resume")
    assert relay() == ["thing:1", "thing:2"]
    assert all(partition["paused_seconds"] is None for partition in status(events)["partitions"])


@pytest.mark.parametrize("option", ["--why", "--by"])
def test_what_is_said__of_any_length__has_a_bound(events, option):
    """It is shown in one line."""
    with pytest.raises(CommandError, match="it has 1,001 characters, more than 1,000"):
        events("pause", option, "x" * 1001)


def test_pause__of_one_partition__others_go_on(emit, relay, events):
    """And it stays paused, however often it is said."""
    one, other = "thing:1", "thing:2"
    assert partition_of(one) != partition_of(other)
    emit(one)
    emit(other)
    for _ in range(2):
        assert f"partition {partition_of(one)} is paused" in events("pause", "--partition", partition_of(one))
    assert relay() == [other]
    events("resume", "--partition", partition_of(one))
    assert relay() == [one]


@pytest.fixture
def back_off(emit, database):
    """Emit an event, and have its partition back off."""

    def back_off(key):
        emit(key)
        queries.ensure_partitions(database)
        Partition.objects.using(database).filter(number=partition_of(key)).update(failures=1, retry_at=10**17)

    return back_off


def test_relay__with_now__also_what_waits_after_trouble(back_off, events, relay):
    """After a repair, nobody waits for a delay."""
    back_off("thing:1")
    with pytest.raises(CommandError, match="1 event left, in partitions that wait after trouble: --now does not wait"):
        events("relay")
    assert "1 published" in events("relay", "--now")


def test_resume__with_now__ends_the_delay_of_those_partitions(back_off, events, relay):
    """For the workers; the others' stays."""
    one, other = "thing:1", "thing:2"
    assert partition_of(one) != partition_of(other)
    back_off(one)
    back_off(other)
    events("resume")
    assert relay() == []
    events("resume", "--now", "--partition", partition_of(one))
    assert relay() == [one, other]  # which recovers with it
    back_off(one)
    back_off(other)
    events("resume", "--now")
    assert sorted(relay()) == [one, other]


def test_pause__while_a_relay_is_at_work__returns_when_its_turn_is_over(at_work, database, options):
    """Then nothing is on its way any more."""
    at_work({3}, ends_after=0.4)
    assert pause(database)
    assert queries.leased(database, ALL) == set()
    assert queries.take(database, uuid4(), {3}, 60) == set()


def test_pause__interrupted_while_a_relay_is_at_work__stays_and_says_so(at_work, database, options):
    """Whoever pressed Ctrl-C knows that something may still be on its way."""
    at_work({3})
    assert not pause(database, stopping=lambda: True)
    assert Partition.objects.using(database).filter(paused_at__isnull=False).count() == PARTITIONS


def test_partition__that_there_is_none_of__nothing_is_paused(events, database):
    """One line, which names those that there are."""
    for subcommand in ("pause", "resume"):
        with pytest.raises(CommandError, match=r"There is no partition 16: they are numbered 0 to 15\."):
            events(subcommand, "--partition", "3", "--partition", "16")
    assert not Partition.objects.using(database).filter(paused_at__isnull=False).exists()


def test_bury__of_a_pending_event__is_not_published_and_its_later_ones_are(emit, relay, events, database):
    """It is kept, as buried, with the reason."""
    event = emit("thing:1")
    emit("thing:1")
    assert "is buried" in events("bury", "--id", event.id, "--why", "the consumer chokes on it", "--by", "anna")
    assert relay() == ["thing:1"]
    found = status(events)
    assert (found["pending"], found["dead"], found["buried"]) == (0, 0, 1)
    state = inspect(database, event.id)
    assert (state.state, state.error, state.attempts) == ("buried", "", 0)
    assert (state.buried_why, state.buried_by) == ("the consumer chokes on it", "anna")
    shown = events("show", event.id)
    assert "anna" in shown
    assert "the consumer chokes on it" in shown
    assert state.dead_since is not None


def test_bury__of_a_refused_event__lets_its_object_go_on_at_once(emit, poison, relay, database, caplog):
    """Though its next attempt be a minute away."""
    event = poison("thing:1")
    emit("thing:1")
    assert relay() == []
    bury(database, event.id, "why not")
    assert relay() == ["thing:1"]
    state = inspect(database, event.id)
    assert (state.state, state.attempts) == ("buried", 1)


def test_bury__of_a_dead_event__ends_the_wait_of_its_object(emit, poison, relay, database, options, caplog):
    """With DEAD_BLOCKS_OBJECT that is the operator's way out, beside a replay."""
    options(MAX_ATTEMPTS=1, DEAD_BLOCKS_OBJECT=True)
    event = poison("thing:1")
    later = emit("thing:1")
    assert relay() == []
    died = inspect(database, event.id).dead_since
    assert "DEAD_BLOCKS_OBJECT is set" in " ".join(inspect(database, later.id).waits_for)
    bury(database, event.id, "why not")
    assert inspect(database, event.id).dead_since == died
    assert relay() == ["thing:1"]


def test_bury__while_a_relay_is_at_work__waits_for_the_end_of_its_turn(emit, at_work, database, relay):
    """So that what is on its way is not buried."""
    event = emit("thing:1")
    at_work({partition_of("thing:1")}, ends_after=0.4)
    bury(database, event.id, "why not")
    assert relay() == []
    emit("thing:1")
    assert relay() == ["thing:1"]  # nobody is kept from the partition afterwards


def test_bury__of_what_a_relay_holds_on_to__nothing_is_done(emit, at_work, database, options, monkeypatch, relay):
    """The error says so; the partition is its relay's still, and nobody is kept from it when that one has ended."""
    options(LEASE=1)
    monkeypatch.setattr("django_events_sourcing.operating.operations._PATIENCE", -0.7)
    event = emit("thing:1")
    at_work({partition_of("thing:1")})
    with pytest.raises(OperationError, match="a relay holds it"):
        bury(database, event.id, "why not")
    assert inspect(database, event.id).state == "pending"
    assert queries.leased(database, ALL) == {partition_of("thing:1")}
    Partition.objects.using(database).update(owner=None)
    assert relay() == ["thing:1"]


def test_bury__in_a_partition_that_is_paused_or_backs_off__is_done(emit, database, relay):
    """It stays paused; of its trouble nothing is left."""
    event = emit("thing:1")
    number = partition_of("thing:1")
    queries.ensure_partitions(database)
    pause(database, {number})
    Partition.objects.using(database).filter(number=number).update(retry_at=10**17, failures=3)
    bury(database, event.id, "why not")
    partition = Partition.objects.using(database).get(number=number)
    assert (partition.retry_at, partition.failures, partition.error, partition.owner) == (None, 0, "", None)
    assert partition.paused_at is not None


def test_bury__of_a_published_or_unknown_event__one_line(emit, relay, events, database):
    """Nothing is done."""
    event = emit("thing:1")
    relay()
    with pytest.raises(CommandError, match="has been published: there is nothing to bury"):
        events("bury", "--id", event.id, "--why", "x")
    with pytest.raises(CommandError, match=f"The log of database '{database}' has no event"):
        events("bury", "--id", uuid4(), "--why", "x")
    assert not Failure.objects.using(database).exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["bury", "--id", "7", "--why", "x"],
        ["bury", "--id", str(uuid4())],
        ["bury", "--id", str(uuid4()), "--why", " "],
        ["show", "nothing"],
        ["purge", "--older-than", "soon"],
        ["purge", "--older-than", "-1"],
        ["pause", "--partition", "three"],
    ],
)
def test_arguments__wrong__one_line(arguments):
    """It names the argument."""
    with pytest.raises(CommandError, match="^Error: .*argument") as caught:
        call_command("events", *arguments)
    assert "\n" not in str(caught.value)


def test_bury__while_the_database_is_in_trouble__one_line(emit, events, database, monkeypatch):
    """Also when the trouble comes after the event was found."""

    def fail(*_args):
        raise OperationalError("no\nway")

    event = emit("thing:1")
    monkeypatch.setattr(queries, "bury", fail)
    with pytest.raises(CommandError, match=f"Database '{database}' cannot be asked: no way"):
        events("bury", "--id", event.id, "--why", "x")


def test_show__of_each_state__says_it_and_what_it_waits_for(emit, poison, relay, events, database, options, caplog):
    """From pending to published, and what stands in the way."""
    refused, behind = poison("thing:1"), emit("thing:1", body='{"name": "[bold]é"}')
    shown = events("show", behind.id)
    for part in ("pending", "1 earlier event of its object", "thing__changed", "thing:1", '{"name": "[bold]é"}'):
        assert part in shown
    assert inspect(database, refused.id).waits_for == ["it is due: the next wake-up or sweep takes it"]
    assert relay() == []
    assert inspect(database, refused.id).state == "refused"
    assert "it was refused 1 time; next attempt in" in inspect(database, refused.id).waits_for[0]
    assert f"event {refused.id} of its object was refused" in inspect(database, behind.id).waits_for[0]
    number = partition_of("thing:1")
    pause(database, {number})
    queries.back_off(database, uuid4(), number, 60, "no way")
    Partition.objects.using(database).filter(number=number).update(retry_at=10**17, error="no way")
    reasons = " ".join(inspect(database, behind.id).waits_for)
    assert f"partition {number} is paused" in reasons
    assert "after trouble: no way" in reasons
    resume(database, {number})
    Partition.objects.using(database).update(retry_at=None)
    Failure.objects.using(database).update(retry_at=0)
    options(MAX_ATTEMPTS=2)
    assert relay() == ["thing:1"]
    dead, published = inspect(database, refused.id), inspect(database, behind.id)
    assert (dead.state, dead.attempts, dead.waits_for) == ("dead", 2, [])
    assert dead.error
    assert (published.state, published.waits_for) == ("published", [])


def test_show__of_an_unknown_event__one_line(events):
    """It names the database."""
    with pytest.raises(CommandError, match="has no event"):
        events("show", uuid4())


def test_purge__on_demand__though_a_worker_just_did(emit, relay, events, database, at_work):
    """What is old and published goes; with --older-than, also what RETENTION would keep."""
    emit("thing:1")
    assert relay() == ["thing:1"]
    emit("thing:2")
    Partition.objects.using(database).filter(number=queries.PURGE).update(retry_at=10**17)
    assert "0 events deleted" in events("purge")
    assert "1 published event would be deleted" in events("purge", "--older-than", "0", "--dry-run")
    assert LogEntry.objects.using(database).count() == 2
    assert "1 event deleted" in events("purge", "--older-than", "0", "--no-input")
    assert LogEntry.objects.using(database).get().object == "thing:2"
    assert QueueEntry.objects.using(database).count() == 1
    Partition.objects.using(database).update(retry_at=None)
    at_work({queries.PURGE})
    with pytest.raises(CommandError, match="is being purged already"):
        events("purge")


def test_log_of_an_operation__is_quiet(emit, database, caplog):
    """Nothing that an operator does is an error of a relay's."""
    caplog.set_level(logging.WARNING)
    resume(database)
    waker._flush()  # of a process' first connection in memory kombu says that it has no host
    caplog.clear()
    pause(database)
    bury(database, emit("thing:1").id, "x")
    resume(database)
    waker._flush()
    assert caplog.records == []
