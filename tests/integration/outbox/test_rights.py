"""A database's rights, as the docs grant them: with just those everything works, and none of them is without use."""

import re
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import DatabaseError, connections, transaction
from django.test.utils import CaptureQueriesContext

from django_events_sourcing import Event
from django_events_sourcing import emit as emit_own
from django_events_sourcing.conf import get_settings
from django_events_sourcing.delivery.deliver import deliver
from django_events_sourcing.models import Failure, LogEntry, Partition, QueueEntry
from django_events_sourcing.operating import browsing, health, operations, performing, purge
from django_events_sourcing.operating.inspection import inspect
from django_events_sourcing.operating.listing import Selection
from django_events_sourcing.operating.performing import Request
from django_events_sourcing.operating.status import status
from django_events_sourcing.outbox.queries import STATES
from django_events_sourcing.tasks.presence import Presence
from django_events_sourcing.tasks.relay import Relay
from tests.integration.conftest import execute

# MySQL's and MariaDB's alone.
LOCK = "django_events_sourcing_lock"

ROLES = ("web", "worker", "admin")

PAGE = Path(__file__).parents[3] / "docs/reference/permissions.md"

# What a statement does to a table, by how its text has that, and which rights it takes.
TAKES = [
    (r"INSERT INTO (\w+)", {"INSERT"}),
    (r"INSERT INTO (\w+)\b[^)]*\)\s*VALUES [^)]*\)\s*RETURNING", {"SELECT"}),
    (r"UPDATE (\w+)\s+SET", {"UPDATE", "SELECT"}),
    (r"DELETE FROM (\w+)", {"DELETE", "SELECT"}),
    (r"(?<!DELETE )(?:FROM|JOIN) (\w+)", {"SELECT"}),
]


def granted(role):
    """What the docs grant to a role, as pairs of rights and what they are on."""
    found = re.findall(rf"^GRANT (.+) ON (.+) TO {role};$", PAGE.read_text(), re.MULTILINE)
    assert found
    return found


def assert_all_were_taken(using, role, taken):
    """On PostgreSQL, whose statements these are, each right is of use."""
    if connections[using].vendor == "postgresql":
        given = {(right, table) for rights, table in granted(role) for right in rights.split(", ")}
        assert taken == {pair for pair in given if pair[0] != "USAGE" and pair[1] != LOCK}


def used(captured):
    """The rights that statements took, as such pairs."""
    found = set()
    for query in captured:
        for pattern, rights in TAKES:
            for table in re.findall(pattern, query["sql"].replace('"', "")):
                found |= {(right, table) for right in rights if table.startswith("django_events_sourcing_")}
    return found


@pytest.fixture(params=["postgresql", "mariadb"])
def database(database):
    """Those that have users."""
    return database


@pytest.fixture
def taken():
    """The rights that the statements of roles took, a set that grows."""
    return set()


@pytest.fixture
def as_role(database, taken):
    """Within it there is an alias of the database, for a user with what the docs grant to a role, and nothing else."""
    is_postgresql = connections[database].vendor == "postgresql"

    def create(role):
        execute(database, f"CREATE {'ROLE' if is_postgresql else 'USER'} {role} {'LOGIN' if is_postgresql else ''}")
        for rights, on in granted(role):
            if is_postgresql or rights != "USAGE":
                execute(database, f"GRANT {rights} ON {on} TO {role}")

    @contextmanager
    def as_role(role):
        alias = f"{database} as {role}"
        connections.settings[alias] = connections.settings[database] | {"USER": role}
        try:
            with CaptureQueriesContext(connections[alias]) as captured:
                yield alias
        finally:
            connections[alias].close()
            del connections[alias], connections.settings[alias]
        taken.update(used(captured))

    for role in ROLES:
        create(role)
    yield as_role
    for role in ROLES:
        execute(database, *([f"DROP OWNED BY {role}", f"DROP ROLE {role}"] if is_postgresql else [f"DROP USER {role}"]))


