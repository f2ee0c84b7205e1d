"""Replays, on each database."""

import io
import json
from datetime import UTC, datetime, timedelta
from time import monotonic
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from kombu.entity import Queue

from django_events_sourcing.models import Failure, LogEntry, Partition, QueueEntry
from django_events_sourcing.operating.inspection import inspect
from django_events_sourcing.operating.operations import bury
from django_events_sourcing.operating.replay import Selection, preview, replay
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.clock import to_microseconds
from django_events_sourcing.outbox.partitioning import partition_of
from tests.integration.conftest import take
from tests.integration.operating.test_operations import status

ALL = Selection(since=datetime(2000, 1, 1, tzinfo=UTC))


@pytest.fixture
def published(emit, relay):
    """Have events of objects that were published."""

    def published(*keys):
        made = [emit(key) for key in keys]
        assert relay() == list(keys)
        return made

    return published


@pytest.fixture
def other_queue(channel):
    """One consumer's queue, which nothing is bound to."""
    queue = Queue(str(uuid4()), exclusive=True)(channel)
    queue.declare()
    return queue


def test_replay__of_published_events__arrive_again_under_the_same_id_and_marked(
    published, events, relay, queue, database
):
    """In the order of their object; and settled as any other."""
    first, second = published("project.thing:1", "project.thing:1")
    assert "2 events back in the queue, to be published once more" in events("replay", "--object", "project.Thing:1")
    assert QueueEntry.objects.using(database).count() == 2
    assert "pending" in events("show", first.id)
    events("relay")
    messages = take(queue)
    assert [message.properties["message_id"] for message in messages] == [str(first.id), str(second.id)]
    assert [message.headers["nameko.event_replayed"] for message in messages] == [True, True]
    assert "event_replayed" not in json.dumps([dict(event.headers) for event in (first, second)])
    assert not QueueEntry.objects.using(database).exists()


def test_first_publication__of_any_event__is_not_marked(emit, events, queue):
    """The header says what is a replay, by being there."""
    emit("thing:1")
    events("relay")
    (message,) = take(queue)
    assert "nameko.event_replayed" not in message.headers


def test_replay__of_dead_events__tried_anew(emit, poison, relay, events, options, database, caplog):
    """With all their attempts; what is published or buried is left alone."""
    options(MAX_ATTEMPTS=1)
    published, dead, buried = emit("thing:1"), poison("thing:2"), poison("thing:3")
    assert relay() == ["thing:1"]
    bury(database, buried.id, "x")
    assert status(events)["dead"] == 1
    assert "1 event back in the queue" in events("replay", "--dead")
    assert inspect(database, dead.id).attempts == 0
    options(MAX_ATTEMPTS=2)
    assert relay() == []
    assert inspect(database, dead.id).state == "refused"
    assert inspect(database, buried.id).state == "buried"
    events("replay", "--id", buried.id)
    assert inspect(database, buried.id).state == "pending"
    assert inspect(database, published.id).state == "published"


def test_replay__of_a_dead_event_that_blocks_its_object__goes_before_the_later_ones(
    emit, poison, relay, database, options, caplog, monkeypatch
):
    """With DEAD_BLOCKS_OBJECT a replay is the way to go on in order."""
    options(MAX_ATTEMPTS=1, DEAD_BLOCKS_OBJECT=True)
    dead = poison("thing:1")
    emit("thing:1")
    assert relay() == []
    assert sum(replay(database, Selection(state="dead"))) == 1
    assert relay() == []
    assert inspect(database, dead.id).state == "dead"  # and blocks as before
    LogEntry.objects.using(database).filter(event_id=dead.id).update(headers='{"mended": 1}')
    assert sum(replay(database, Selection(state="dead"))) == 1
    rows = list(QueueEntry.objects.using(database).order_by("sequence").values_list("replay_to", flat=True))
    assert rows == ["", None]
    assert relay() == ["thing:1", "thing:1"]


def test_replay__of_a_name__no_other_comes(emit, events, relay, queue, other_queue):
    """To the letter, on each database; so that a handler's queue gets what it handles."""
    for name in ("thing__created", "thing__Created", "thing__created", "thing__deleted"):
        emit("thing:1", name=name)
    assert len(relay()) == 4
    assert events("list", "--name", "thing__created").count("published: thing__created of") == 2
    assert "2 events would be published once more" in events("replay", "--name", "thing__created", "--dry-run")
    events("replay", "--name", "thing__created", "--queue", other_queue.name)
    events("relay")
    assert [message.properties["type"] for message in take(other_queue)] == ["thing__created"] * 2


def test_replay__to_one_queue__no_other_gets_it(published, events, queue, other_queue):
    """For a consumer that lost its data, or is new."""
    (event,) = published("thing:1")
    events("replay", "--id", event.id, "--queue", other_queue.name)
    events("relay")
    assert take(queue) == []
    (message,) = take(other_queue)
    assert message.headers["nameko.event_replayed"] is True
    assert message.headers["nameko.event_id"] == str(event.id)


