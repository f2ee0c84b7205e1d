"""The relay, in this process: from the queue's rows to RabbitMQ, on each database."""

import json
import logging
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError
from django.db import OperationalError, connections
from kombu import pools
from kombu.entity import Queue
from nameko.standalone.events import get_event_exchange

from django_events_sourcing import Event
from django_events_sourcing.conf import get_settings
from django_events_sourcing.delivery.deliver import deliver
from django_events_sourcing.models import Failure, LogEntry, Partition, PublishedCount, QueueEntry
from django_events_sourcing.operating.inspection import inspect
from django_events_sourcing.operating.status import status
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.leases import Leases
from django_events_sourcing.outbox.partitioning import PARTITIONS, object_hash, partition_of
from django_events_sourcing.tasks import flight, pipeline
from django_events_sourcing.tasks.circuit import Circuit
from django_events_sourcing.tasks.messages import Messages
from django_events_sourcing.tasks.relay import Relay
from tests.integration.conftest import take
from tests.processes import pause
from tests.project.models import Product


@pytest.fixture
def options(settings):
    """Set keys of EVENTS_SOURCING beside the delivery."""

    def options(**keys):
        settings.EVENTS_SOURCING = {"DELIVERY": "outbox", "RETRY_BACKOFF": 60, **keys}

    options()
    return options


@pytest.fixture
def received(queue):
    """Take what has arrived on the queue, as amqp's messages."""
    return partial(take, queue)


@pytest.fixture
def emit(database, settings, options):
    """Hand an event of an object to the outbox; its data is what else is given."""

    def emit(key, name="thing__changed", **data):
        event = Event(name=name, service=settings.SERVICE_NAME, object=key, body=json.dumps(data))
        deliver([event], database)
        return event

    return emit


@pytest.fixture
def relay(database, channel):
    """Relay the database, to the end."""
    return lambda **options: Relay(database, get_settings(), **options).run()


@pytest.fixture
def later(database):
    """Let the time go by until all that waits is due."""

    def later():
        Failure.objects.using(database).filter(retry_at__isnull=False).update(retry_at=0)
        Partition.objects.using(database).filter(retry_at__isnull=False).update(retry_at=0)

    return later


def objects(messages):
    return [message.headers["nameko.event_object"] for message in messages]


def numbers_by_object(messages):
    found: dict[str, list[int]] = {}
    for message in messages:
        found.setdefault(message.headers["nameko.event_object"], []).append(json.loads(message.body)["number"])
    return found


def numbers(messages):
    return [json.loads(message.body)["number"] for message in messages]


def pending(using):
    return QueueEntry.objects.using(using).count()


def test_pending_events__relayed__published_as_logged_and_gone_from_the_queue(database, received, relay, options):
    """What arrives is what was logged; the log keeps it, the queue does not."""
    product = Product.objects.using(database).create(name="é€😀", price="1.20")
    product.save()
    report = relay()
    first, second = received()
    entries = list(LogEntry.objects.using(database).order_by("sequence"))
    assert [json.loads(first.body), json.loads(second.body)] == [json.loads(entry.body) for entry in entries]
    assert first.headers["nameko.event_sequence"] < second.headers["nameko.event_sequence"]
    assert second.headers["nameko.event_sequence"] == entries[1].sequence
    assert first.properties["message_id"] == first.headers["nameko.event_id"] == str(entries[0].event_id)
    assert first.properties["delivery_mode"] == 2
    assert (report.published, report.trouble) == (2, None)
    assert pending(database) == 0
    assert PublishedCount.objects.using(database).get().count == 2
    assert not Partition.objects.using(database).filter(owner__isnull=False).exists()


def test_nothing_pending__relayed__nothing_happens(database, relay, received, options):
    """Not even a connection to RabbitMQ is made."""
    assert relay().published == 0
    assert received() == []


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_events_of_many_objects__in_batches_of_any_size__in_order_for_each(
    emit, relay, received, options, batch_size, database
):
    """Whatever is read at once, the events of an object arrive in the order in which they were written."""
    options(BATCH_SIZE=batch_size)
    for number in range(90):
        emit(f"thing:{number % 9}", number=number)
    relay()
    assert numbers_by_object(received()) == {f"thing:{n}": list(range(n, 90, 9)) for n in range(9)}
    assert pending(database) == 0


