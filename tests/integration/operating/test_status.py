"""``manage.py events status``, on each database."""

import json
import re
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.utils import OperationalError

from django_events_sourcing.conf import get_settings
from django_events_sourcing.models import LogEntry, Partition, PublishedCount, QueueEntry, Worker
from django_events_sourcing.operating.operations import bury, pause
from django_events_sourcing.operating.replay import Selection, replay
from django_events_sourcing.operating.status import status
from django_events_sourcing.operating.verdict import verdict
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.clock import from_now
from django_events_sourcing.outbox.partitioning import PARTITIONS, partition_of
from django_events_sourcing.tasks.relay import Relay

OLD = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def worker(start_worker):
    """One that has just looked."""
    return start_worker()


def test_oldest_due__after_a_replay_of_old_events__counts_from_the_replay(emit, relay, database):
    """Else each replay would be an alert; what waits behind it is as old as it is."""
    emit("thing:1", time=OLD)
    assert relay() == ["thing:1"]
    assert sum(replay(database, Selection(object="thing:1"))) == 1
    assert status(database).oldest_pending_seconds < 60
    emit("thing:1", time=datetime.now(UTC) - timedelta(hours=2))
    assert 7100 < status(database).oldest_pending_seconds < 7300


def test_look__of_a_worker__is_kept(worker, start_worker, database):
    """By name, host and process; a second one is the same worker's, and those of before are forgotten in a day."""
    Worker.objects.using(database).create(
        pk=uuid4(), name="long ago", host="h", pid=1, version="0", started_at=1, looked_at=1
    )
    (here, before) = status(database).workers
    assert (here.name, before.name) == ("celery@here", "long ago")
    assert here.looked_seconds < 10
    Worker.objects.using(database).filter(name="celery@here").update(looked_at=5)
    worker.note_look(database)
    assert [each.looked_seconds < 10 for each in status(database).workers] == [True, False]
    start_worker("celery@another")
    assert {each.name for each in status(database).workers} == {"celery@here", "celery@another"}


def test_lease__of_a_relay__says_whose_it_is(emit, database, queue):
    """Worker, process and host; and when it gave a sign of life."""
    queries.ensure_partitions(database)
    leases = Relay(database, get_settings())._leases
    leases.take({3})
    held = status(database).partitions[3]
    assert held.owner == str(leases.owner)
    assert re.fullmatch(r"pid \d+ on \S+", str(held.holder))
    assert 0 <= (held.holder_seen_seconds or 0.0) < 10
    Partition.objects.using(database).filter(number=3).update(leased_until=1)
    assert status(database).partitions[3].holder is None


def test_command__that_holds_a_partition__is_named(emit, database, monkeypatch):
    """It is no relay."""
    event = emit("thing:1")
    held = []
    take_out = queries.bury

    def look_and_bury(*arguments):
        held.append(status(database).partitions[partition_of("thing:1")].holder)
        return take_out(*arguments)

    monkeypatch.setattr(queries, "bury", look_and_bury)
    bury(database, event.id, "x")
    assert re.fullmatch(r"a command, pid \d+ on \S+", str(held[0]))


def test_trouble__of_a_partition__is_dated_from_its_beginning(emit, database):
    """However often it is tried in between; and forgotten with its end."""
    queries.ensure_partitions(database)
    owner = uuid4()
    queries.take(database, owner, {3}, 60)
    queries.back_off(database, owner, 3, 0, "no way")
    Partition.objects.using(database).filter(number=3).update(failing_since=1)
    queries.back_off(database, owner, 3, 0, "no way", anew=True)
    assert (status(database).partitions[3].failing_seconds or 0.0) > 10**9
    queries.recovered(database, owner, {3})
    assert status(database).partitions[3].failing_seconds is None


def test_bury__of_the_last_event_of_a_partition__ends_its_trouble(emit, database):
    """Nothing is left that could show its end; with another one left, it stays."""
    number = partition_of("thing:1")
    first, last = emit("thing:1"), emit("thing:1")
    queries.ensure_partitions(database)
    Partition.objects.using(database).filter(number=number).update(failures=3, error="no way", failing_since=1)
    bury(database, first.id, "x")
    assert status(database).partitions[number].error == "no way"
    bury(database, last.id, "x")
    found = status(database).partitions[number]
    assert (found.failures, found.error, found.failing_seconds, found.retry_seconds) == (0, "", None, None)


def test_events__that_no_queue_is_bound_for__counted_and_told_once(emit, database, channel, options, caplog):
    """They are published, as nobody said MANDATORY; the log names them."""
    for number in range(3):
        emit(f"thing:{number}", name=f"thing__{number}")
    Relay(database, get_settings()).run()
    emit("thing:1")
    Relay(database, get_settings()).run()
    found = status(database)
    assert (found.pending, found.published_last_hour, found.unrouted_last_hour) == (0, 4, 4)
    assert found.last_published_seconds is not None
    (line,) = [each.getMessage() for each in caplog.records if "no queue bound" in each.getMessage()]
    assert "thing__0 of shop-" in line
    assert "4 events of the last hour went to no queue" in " ".join(verdict(found))


