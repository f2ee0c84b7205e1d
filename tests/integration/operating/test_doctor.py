"""What ``events doctor`` says of a database, of each kind."""

import time
from contextlib import closing

import pytest

from django_events_sourcing.doctor import databases
from django_events_sourcing.doctor.databases import examine_databases
from django_events_sourcing.doctor.findings import Finding, Item, Level, bounded
from tests.integration.conftest import connect


def found(database, level):
    return [each.what for each in examine_databases([database]) if each.level is level]


def test_database__that_is_well__says_so(database, start_worker):
    """Of each kind."""
    start_worker()
    assert found(database, Level.FAILING) == found(database, Level.WARNING) == []
    answers, well = found(database, Level.OK)
    assert "answers, in" in answers
    assert well == "All is well: no event in the last hour."


@pytest.mark.parametrize(("ahead", "says"), [(-60, "60 s ahead of"), (60, "60 s behind")])
def test_clock__that_differs__told(database, start_worker, monkeypatch, ahead, says):
    """By how much, and what comes of it."""
    start_worker()
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + ahead)
    (problem,) = found(database, Level.WARNING)
    assert says in problem
    assert "Nothing is lost" in problem


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_transaction__that_has_been_open_for_long__told_whose_it_is(database, start_worker, monkeypatch):
    """Until it ends, no dead row of the queue can be vacuumed."""
    start_worker()
    monkeypatch.setattr(databases, "_LONG", 0.0)
    with closing(connect(database, application_name="forgetful")) as connection:
        connection.execute("SELECT txid_current()")
        (problem,) = found(database, Level.WARNING)
    assert "application forgetful" in problem
    assert found(database, Level.WARNING) == []


def test_look__that_hangs_or_fails__is_a_finding():
    """The rest is looked at all the same; no password is in it."""

    def fail():
        yield Finding(Item.CELERY, Level.OK, "first")
        raise OSError("amqp://user:s3cret@host is away")

    first, problem = bounded(Item.CELERY, fail, within=10)
    assert first.what == "first"
    assert problem.level is Level.FAILING
    assert "OSError: amqp://…@host is away" in problem.what

    def hang():
        yield Finding(Item.CELERY, Level.OK, "first")
        time.sleep(3)

    first, problem = bounded(Item.CELERY, hang, within=0.2)
    assert (problem.level, problem.what) == (Level.FAILING, "It has not answered within 0.2 s.")