def test_event_committed_late__below_ids_already_published__is_published_too(emit, relay, received, database):
    """An id that was drawn first and committed last is not skipped."""
    emit("thing:1", number=1)
    (entry,) = QueueEntry.objects.using(database)
    QueueEntry.objects.using(database).delete()  # as if its transaction were still open
    emit("thing:2", number=2)
    relay()
    QueueEntry.objects.using(database).bulk_create([entry])
    relay()
    assert numbers(received()) == [2, 1]


def test_event_committed_during_a_pass__with_a_later_one_of_its_object__goes_first(
    emit, relay, received, database, monkeypatch, options
):
    """A pass reads no further than to where it began: what is committed behind it is not overtaken."""
    options(BATCH_SIZE=1)
    emit("thing:1", number=1)
    uncommitted = [QueueEntry.objects.using(database).get()]
    QueueEntry.objects.using(database).delete()
    for number in (2, 3):
        emit(same_partition("thing:1"), number=number)
    start = queries.start_pass

    def start_and_commit(*args, **options):
        current = start(*args, **options)
        if current.first and uncommitted:
            QueueEntry.objects.using(database).bulk_create([uncommitted.pop()])
            emit("thing:1", number=4)
        return current

    monkeypatch.setattr(queries, "start_pass", start_and_commit)
    relay()
    assert numbers(received()) == [2, 3, 1, 4]


def same_partition(key):
    """Another object of the same partition."""
    partition = partition_of(key)
    return next(other for n in range(1000) if partition_of(other := f"other:{n}") == partition)


def test_events_gone_from_the_log__others_go_on(emit, relay, received, database, caplog):
    """What somebody deleted by hand is logged, and holds nothing up."""
    emit("thing:1", number=1)
    emit("thing:1", number=2)
    LogEntry.objects.using(database).order_by("sequence")[0].delete()
    relay()
    assert numbers(received()) == [2]
    assert pending(database) == 0
    assert "somebody deleted them" in caplog.text


@pytest.fixture
def small_messages(rabbitmq_proc):
    """RabbitMQ while it takes no message larger than 1,000 bytes: on new channels, so those of the pool are closed."""
    with rabbitmq_proc.taking_at_most(1000):
        pools.reset()
        yield
    pools.reset()


def test_event_refused_by_itself__among_others__holds_back_its_own_object_only(
    emit, relay, received, later, database, small_messages, options, caplog
):
    """The others flow at once; its object's later events wait until it is dead, then go on in order."""
    options(MAX_ATTEMPTS=3)
    for number in range(20):
        emit(f"thing:{number}", number=number)
    poison = emit("thing:5", number=100, text="x" * 2000)
    for number in range(20):
        emit(f"thing:{number}", number=200 + number)
    report = relay()
    others = sorted([*range(20), *(200 + number for number in range(20) if number != 5)])
    assert sorted(set(numbers(received()))) == others
    assert (report.refused, report.dead, pending(database)) == (1, 0, 2)
    for attempt in (2, 3):
        assert relay().refused == 0  # it waits
        later()
        assert relay().refused == 1
        assert Failure.objects.using(database).get().attempts == attempt
    assert numbers(received()) == [205]
    dead = Failure.objects.using(database).get()
    assert dead.dead_at is not None
    assert dead.retry_at is None
    assert LogEntry.objects.using(database).get(sequence=dead.sequence).event_id == poison.id
    assert "message size" in dead.error
    assert pending(database) == 0
    assert any(record.levelno == logging.ERROR and "is dead" in record.message for record in caplog.records)