def test_events__that_a_queue_takes__are_none_of_these(emit, database, relay, caplog):
    """Though all are asked back for."""
    emit("thing:1")
    assert relay() == ["thing:1"]
    assert PublishedCount.objects.using(database).get().unrouted == 0
    assert "no queue bound" not in caplog.text


def test_screen__of_equal_partitions__one_row_and_the_error_once_and_whole(emit, events, worker, database):
    """Though sixteen of them have it; within 80 columns."""
    error = "RabbitMQ at mq:5672, vhost '/', user 'u': ConnectionRefusedError: " + "of so many words " * 9
    for number in range(200):
        emit(f"thing:{number}")
    queries.ensure_partitions(database)
    Partition.objects.using(database).filter(number__lt=PARTITIONS).update(
        failures=2, failing_since=1, retry_at=10**17, error=error.strip()
    )
    shown = events("status")
    assert shown.startswith("RabbitMQ at mq:5672, vhost '/' refuses connections since 1969-12-31")
    assert "200 events wait" in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= 80
    assert re.search(r"^│ 0-15 +│ 200 +│ 2 failures in a row, next attempt in", shown, re.MULTILINE)
    assert " ".join(shown.split()).count(error.strip()) == 1


def test_screen__of_partitions_that_differ__a_row_for_each_kind(emit, events, worker, database, at_work, options):
    """Who holds a lease; who is gone; what is paused, by whom and why."""
    options(LEASE=60)
    emit("thing:1")
    at_work({4, 5, 7})
    Partition.objects.using(database).filter(number__in=(4, 5, 7)).update(holder="worker w, pid 7 on h")
    pause(database, {9}, why="deploy", who="anna")
    shown = " ".join(re.sub(r"[│┃┡┏┗└─━]", " ", events("status")).split())
    assert "PAUSED, partition 9 (0 events wait there), since" in shown
    assert re.search(r"4-5, 7 0 at work: worker w, pid 7 on h, 0\.\d s ago", shown)
    assert re.search(r"9 0 paused for [\d.]+ s by anna: deploy", shown)
    assert re.search(r"celery@here \(pid \d+\) looked [\d.]+ s ago", shown)
    Partition.objects.using(database).filter(number=7).update(leased_until=from_now(3))
    shown = " ".join(re.sub(r"[│┃┡┏┗└─━]", " ", events("status")).split())
    assert re.search(r"7 0 held by worker w, pid 7 on h, which gives no sign of life for 5\d\.\d s; free in", shown)


def test_json__with_a_database_that_cant_be_asked__null_and_its_error(events, emit, database, monkeypatch, capsys):
    """No zeros that are none."""
    emit("thing:1")

    def fail(*_arguments):
        raise OperationalError("the server\nis gone")

    whole = json.loads(events("status", "--json"))
    assert (whole["pending"], whole["errors"]) == (1, {})
    monkeypatch.setattr("django_events_sourcing.management.subcommands.status.status", fail)
    with pytest.raises(CommandError, match=f"Database '{database}' cannot be asked: the server is gone"):
        call_command("events", "status", "--json", "--database", database)
    found = json.loads(capsys.readouterr().out)
    assert found["pending"] is found["oldest_pending_seconds"] is found["published_last_hour"] is None
    assert found["databases"] == {database: None}
    assert found["errors"] == {database: f"Database '{database}' cannot be asked: the server is gone"}


def test_keys_of_json__each_is_documented(events, emit, worker, database):
    """And no other is."""
    emit("thing:1")
    text = (Path(__file__).parents[3] / "docs/reference/commands.md").read_text()

    def documented(command):
        table = text.partition(f"## The keys of `events {command} --json`")[2].partition("\n## ")[0]
        return set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE))))

    found = json.loads(events("status", "--json"))
    keys = {*found, *found["partitions"][0], *found["databases"][database]}
    assert documented("status") == keys
    listed = json.loads(events("list", "--json"))
    assert documented("list") == {*listed, *listed["events"][0]}


def test_watch__until_it_is_stopped__looks_again_and_again(events, emit, database, monkeypatch):
    """With --json an object a line, for programs."""
    emit("thing:1")
    looks = []

    def look(alias):
        looks.append(alias)
        if len(looks) == 3:
            QueueEntry.objects.using(database).all().delete()
        if len(looks) == 4:
            signal.raise_signal(signal.SIGINT)
        return status(alias)

    monkeypatch.setattr("django_events_sourcing.management.subcommands.status.status", look)
    lines = events("status", "--json", "--watch", "0.01").splitlines()
    assert [json.loads(line)["pending"] for line in lines] == [1, 1, 0, 0]


def test_status__of_large_events__reads_no_body(emit, database):
    """However large they are: none of its statements asks for one."""
    emit("thing:1", body=json.dumps("x" * 1000))
    with connections[database].execute_wrapper(_no_bodies):
        status(database)
    assert LogEntry.objects.using(database).count() == 1


def _no_bodies(execute, sql, params, many, context):
    assert "body" not in sql
    return execute(sql, params, many, context)
