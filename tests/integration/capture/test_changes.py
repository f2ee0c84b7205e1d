"""What an update has changed, on each database: as it gives the values back, and under its transactions."""

import datetime as dt
import uuid
from decimal import Decimal

import pytest
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext

from django_events_sourcing.models import LogEntry
from tests.project.models import Anything

FIELDS = {
    "text": "é€😀 ",
    "char": "a",
    "integer": "7",
    "float": 0.1,
    "decimal": "1.5",
    "large": Decimal("12345678901234567890.12"),
    "boolean": True,
    "date": dt.date(2026, 1, 2),
    "time": dt.time(1, 2, 3, 456789),
    "moment": dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC),
    "duration": dt.timedelta(days=1, microseconds=2),
    "uuid": uuid.UUID(int=7),
    "address": "::1",
    "json": {"a": [1, None, "é"]},
    "shout": "a",
    "blank": None,
    "point": 1 + 2j,
    "described": "b",
}


@pytest.fixture
def tracked(database, settings):
    """Whatever is saved of one model, in the outbox."""
    settings.EVENTS_SOURCING = {"DELIVERY": "outbox"}
    settings.MODELS_CRUD_EVENT = [{"model": Anything, "track_changes": True}]
    return Anything.objects.using(database)


def headers(using):
    return list(LogEntry.objects.using(using).order_by("sequence").values_list("headers", flat=True))


def test_instance__of_all_kinds_of_fields__saved_unchanged__sends_nothing(database, tracked):
    """Neither as it was created, nor as it was read, nor with one in the place of another."""
    created = tracked.create(**FIELDS)
    created.save()
    for name, value in FIELDS.items():
        read = tracked.get()
        setattr(read, name, value)
        with CaptureQueriesContext(connections[database]) as queries:
            read.save()
        assert "INSERT" not in " ".join(query["sql"] for query in queries)
    assert headers(database) == ["{}"]


def test_each_field__changed__is_named(database, tracked):
    """By itself."""
    tracked.create(**FIELDS)
    for name, value in FIELDS.items():
        anything = tracked.get()
        setattr(anything, name, None if value is not None else "x")
        anything.save()
    assert headers(database)[1:] == [f'{{"event_changed": ["{name}"]}}' for name in FIELDS]


def test_save__rolled_back_and_repeated__is_told(database, tracked):
    """The row did not change, and now it does."""
    anything = tracked.create(text="a")
    anything.text = "b"
    with transaction.atomic(using=database):
        with transaction.atomic(using=database):
            anything.save()
            transaction.set_rollback(True, using=database)
        anything.save()
        anything.save()
    assert headers(database) == ["{}", '{"event_changed": ["text"]}']