def test_dead_event__with_dead_blocks_object__holds_back_its_objects_later_ones(
    emit, relay, received, database, small_messages, options
):
    """As its user has asked for; others are not concerned."""
    options(MAX_ATTEMPTS=1, DEAD_BLOCKS_OBJECT=True)
    emit("thing:1", number=1, text="x" * 2000)
    for number in (2, 3):
        emit(f"thing:{number - 1}", number=number)
    relay()
    emit("thing:1", number=4)
    relay()
    assert set(numbers(received())) == {3}
    options(MAX_ATTEMPTS=1)
    relay()
    assert numbers(received()) == [2, 4]


# Two objects of one hash each, the second ones but for the case of their letters.
SAME_HASH = [
    ("thing:plumless", "thing:buckeroo"),
    ("thing:abcdefghijklmnopqrstuvwxyzabcdefg", "thing:AbcdefGhiJKlmnopQrstUVWxYZaBCdEFG"),
]


@pytest.mark.parametrize(
    ("dead_blocks", "why", "earlier"),
    [(False, "was refused 1 time", "2 earlier events"), (True, "is dead", "1 earlier event")],
    ids=["refused", "dead"],
)
@pytest.mark.parametrize(("chosen", "other"), SAME_HASH, ids=["letters", "case"])
def test_objects_of_one_hash__one_waits__the_other_does_not(
    emit, relay, received, database, small_messages, options, chosen, other, dead_blocks, why, earlier
):
    """Whoever chooses keys can have nobody's events wait for his own, neither in a pass nor from one to the next."""
    options(MAX_ATTEMPTS=1 if dead_blocks else 3, DEAD_BLOCKS_OBJECT=dead_blocks)
    assert object_hash(chosen) == object_hash(other)
    emit(chosen, number=1, text="x" * 2000)
    emit(other, number=2)
    emit(chosen, number=3)
    relay()
    assert numbers(received()) == [2]
    waits = emit(chosen, number=4)
    due = emit(other, number=5)
    number = partition_of(other)
    seen = status(database)
    assert seen.oldest_pending_seconds > 0
    assert [(state.number, state.is_due) for state in seen.partitions if state.pending] == [(number, True)]
    assert queries.count_parts(database, 10, dead_blocks=dead_blocks)[number] == (3 if dead_blocks else 4, 1)
    assert inspect(database, due.id).waits_for == ["it is due: the next wake-up or sweep takes it"]
    first, second = inspect(database, waits.id).waits_for
    assert f"of its object {why}" in first
    assert f"{earlier} of its object" in second
    relay()
    assert numbers(received()) == [5]
    assert not status(database).oldest_pending_seconds


def test_failure__of_unknown_object__stands_for_all_of_its_hash(emit, relay, received, database, options):
    """As those that an older version writes down, while it runs beside this one: order comes first."""
    (chosen, other), _ = SAME_HASH
    first, second = emit(chosen, number=1), emit(other, number=2)
    row = QueueEntry.objects.using(database).earliest("sequence")
    refused = {"partition": row.partition, "object_hash": row.object_hash, "attempts": 1, "error": "no"}
    failure = Failure.objects.using(database).create(sequence=row.sequence, retry_at=2**62, **refused)
    assert relay().published == 0
    assert not status(database).oldest_pending_seconds
    for event in (first, second):
        assert "was refused 1 time" in inspect(database, event.id).waits_for[0]
    failure.delete()
    relay()
    assert sorted(numbers(received())) == [1, 2]


def test_many_refused_objects__with_many_events_each__starve_nobody(
    emit, relay, received, later, database, options, queue, settings
):
    """However many events wait for their turn, fresh ones of other objects are read at once."""
    options(MANDATORY=True, BATCH_SIZE=16)
    exchange = get_event_exchange(settings.SERVICE_NAME, {})
    queue.unbind_from(exchange, "#")
    queue.bind_to(exchange, "thing__fresh")
    for number in range(60):
        emit(f"thing:{number % 20}", number=number)
    assert relay().refused == 20
    emit(same_partition("thing:1"), name="thing__fresh", number=1000)
    assert relay().refused == 0
    assert numbers(received()) == [1000]
    assert "no queue is bound" in Failure.objects.using(database)[0].error
    queue.bind_to(exchange, "#")
    later()
    relay()
    assert numbers_by_object(received()) == {f"thing:{n}": [n, n + 20, n + 40] for n in range(20)}
    assert not Failure.objects.using(database).exists()


