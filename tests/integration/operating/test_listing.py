"""``manage.py events list``, on each database."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError

from django_events_sourcing.conf import get_settings
from django_events_sourcing.operating.operations import bury
from django_events_sourcing.outbox.partitioning import partition_of
from django_events_sourcing.tasks.relay import Relay


def listed(events, *arguments):
    return [(event["state"], event["object"]) for event in json.loads(events("list", "--json", *arguments))["events"]]


@pytest.fixture
def outbox(emit, poison, database, options, channel, caplog):
    """An event of each state, of objects named alike."""
    options(MAX_ATTEMPTS=1)
    dead, buried = poison("project.order:1"), poison("project.order:2")
    emit("project.product:3", time=datetime.now(UTC) - timedelta(days=3))
    Relay(database, get_settings()).run()
    bury(database, buried.id, "a mistake", "anna")
    options(MAX_ATTEMPTS=5)
    poison("project.order:4")
    Relay(database, get_settings()).run()
    emit("project.order:4")
    emit("project.order:5")
    return {"dead": dead, "buried": buried}


def test_list__by_each_criterion__those_that_meet_all(events, outbox):
    """The latest first; of those that are pending, the first."""
    assert listed(events) == [
        ("pending", "project.order:5"),
        ("pending", "project.order:4"),
        ("refused", "project.order:4"),
        ("published", "project.product:3"),
        ("buried", "project.order:2"),
        ("dead", "project.order:1"),
    ]
    assert listed(events, "--dead") == [("dead", "project.order:1")]
    assert listed(events, "--buried") == [("buried", "project.order:2")]
    pending = [("refused", "project.order:4"), ("pending", "project.order:4"), ("pending", "project.order:5")]
    assert listed(events, "--pending") == pending
    assert listed(events, "--pending", "--limit", "1") == pending[:1]
    assert listed(events, "--refused") == pending[:1]
    assert len(listed(events, "--service", outbox["dead"].service)) == 6
    assert listed(events, "--service", "another") == []
    assert listed(events, "--object", "project.Order:4", "--pending") == pending[:2]
    assert listed(events, "--model", "project.Product") == [("published", "project.product:3")]
    since = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    assert len(listed(events, "--since", since)) == 5


def test_list__for_people__ids_errors_and_what_to_do_next(events, outbox):
    """An id in a line of its own; what to do, once for each state."""
    shown = events("list")
    lines = shown.splitlines()
    dead, buried = outbox["dead"], outbox["buried"]
    for event in (dead, buried):
        assert str(event.id) in lines
    assert "refused 1 time: it cannot be encoded" in shown
    assert "buried by anna: a mistake" in shown
    assert " ".join(shown.split()).count("`manage.py events replay --id ID` publishes it;") == 1
    assert max(map(len, lines)) <= 80
    assert "There are more than 2: --limit N shows so many." in events("list", "--limit", "2")
    assert "more than" not in events("list", "--limit", "6")


def test_json__of_the_list__what_to_do_next_names_the_id(events, outbox):
    """To be copied."""
    (found,) = json.loads(events("list", "--dead", "--json"))["events"]
    assert f"`manage.py events replay --id {outbox['dead'].id}`" in found["next"]
    assert (found["attempts"], found["retry_at"]) == (1, None)
    assert found["dead_since"]


def test_list__of_nothing__says_so(events, database):
    """It is no error."""
    assert events("list", "--dead") == f"Database '{database}' has no such event.\n"
    assert listed(events) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--limit", "0"], "'0' is not a whole number above 0"),
        (["--limit", "few"], "'few' is not a whole number above 0"),
        (["--object", "order:3"], "'order:3' is no object like app.Model:1"),
        (["--dead", "--pending"], "argument --pending: not allowed with argument --dead"),
    ],
)
def test_arguments__wrong__one_line(arguments, message, events, database):
    """It says what would be right."""
    with pytest.raises(CommandError, match=message):
        events("list", *arguments)


def test_log__of_a_dead_event__names_the_next_command(poison, relay, options, caplog, database):
    """Whoever reads it at night need not look it up; who has it sorted gets it by its fields."""
    options(MAX_ATTEMPTS=1)
    event = poison("thing:1")
    assert relay() == []
    record = next(each for each in caplog.records if "is dead" in each.message)
    assert (record.event_id, record.event_name, record.event_object) == (str(event.id), event.name, "thing:1")
    assert (record.database, record.partitions) == (database, [partition_of("thing:1")])
    assert "is dead, attempt 1 of 1." in caplog.text
    assert "`manage.py events list --dead` says what to do next" in caplog.text


def test_buried__deleted_for_good__after_a_question(events, outbox, database, monkeypatch):
    """Those only; a dry run deletes nothing."""
    answers = iter(["no", "yes"])
    monkeypatch.setattr("builtins.input", lambda: next(answers))
    assert "1 buried event would be deleted" in events("purge", "--buried", "--dry-run")
    assert "0 buried events would be deleted" in events("purge", "--buried", "--dry-run", "--older-than", "1")
    with pytest.raises(CommandError, match="Nothing was done"):
        events("purge", "--buried")
    assert len(listed(events)) == 6
    shown = events("purge", "--buried")
    assert "1 buried event will be deleted, for good. Type 'yes' to go on:" in shown
    assert "1 event deleted" in shown
    assert [state for state, _ in listed(events)] == ["pending", "pending", "refused", "published", "dead"]
    assert "0 events deleted" in events("purge", "--buried")
