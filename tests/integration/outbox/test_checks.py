"""``manage.py check --database``, of an outbox that is there."""

import pytest

from django_events_sourcing import Event
from django_events_sourcing.checks import outbox
from django_events_sourcing.checks.outbox import check_outbox
from django_events_sourcing.outbox import queries
from tests.integration.conftest import execute

OURS = "django_events_sourcing_"
QUEUE, SEQUENCE = f"{OURS}queue", f"{OURS}log_sequence_seq"


@pytest.fixture(autouse=True)
def _outbox(options):
    """The delivery that it is about."""


def found(alias):
    return {str(message.id).partition(".")[2]: message for message in check_outbox(databases=[alias])}


def test_outbox__as_it_is_made__has_nothing_to_report(database):
    """On each database."""
    assert found(database) == {}


def test_pending_events__of_a_service_that_is_in_no_setting__are_named(database, settings):
    """With where they go; what has gone out is not looked at."""
    services = ["renamed", "renamed", "renamed", settings.SERVICE_NAME]
    events = [Event(name="n", service=each, object=f"thing:{n}", body="{}") for n, each in enumerate(services)]
    queries.insert(database, events)
    message = found(database)["W011"]
    assert message.msg.startswith("3 pending events of database")
    assert "'renamed', which is in no setting" in message.msg
    assert "renamed.events" in str(message.hint)
    settings.SERVICE_NAME = "renamed"
    assert found(database)["W011"].msg.startswith("1 pending event of")


def test_queue__whose_autovacuum_is_off__told_with_the_statement_that_mends_it(postgresql):
    """Which does."""
    execute(postgresql, f"ALTER TABLE {QUEUE} SET (autovacuum_enabled = off)")
    message = found(postgresql)["W012"]
    assert "is off" in message.msg
    execute(postgresql, str(message.hint))
    assert found(postgresql) == {}


def test_queue__of_a_busy_database_with_the_defaults__told(postgresql, monkeypatch):
    """By how many of its rows were deleted in an hour."""
    assert found(postgresql) == {}
    monkeypatch.setattr(outbox, "_BUSY", -1)
    message = found(postgresql)["W012"]
    assert "deleted rows an hour" in message.msg
    execute(postgresql, str(message.hint))
    assert found(postgresql) == {}


def test_sequence__with_a_cache__told_with_the_statement_that_mends_it(postgresql):
    """A session would draw ids ahead of those of others."""
    execute(postgresql, f"ALTER SEQUENCE {SEQUENCE} CACHE 20")
    message = found(postgresql)["W013"]
    assert f"{SEQUENCE} of database" in message.msg
    assert "CACHE 20" in message.msg
    execute(postgresql, str(message.hint))
    assert found(postgresql) == {}


def test_role__without_a_right__told_which(postgresql, monkeypatch):
    """And nothing else is asked, which might be forbidden; another alias that may write is as good."""
    monkeypatch.setattr(outbox, "writable_twin", lambda _alias: None)
    execute(
        postgresql,
        "CREATE ROLE clerk",
        "GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO clerk",
        "SET LOCAL ROLE clerk",
    )
    messages = found(postgresql)
    assert messages.keys() == {"W014"}
    *others, last = [
        f"{OURS}{name}" for name in ("failure", "log", "operation", "partition", "published", "queue", "worker")
    ]
    updated, deleted = [
        f"{', '.join(name for name in others if name != f'{OURS}{needless}')} and {last}"
        for needless in ("log", "partition")
    ]
    lacks = f"lacks UPDATE on {updated}; DELETE on {deleted}; USAGE on public.{SEQUENCE}."
    assert messages["W014"].msg == f"The role 'clerk' of database '{postgresql}' {lacks}"
    monkeypatch.setattr(outbox, "writable_twin", lambda _alias: "default")
    assert found(postgresql) == {}
    execute(postgresql, "RESET ROLE")
    assert found(postgresql) == {}


def test_migrate__is_told_nothing(database, monkeypatch):
    """It runs these checks first, before the tables are as they will be."""
    monkeypatch.setattr("sys.argv", ["manage.py", "migrate"])

    def fail(_alias):
        raise AssertionError

    monkeypatch.setattr(outbox, "has_tables", fail)
    assert found(database) == {}