def test_full_queue_that_rejects__costs_no_attempt_and_backs_off(
    emit, relay, received, later, database, channel, settings, options, caplog
):
    """A nack is no event's own fault: its partition waits, longer each time, and nothing dies of it."""
    options(MAX_ATTEMPTS=1, RETRY_BACKOFF=60, RETRY_BACKOFF_MAX=10_000)
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    exchange = get_event_exchange(settings.SERVICE_NAME, {})
    full = Queue(str(uuid4()), exchange, "#", exclusive=True, queue_arguments=arguments)(channel)
    full.declare()
    for number in (1, 2, 3):
        emit("thing:1", number=number)
    relay()
    waits = []
    for failures in (1, 2, 3):
        partition = Partition.objects.using(database).get(retry_at__isnull=False)
        assert (partition.failures, pending(database)) == (failures, 2)
        assert "nack" in partition.error
        waits.append(partition.retry_at or 0)
        assert relay().trouble is None  # it waits
        later()
        assert relay().trouble is not None
    assert waits == sorted(waits)
    assert not Failure.objects.using(database).exists()
    full.unbind_from(exchange, "#")
    later()
    relay()
    assert pending(database) == 0
    assert sorted(set(numbers(received()))) == [1, 2, 3]
    partition = Partition.objects.using(database).get(number=partition.number)
    assert (partition.failures, partition.retry_at, partition.error) == (0, None, "")


@contextmanager
def slow(using, statement, seconds):
    """Within it the database takes its time for statements that hold a text."""

    def wait(execute, sql, params, many, context):
        if statement in sql:
            time.sleep(seconds)
        return execute(sql, params, many, context)

    with connections[using].execute_wrapper(wait):
        yield


@pytest.mark.parametrize("named", [True, False])
def test_first_statement__longer_than_a_turn__what_it_read_is_published(
    emit, relay, received, database, monkeypatch, named
):
    """However long a database takes to answer, each turn gets something done."""
    monkeypatch.setattr(sys.modules[Relay.__module__], "TURN", 0.05)
    for number in range(20):
        emit(f"thing:{number}", number=number)
    relay_one = Relay(database, get_settings())
    with slow(database, "UNION" if not named else "SELECT", 0.1):
        report = relay_one.run([partition_of("thing:1")] if named else ())
    assert report.published == 20
    assert not report.got_nothing_done
    assert pending(database) == 0
    assert len(numbers(received())) == 20


def test_reading__longer_than_a_lease__published_under_a_new_one(emit, relay, received, database, options):
    """It is renewed before the first event goes out."""
    options(LEASE=1)
    emit("thing:1", number=1)
    with slow(database, "django_events_sourcing_log", 1.3):
        assert relay().published == 1
    assert numbers(received()) == [1]


def test_turn__in_which_the_leases_are_lost__says_why_nothing_was_done(channel, emit, database, monkeypatch, caplog):
    """Here to another relay, which is at work for as long as this one waits for the database."""
    monkeypatch.setattr(sys.modules[Relay.__module__], "TURN", 0.05)
    emit("thing:1", number=1)

    def taken_over(*arguments, **options):
        Partition.objects.using(database).update(owner=uuid4(), leased_until=2**62)
        time.sleep(0.1)
        return start_pass(*arguments, **options)

    start_pass = queries.start_pass
    monkeypatch.setattr(queries, "start_pass", taken_over)
    monkeypatch.setattr(Leases, "keep", Leases.renew)
    report = Relay(database, get_settings()).run()
    assert report.published == 0
    assert "set a longer EVENTS_SOURCING['LEASE']" in report.got_nothing_done
    assert report.got_nothing_done in caplog.text
    assert pending(database) == 1