def test_role__without_a_right__may_not(database, as_role):
    """So that what is tried as a role is tried with its rights alone."""
    with as_role("web") as web, pytest.raises(DatabaseError, match="denied"):
        QueueEntry.objects.using(web).exists()


def test_web__has_what_saves_need(database, as_role, taken, options):
    """One event by itself, several at once, and one of an object that has no row."""
    one, *more = [Event(name="a", service="b", object=f"thing:{number}", body="{}") for number in range(3)]
    with as_role("web") as web, transaction.atomic(using=web):
        deliver([one], web)
        deliver(more, web)
        emit_own("cart__abandoned", {}, key="shop.cart:17", using=web)
    assert LogEntry.objects.using(database).count() == 4
    assert_all_were_taken(database, "web", taken)


def test_worker__has_what_workers_and_commands_need(
    database, as_role, taken, emit, poison, options, queue, monkeypatch
):
    """Publishing, counting refusals, signs of life, operations, the purge, and all that an operator may do."""
    monkeypatch.setattr(performing, "enqueue", lambda *_task: None)
    options(MAX_ATTEMPTS=2)
    presence = Presence()
    presence.begin("celery@here")
    Partition.objects.using(database).all().delete()
    event, dead = emit("thing:1"), poison("thing:2")
    for _ in range(2):
        with as_role("worker") as worker:
            Relay(worker, get_settings()).run()
            presence.note_look(worker)
        Failure.objects.using(database).filter(retry_at__isnull=False).update(retry_at=0)
    assert [inspect(database, each.id).state for each in (event, dead)] == ["published", "dead"]
    pending = emit("thing:3")
    with as_role("worker") as worker:
        assert status(worker).pending == 1
        operations.pause(worker, why="why", who="anna")
        performing.note(worker, Request("pause", "all", "anna"))
        operations.resume(worker, now=True)
        operations.bury(worker, pending.id, "why", "anna")
        sequences = list(LogEntry.objects.using(worker).values_list("sequence", flat=True))
        asked = performing.ask(worker, Request("replay", "all", "anna"), sequences)
        assert performing.perform(worker, asked.id)
        done = performing.progress(worker, asked.id)
        assert (done.done, done.error) == (3, "")
        operations.bury(worker, dead.id, "why", "anna")
        assert Relay(worker, get_settings()).run().published == 2
    LogEntry.objects.using(database).update(time=1)
    with as_role("worker") as worker:
        assert purge.purge_now(worker, 3600) == 2
        assert purge.purge_buried(worker) == 1
    assert_all_were_taken(database, "worker", taken)


def test_admin__has_what_its_pages_and_buttons_need(
    database, as_role, taken, emit, poison, relay, options, monkeypatch
):
    """And what the views of health and metrics ask."""
    monkeypatch.setattr(performing, "enqueue", lambda *_task: None)
    options(MAX_ATTEMPTS=1)
    dead = poison("thing:2")
    relay()
    pending = emit("thing:1")
    for reads_first in (status, lambda using: inspect(using, pending.id)):
        Partition.objects.using(database).all().delete()
        with as_role("admin") as admin:
            reads_first(admin)
    with as_role("admin") as admin:
        assert status(admin, is_exact=False).pending == 1
        assert inspect(admin, dead.id).state == "dead"
        for state in (None, *STATES):
            browsing.browse(admin, Selection(state=state))
        assert not health._look(admin, get_settings()).trouble
        operations.pause(admin, why="why", who="anna")
        operations.resume(admin, now=True)
        performing.note(admin, Request("pause", "all", "anna"))
        asked = performing.ask(admin, Request("replay", "one", "anna"), [1])
        assert performing.latest(admin, 9)[0] == asked
        assert performing.stop(admin, asked.id, "anna")
    assert_all_were_taken(database, "admin", taken)