def test_replay__to_a_queue_that_there_is_not__one_line_and_nothing_done(published, events, database):
    """Also when RabbitMQ can't be asked."""
    published("thing:1")
    with pytest.raises(CommandError, match="RabbitMQ has no queue 'nobodys'; nothing was done"):
        events("replay", "--since", "2020-01-01", "--queue", "nobodys")
    assert not QueueEntry.objects.using(database).exists()


def test_replay__to_a_queue_while_rabbitmq_is_away__one_line_and_nothing_done(
    published, events, database, settings, free_port
):
    """It can't know whether there is such a queue."""
    published("thing:1")
    settings.AMQP_URI = f"amqp://guest:secret@127.0.0.1:{free_port}/"
    with pytest.raises(CommandError, match="RabbitMQ cannot be asked for the queue 'any'") as caught:
        events("replay", "--since", "2020-01-01", "--queue", "any")
    assert "secret" not in str(caught.value)
    assert not QueueEntry.objects.using(database).exists()


def test_replay__to_a_queue_that_goes_away__dies_alone_and_goes_there_again(
    published, relay, database, options, other_queue, caplog
):
    """It was published before: its object's later events don't wait; and no other consumer gets it the next time."""
    (event,) = published("thing:1")
    options(MAX_ATTEMPTS=5, DEAD_BLOCKS_OBJECT=True)
    name = other_queue.name
    assert sum(replay(database, Selection(ids=frozenset({event.id})), to_queue=name)) == 1
    other_queue.delete()
    assert relay() == []
    state = inspect(database, event.id)
    assert (state.state, state.error) == ("dead", "the queue that it is replayed to does not exist")
    published("thing:1")
    assert sum(replay(database, Selection(state="dead"))) == 1
    assert QueueEntry.objects.using(database).get().replay_to == name


def test_selection__by_each_criterion__finds_those_that_meet_all(emit, relay, database, events):
    """Models by their label, times by the event's own."""
    now = datetime.now(UTC)
    made = {
        key: emit(key, time=now - timedelta(days=age))
        for key, age in [("project.product:1", 1), ("project.product:11", 2), ("project.productx:1", 3), ("x.y:1", 4)]
    }
    relay()

    def found(**criteria):
        return [event.object for event in preview(database, Selection(**criteria), 10)[1]]

    assert found(model="project.product") == ["project.product:1", "project.product:11"]
    assert found(object="project.product:1") == ["project.product:1"]
    assert found(since=now - timedelta(days=2, seconds=1)) == ["project.product:1", "project.product:11"]
    assert found(until=now - timedelta(days=3)) == ["x.y:1"]
    assert found(until=now - timedelta(days=2), model="project.product") == []
    assert found(ids=frozenset({made["x.y:1"].id})) == ["x.y:1"]
    assert found(state="dead") == []
    emit("x.y:1")
    assert len(found(object="x.y:1")) == 1  # what is pending is on its way
    assert events("replay", "--model", "project.Product", "--dry-run").count("project.product:") == 2


def test_dry_run__of_a_replay__does_nothing(published, events, database):
    """It says how many, and names the first."""
    event, *_ = published(*(f"thing:{number}" for number in range(30)))
    shown = events("replay", "--since", "2020-01-01", "--dry-run")
    assert "30 events would be published once more. The first 20 are shown." in shown
    assert str(event.id) in shown
    assert not QueueEntry.objects.using(database).exists()


def test_replay__of_many__asks_first(published, events, database, monkeypatch):
    """Whoever says nothing, or is not there, has not said yes."""
    monkeypatch.setattr("django_events_sourcing.management.subcommands.replay._MANY", 2)
    published("thing:1", "thing:2", "thing:3")
    since = ("replay", "--since", "2020-01-01")

    def gone():
        raise EOFError

    monkeypatch.setattr("builtins.input", gone)
    with pytest.raises(CommandError, match="give --no-input"):
        events(*since)
    monkeypatch.setattr("builtins.input", lambda: "")
    with pytest.raises(CommandError, match="Nothing was done"):
        events(*since)
    assert not QueueEntry.objects.using(database).exists()
    monkeypatch.setattr("builtins.input", lambda: "yes")
    assert "3 events back in the queue" in events(*since)
    QueueEntry.objects.using(database).all().delete()
    assert "3 events back in the queue" in events(*since, "--no-input")


def test_rate__given__is_kept(published, database):
    """On the average, from portion to portion."""
    published(*(f"thing:{number}" for number in range(12)))
    begun = monotonic()
    portions = list(replay(database, ALL, rate=20))
    assert sum(portions) == 12
    assert max(portions) <= 10
    assert monotonic() - begun >= 12 / 20 * 0.95