@pytest.mark.parametrize("column, value", [("headers", "{broken"), ("headers", "[1]"), ("time", 2**62)])
def test_row_of_the_log__that_holds_no_event__dead_while_others_go_on(
    emit, relay, received, database, column, value, events
):
    """Somebody changed it by hand; it is kept, shown, and logged."""
    broken = emit("thing:1", number=1)
    emit("thing:1", number=2)
    emit(same_partition("thing:1"), number=3)
    LogEntry.objects.using(database).filter(event_id=broken.id).update(**{column: value})
    assert json.loads(events("status", "--json"))["pending"] == 3
    report = relay()
    assert (report.dead, report.trouble) == (1, None)
    assert relay().refused == 0
    assert sorted(numbers(received())) == [2, 3]
    dead = Failure.objects.using(database).get()
    assert dead.dead_at is not None
    assert "cannot be read as an event" in dead.error
    with pytest.raises(CommandError, match="cannot be read as an event"):
        events("show", broken.id)


def test_rabbitmq_away__relayed__costs_no_attempt_and_logs_no_password(
    emit, relay, database, free_port, settings, options, caplog
):
    """Nothing listens there: every partition waits, and all events stay."""
    options(MAX_ATTEMPTS=1)
    settings.AMQP_URI = f"amqp://guest:secret@127.0.0.1:{free_port}/"
    for number in range(20):
        emit(f"thing:{number}", number=number)
    report = relay()
    assert "refused" in str(report.trouble)
    assert (report.published, report.refused, pending(database)) == (0, 0, 20)
    assert not Failure.objects.using(database).exists()
    assert Partition.objects.using(database).filter(retry_at__isnull=False).count() > 5
    assert "secret" not in caplog.text


def test_rabbitmq__back_again__the_log_says_how_long_it_was_away_and_how_many_waited(
    emit, database, channel, queue, free_port, settings, caplog
):
    """The worker's circuit is told by whichever relay gets something through."""
    circuit, here = Circuit(), settings.AMQP_URI
    for number in range(3):
        emit(f"thing:{number}", number=number)
    settings.AMQP_URI = f"amqp://guest:guest@127.0.0.1:{free_port}/"
    assert Relay(database, get_settings(), circuit=circuit).run().is_unavailable
    assert f"RabbitMQ is in trouble; 3 events wait in database {database!r}" in caplog.text
    settings.AMQP_URI = here
    Partition.objects.using(database).update(retry_at=None)
    assert Relay(database, get_settings(), circuit=circuit).run().published == 3
    assert re.search(rf"well again, after .* s and 1 attempt; 3 events wait in database {database!r}", caplog.text)


def test_idle_connection__closed_by_a_restart__is_no_trouble(emit, relay, received, database, rabbitmq_proc):
    """The first event after RabbitMQ was restarted finds a dead connection in the pool, and waits for nothing."""
    emit("thing:1", number=1)
    relay()
    rabbitmq_proc.rabbitctl_output("close_all_connections", "tests")
    emit("thing:1", number=2)
    assert relay().trouble is None
    assert pending(database) == 0


def test_exchange_with_other_arguments__backs_off_and_says_what_to_do(
    emit, relay, received, later, database, settings, channel, options
):
    """The exchange is nobody's event: none is counted, and the error names the ways out; other services go on."""
    options(MAX_ATTEMPTS=1)
    broken = f"broken-{uuid4()}"
    channel.exchange_declare(f"{broken}.events", "topic", durable=True, auto_delete=True)
    emit("thing:1", number=1)
    deliver([Event(name="n", service=broken, object=same_partition("thing:1"), body="{}")], database)
    emit("thing:1", number=2)
    report = relay()
    assert "AUTO_DELETE_EVENT_EXCHANGES" in str(report.trouble)
    assert numbers(received())[:1] == [1]
    assert not Failure.objects.using(database).exists()
    channel.exchange_delete(f"{broken}.events")
    later()
    relay()
    assert pending(database) == 0


@pytest.fixture
def taken(database):
    """Take a partition's lease for another relay, for so many seconds."""
    queries.look(database, dead_blocks=False)

    def taken(key, seconds=60.0):
        owner = uuid4()
        assert queries.take(database, owner, {partition_of(key)}, seconds)
        return owner

    return taken


