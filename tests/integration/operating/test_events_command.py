"""``manage.py events``, on each database."""

import io
import json
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command

from django_events_sourcing import Event
from django_events_sourcing.delivery.deliver import deliver
from django_events_sourcing.management.commands.events import Command
from django_events_sourcing.models import Failure, LogEntry, Partition, QueueEntry
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.partitioning import PARTITIONS, object_hash, partition_of


@pytest.fixture(autouse=True)
def _outbox(settings):
    settings.EVENTS_SOURCING = {"DELIVERY": "outbox", "RETRY_BACKOFF": 60, "MAX_ATTEMPTS": 1}


@pytest.fixture
def emit(database, settings):
    def emit(key, **fields):
        event = Event(**{"name": "n", "service": settings.SERVICE_NAME, "object": key, "body": "{}", **fields})
        deliver([event], database)
        return event

    return emit


@pytest.fixture
def events(database):
    """Run the command on the database, and return what it prints."""

    def events(*arguments):
        output = io.StringIO()
        call_command("events", *arguments, "--database", database, stdout=output)
        return output.getvalue()

    return events


def test_status__of_an_empty_outbox__is_all_zero(events):
    """Also before any relay has been there."""
    found = json.loads(events("status", "--json"))
    assert {key: found[key] for key in ("pending", "oldest_pending_seconds", "dead", "published_last_hour")} == {
        "pending": 0,
        "oldest_pending_seconds": 0,
        "dead": 0,
        "published_last_hour": 0,
    }
    assert [partition["number"] for partition in found["partitions"]] == list(range(PARTITIONS))


def test_status__with_work_to_do__says_so(events, emit, database):
    """Pending and dead events, leases, backoff and trouble, for people and for programs."""
    for number in range(5):
        emit(f"thing:{number}")
    LogEntry.objects.using(database).update(time=0)
    queries.look(database, dead_blocks=False)
    owner = uuid4()
    number = partition_of("thing:1")
    queries.take(database, owner, {number}, 60)
    queries.back_off(database, owner, number, 90, "no way")
    QueueEntry.objects.using(database).filter(object_hash=object_hash("thing:2")).delete()
    dead = {"partition": 0, "object_hash": 0, "attempts": 3, "error": "x", "dead_at": 1}
    Failure.objects.using(database).create(sequence=1, **dead)
    found = json.loads(events("status", "--json"))
    assert (found["pending"], found["dead"], found["databases"][database]["pending"]) == (4, 1, 4)
    assert found["oldest_pending_seconds"] > 10**9
    partition = found["partitions"][number]
    assert (partition["owner"], partition["failures"], partition["error"]) == (str(owner), 1, "no way")
    assert 50 < partition["leased_seconds"] <= 60
    assert 80 < partition["retry_seconds"] <= 90
    shown = events("status")
    assert "no way" in shown
    assert f"Outbox of database '{database}'" in shown


def test_status__of_events_that_wait__does_not_count_their_age(events, emit, database):
    """The age is of what is due: what waits for its next attempt is no sign of a relay that stands still."""
    emit("thing:1")
    (row,) = QueueEntry.objects.using(database)
    LogEntry.objects.using(database).update(time=0)
    waits = {"partition": row.partition, "object_hash": row.object_hash, "attempts": 1, "error": "x"}
    Failure.objects.using(database).create(sequence=row.sequence, retry_at=10**17, **waits)
    found = json.loads(events("status", "--json"))
    assert (found["pending"], found["oldest_pending_seconds"]) == (1, 0)
    assert found["refused"] == 1


def test_show__of_a_large_body__shows_its_beginning(events, emit, channel):
    """And with --body all of it, and nothing else."""
    body = json.dumps("x" * 50_000)
    event = emit("thing:1", body=body)
    shown = events("show", event.id)
    assert "… and 40,002 characters more: --body prints all of it" in shown
    assert len(shown) < 30_000
    assert events("show", event.id, "--body") == f"{body}\n"


@pytest.mark.parametrize(
    "hostile", ["[/nope]", "[red]x", ":smile:", "a\nERROR forged", "\x1b[2J\x1b]0;title\x07", "\u202e"]
)
def test_names__whatever_they_hold__shown_and_logged_as_data(events, emit, database, queue, hostile, caplog):
    """They come from what a project's users type: no markup, no line of their own, no command for the terminal."""
    safe = hostile.encode("unicode_escape").decode() if not hostile.isprintable() else hostile
    event = emit(f"thing:{hostile}", name=f"thing__{hostile}", headers={"x" * 300: 1})
    queries.ensure_partitions(database)
    number = partition_of(event.object)
    Partition.objects.using(database).filter(number=number).update(error=f"no {hostile}", failures=1)
    if hostile.isprintable():
        assert f"no {hostile}" in events("status")
    shown = events("show", str(event.id))
    assert f"thing__{safe}" in shown
    events("relay")
    assert f"thing__{safe}" in caplog.text
    shown = events("replay", "--dead", "--dry-run")
    assert "thing" in shown
    for text in (caplog.text, shown, events("status"), events("show", str(event.id))):
        assert not [line for line in text.split("\n") if not line.isprintable() or line.startswith("ERROR forged")]
    assert f"thing__{safe}" in events("bury", "--id", str(event.id), "--why", hostile if hostile.strip() else "x")


def test_relay__of_what_is_pending__drains_and_reports(events, emit, queue):
    """Without Celery, in the foreground."""
    for number in range(30):
        emit(f"thing:{number % 3}")
    assert "30 published, 0 dead, 0 pending." in events("relay")
    assert json.loads(events("status", "--json"))["published_last_hour"] == 30


def test_relay__with_rabbitmq_away__one_line_and_exit_code_1(events, emit, settings, free_port, database):
    """All stays as it was."""
    settings.AMQP_URI = f"amqp://guest:secret@127.0.0.1:{free_port}/"
    emit("thing:1")
    with pytest.raises(CommandError, match="RabbitMQ is in trouble") as caught:
        events("relay")
    assert caught.value.returncode == 1
    assert "secret" not in str(caught.value)
    assert QueueEntry.objects.using(database).count() == 1


def test_relay__while_another_is_at_work__says_so(events, emit, database, queue):
    """Nothing is taken from it."""
    emit("thing:1")
    queries.look(database, dead_blocks=False)
    queries.take(database, uuid4(), range(PARTITIONS), 60)
    with pytest.raises(CommandError, match="1 event left, in partitions that another relay is at work on") as caught:
        events("relay")
    assert caught.value.returncode == 1


def test_database__unknown__one_line():
    """The known ones are named."""
    with pytest.raises(CommandError, match="DATABASES has no 'nowhere'; it has default"):
        call_command("events", "status", "--database", "nowhere")


def test_database__without_tables__one_line(database, events):
    """It says what to run."""
    call_command("migrate", "django_events_sourcing", "zero", database=database, verbosity=0)
    try:
        with pytest.raises(CommandError, match=f"manage.py migrate --database={database}"):
            events("status")
    finally:
        call_command("migrate", database=database, verbosity=0)


@pytest.mark.parametrize("arguments", [["sttaus"], [], ["relay", "--database"], ["status", "--jsn"]])
def test_arguments__wrong__one_line_and_exit_code_1(arguments, monkeypatch, capsys):
    """No usage text, no traceback."""
    with pytest.raises(SystemExit) as ended:
        Command().run_from_argv(["manage.py", "events", *arguments])
    assert ended.value.code == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Error: ")
    assert captured.err.count("\n") == 1