def test_replay__of_more_than_a_page__takes_all(published, database, monkeypatch):
    """Page by page, also where a page has nothing to replay."""
    monkeypatch.setattr("django_events_sourcing.operating.replay._PAGE", 4)
    published(*(f"thing:{number}" for number in range(19)))
    ids = LogEntry.objects.using(database).order_by("sequence").values_list("sequence", flat=True)
    for sequence in ids[4:8]:
        QueueEntry.objects.using(database).create(partition=0, sequence=sequence, object_hash=0)
    assert preview(database, ALL)[0] == 15
    assert sum(replay(database, ALL)) == 15


def test_replay__while_a_relay_is_at_work__waits_for_the_end_of_its_turn(published, database, at_work, relay):
    """A pass that has gone by an event would publish its object's next one first."""
    published("thing:1")
    at_work({partition_of("thing:1")}, ends_after=0.4)
    begun = monotonic()
    assert sum(replay(database, ALL)) == 1
    assert monotonic() - begun > 0.3
    assert relay() == ["thing:1"]


def test_replay__whose_lease_was_lost__does_nothing(published, database):
    """Another may have it, and have events on their way."""
    published("thing:1")
    ((found,),) = queries.replayable(database, ALL, 10)
    assert queries.requeue(database, uuid4(), [found], None) is None
    assert not QueueEntry.objects.using(database).exists()


def test_replay__of_what_was_purged_or_became_pending_meanwhile__leaves_it_alone(published, database):
    """No row of the queue without one of the log, and none twice."""
    published("thing:1", "thing:2", "thing:3")
    (found,) = queries.replayable(database, ALL, 10)
    LogEntry.objects.using(database).filter(sequence=found[0].sequence).delete()
    QueueEntry.objects.using(database).create(
        partition=found[1].partition, sequence=found[1].sequence, object_hash=1, replay_to=None
    )
    owner = uuid4()
    numbers = {each.partition for each in found}
    assert queries.take(database, owner, numbers, 60) == numbers
    assert queries.requeue(database, owner, found, None) == 1
    assert QueueEntry.objects.using(database).filter(replay_to="").get().sequence == found[2].sequence


def test_purge__of_events_that_are_replayed__leaves_them(published, database, events, relay):
    """They are pending once more, however old."""
    published("thing:1", "thing:2")
    LogEntry.objects.using(database).update(time=to_microseconds(datetime(2000, 1, 2, tzinfo=UTC)))
    assert sum(replay(database, Selection(object="thing:1"))) == 1
    assert "1 event deleted" in events("purge", "--no-input")
    assert relay() == ["thing:1"]
    assert not Failure.objects.using(database).exists()
    assert not Partition.objects.using(database).filter(owner__isnull=False).exists()


def test_ids__that_no_log_has__one_line_and_nothing_done(published, events, database):
    """A typing error is not reported as "0 events"."""
    (event,) = published("thing:1")
    with pytest.raises(CommandError, match=f"No log has an event {(unknown := uuid4())}; nothing was done") as caught:
        events("replay", "--id", event.id, "--id", unknown)
    assert "\n" not in str(caught.value)
    with pytest.raises(CommandError, match="nor 1 other of those ids"):
        events("replay", "--id", uuid4(), "--id", uuid4(), "--dry-run")
    assert not QueueEntry.objects.using(database).exists()


def test_show__of_an_object_whose_replay_to_one_queue_is_dead__does_not_say_that_it_blocks(
    published, emit, relay, database, options
):
    """It doesn't: all other consumers have it."""
    options(DEAD_BLOCKS_OBJECT=True)
    published("thing:1")
    assert sum(replay(database, Selection(object="thing:1"), to_queue="nobody's")) == 1
    assert relay() == []
    event = emit("thing:1")
    assert inspect(database, event.id).waits_for == ["it is due: the next wake-up or sweep takes it"]
    assert relay() == ["thing:1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Say what to replay: --id, --dead, --service, --name, --model, --object, --since or --until"),
        (["--model", "no.such"], "no installed app has a model 'no.such'"),
        (["--model", "Product"], "no installed app has a model 'Product'"),
        (["--object", "order"], "'order' is no object like app.Model:1"),
        (["--object", "order:3"], "'order:3' is no object like app.Model:1"),
        (["--object", "project.order:"], "'project.order:' is no object like app.Model:1"),
        (["--since", "yesterday"], "'yesterday' is no time like 2026-01-31"),
        (["--since", "2026-02-31"], "'2026-02-31' is no time like"),
        (["--id", "7"], "invalid UUID value: '7'"),
        (["--dead", "--rate", "0"], "'0' is not a number above 0"),
        (["--dead", "--rate", "nan"], "'nan' is not a number above 0"),
    ],
)
def test_arguments__wrong__one_line(arguments, message, postgresql):
    """It says what is wrong with them."""
    with pytest.raises(CommandError, match=message) as caught:
        call_command("events", "replay", *arguments, "--database", postgresql, stdout=io.StringIO())
    assert "\n" not in str(caught.value)