def test_partition_leased_by_another__is_left_out(emit, relay, received, database, taken):
    """One relay at a time for a partition; when it gives the lease back, the next goes on."""
    emit("thing:1", number=1)
    owner = taken("thing:1")
    assert relay().published == 0
    queries.release(database, owner, range(PARTITIONS))
    assert relay().published == 1


def test_lease_that_ran_out__is_taken_over(emit, relay, taken):
    """The relay of a killed worker holds nothing back for longer than its lease."""
    emit("thing:1", number=1)
    taken("thing:1", seconds=-1)
    assert relay().published == 1


def test_lease_lost_while_publishing__stops_settles_its_own_and_counts_no_attempt(
    emit, relay, received, database, options, small_messages, monkeypatch, caplog
):
    """What was confirmed is settled; a refusal is for the new holder to count; the miss is counted and logged."""
    options(MAX_ATTEMPTS=1)
    emit("thing:1", number=1)
    emit("thing:1", number=2, text="x" * 2000)
    emit("thing:1", number=3)
    publish = pipeline.Pipeline.publish

    def publish_and_lose(self, batch, **options):
        publish(self, batch, **options)
        Partition.objects.using(database).update(owner=uuid4())

    monkeypatch.setattr(pipeline.Pipeline, "publish", publish_and_lose)
    report = relay()
    assert (report.published, report.refused, pending(database)) == (1, 0, 2)
    assert not Failure.objects.using(database).exists()
    assert numbers(received()) == [1]
    assert sum(Partition.objects.using(database).values_list("lost", flat=True)) == 1
    assert "another relay has taken over" in caplog.text


def test_lease__that_gets_old_while_confirms_are_awaited__is_renewed(emit, relay, database, options, monkeypatch):
    """A relay at work keeps its leases, however long the broker takes."""
    options(LEASE=1)
    for number in range(4):
        emit("thing:1", number=number)
    answered = flight.Flight._answered

    def slowly(self, tag, multiple):
        pause(0.5)
        return answered(self, tag, multiple)

    monkeypatch.setattr(flight.Flight, "_answered", slowly)
    assert relay().published == 4
    assert sum(Partition.objects.using(database).values_list("lost", flat=True)) == 0


def test_stop__in_the_middle_of_a_batch__settles_what_is_in_flight_and_frees_the_rest(emit, relay, received, database):
    """What was sent is settled, the rest is pending and nobody's."""
    for number in range(50):
        emit("thing:1", number=number)
    published: list[int] = []
    asked = iter(range(10_000))
    relay(stopping=lambda: next(asked) > 20, on_published=published.append)
    assert 0 < sum(published) < 50
    assert pending(database) == 50 - sum(published)
    assert not Partition.objects.using(database).filter(owner__isnull=False).exists()
    relay()
    assert numbers(received()) == list(range(50))


def test_relays__several_at_once__no_event_twice_and_in_order(emit, database, received, settings, options):
    """They share the partitions, and each event is published by one of them."""
    if connections[database].vendor == "sqlite":
        pytest.skip("one writer at a time")
    options(BATCH_SIZE=10)
    for number in range(600):
        emit(f"thing:{number % 60}", number=number)

    def work(_number):
        try:
            Relay(database, get_settings()).run()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert numbers_by_object(received()) == {f"thing:{n}": list(range(n, 600, 60)) for n in range(60)}
    assert pending(database) == 0


def test_partitions__table_emptied_by_hand__fills_again(emit, relay, database):
    """The rows hold nothing that could not be made anew."""
    Partition.objects.using(database).all().delete()
    emit("thing:1", number=1)
    assert relay().published == 1
    assert Partition.objects.using(database).filter(number__lt=PARTITIONS).count() == PARTITIONS


def test_max_rate__set__bounds_a_drain(emit, relay, received, database, options):
    """All goes out, in order, but no faster than that; several relays of a worker share it."""
    for number in range(60):
        emit(f"thing:{number % 20}", number=number)
    options(MAX_RATE=50)
    begun = monotonic()

    def work():
        try:
            return relay().published
        finally:
            connections[database].close()

    with ThreadPoolExecutor(2) as pool:
        assert sum(future.result() for future in [pool.submit(work) for _ in range(2)]) == 60
    assert monotonic() - begun >= 60 / 50 * 0.6  # the first and the last portion wait for nothing
    assert numbers_by_object(received()) == {f"thing:{n}": list(range(n, 60, 20)) for n in range(20)}


def test_max_rate__far_below_what_is_pending__stops_when_asked(emit, relay, received, database, options):
    """However long the wait would be."""
    for number in range(20):
        emit(f"thing:{number}", number=number)
    options(MAX_RATE=0.1)
    ends = monotonic() + 0.5
    report = relay(stopping=lambda: monotonic() >= ends)
    assert report.is_stopped
    assert monotonic() < ends + 5
    assert pending(database) == 20 - report.published
    assert not Partition.objects.using(database).filter(owner__isnull=False).exists()


def test_settling__fails_once__events_come_again_under_the_same_ids(emit, relay, received, database, monkeypatch):
    """The database's trouble after the confirms: nothing is lost, and each object's first arrivals are in order."""
    for number in range(30):
        emit(f"thing:{number % 3}", number=number)
    settle = queries.settle

    def fail(*args, **kwargs):
        monkeypatch.setattr(queries, "settle", settle)
        raise OperationalError("gone")

    monkeypatch.setattr(queries, "settle", fail)
    with pytest.raises(OperationalError, match="gone"):
        relay()
    assert not Partition.objects.using(database).filter(owner__isnull=False).exists()
    once = received()
    assert pending(database) == 30
    relay()
    twice = received()
    assert pending(database) == 0
    assert {message.properties["message_id"] for message in once} <= {m.properties["message_id"] for m in twice}
    assert numbers_by_object(twice) == {f"thing:{n}": list(range(n, 30, 3)) for n in range(3)}


def test_own_code__raises_in_the_middle_of_a_batch__what_was_confirmed_is_settled(
    emit, relay, received, database, monkeypatch
):
    """The rest goes out the next time; an event that was on its way comes twice, under its id."""
    events = [emit(f"thing:{number % 3}", number=number) for number in range(30)]
    arguments = Messages.arguments

    def fail(self, event, *more):
        if event.id == events[20].id:
            raise RuntimeError("a bug")
        return arguments(self, event, *more)

    with monkeypatch.context() as patch:
        patch.setattr(Messages, "arguments", fail)
        with pytest.raises(RuntimeError, match="a bug"):
            relay()
    assert not Partition.objects.using(database).filter(owner__isnull=False).exists()
    once = received()
    assert 30 - len(once) <= pending(database) < 30
    relay()
    assert pending(database) == 0
    firsts: dict[str, Any] = {}
    for message in [*once, *received()]:
        firsts.setdefault(message.properties["message_id"], message)
    assert numbers_by_object(firsts.values()) == {f"thing:{n}": list(range(n, 30, 3)) for n in range(3)}


def test_log__at_debug__shows_each_step_with_owner_and_ids(emit, relay, database, caplog):
    """So that what went on at night can be read in the morning."""
    caplog.set_level(logging.DEBUG, "django_events_sourcing")
    for number in range(3):
        emit("thing:1", number=number)
    first, *_, last = QueueEntry.objects.using(database).values_list("sequence", flat=True).order_by("sequence")
    relay()
    texts = [record.getMessage() for record in caplog.records if record.levelno == logging.DEBUG]
    (owner,) = {found[0] for text in texts if (found := re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4,12}){4}", text))}
    expected = [
        f"Leased, of partitions {partition_of('thing:1')}: <Leases of {owner} on partitions ",
        f"Relay {owner} begins a pass: <Reading of {database!r} up to {last}: ",
        f"Relay {owner} has read events {first} to {last}: ",
        f"Relay {owner} has settled events {first} to {last} of database {database!r}.",
        f"Gave back: <Leases of {owner} on partitions ",
        f"Relay {owner} of database {database!r} ends: Report(published=3, ",
    ]
    rest = iter(texts)
    assert [each for each in expected if not any(text.startswith(each) for text in rest)] == []
