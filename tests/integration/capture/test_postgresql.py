"""What only PostgreSQL has, and takes in more than one form."""

import io
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.core.management import call_command
from django.db import connections
from django.db.backends.postgresql.psycopg_any import DateRange, DateTimeTZRange, NumericRange, is_psycopg3
from django.test.utils import CaptureQueriesContext

from django_events_sourcing.operating.status import status
from tests.integration.conftest import connect
from tests.project.models import Anything, Booking, Row

MONDAY, TUESDAY, WEDNESDAY = date(2026, 1, 5), date(2026, 1, 6), date(2026, 1, 7)
EIGHT, NINE = datetime(2026, 1, 5, 8, tzinfo=UTC), datetime(2026, 1, 5, 9, tzinfo=UTC)


def days(lower, upper, bounds="[)"):
    """As Django writes a range to a fixture, which is what the default serializer gives out."""
    return json.dumps({"bounds": bounds, "lower": lower, "upper": upper})


# What stands on the instance, and what the body holds.
VALUES = {
    "days, tuple": ("period", (MONDAY, TUESDAY), days("2026-01-05", "2026-01-06")),
    "days, list": ("period", [MONDAY, TUESDAY], days("2026-01-05", "2026-01-06")),
    "days, texts": ("period", ("2026-01-05", "2026-01-06"), days("2026-01-05", "2026-01-06")),
    "days, closed": ("period", DateRange(MONDAY, TUESDAY, "[]"), days("2026-01-05", "2026-01-07")),
    "days, no end": ("period", (MONDAY, None), days("2026-01-05", None)),
    "days, text": ("period", "[2026-01-05,2026-01-06)", days("2026-01-05", "2026-01-06")),
    "days, none at all": ("period", (MONDAY, MONDAY), '{"empty": true}'),
    "numbers, open": ("numbers", NumericRange(1, 3, "()"), days("2", "3")),
    "numbers, texts": ("numbers", ("1", "3"), days("1", "3")),
    "hours": ("hours", [EIGHT, NINE], days("2026-01-05T08:00:00+00:00", "2026-01-05T09:00:00+00:00")),
    "hours, from ever": ("hours", DateTimeTZRange(None, NINE, "[]"), days(None, "2026-01-05T09:00:00+00:00", "(]")),
    "array, of another type": ("dates", (EIGHT, "2026-01-06"), ["2026-01-05", "2026-01-06"]),
    "array, text": ("dates", "{2026-01-05,2026-01-06}", ["2026-01-05", "2026-01-06"]),
    "duration, text": ("duration", "01:00:00", "01:00:00"),
    "duration, in words": ("duration", "1 hour 30 minutes", "01:30:00"),
}
if not is_psycopg3:
    del VALUES["numbers, texts"]  # which psycopg 2 makes no SQL of


@pytest.mark.parametrize("case", VALUES)
def test_value__of_another_type__as_after_a_reload(postgresql, register, handed_over, case):
    """The first save, one after a reload, and the delete have the same body; the instance keeps its value."""
    register(Booking)
    name, given, expected = VALUES[case]
    booking = Booking(**{name: given})
    booking.save(using=postgresql)
    assert getattr(booking, name) is given
    Booking.objects.using(postgresql).get().save()
    booking.delete()
    assert [event.data[name] for event in handed_over] == [expected] * 3


def test_decimal__with_more_places__rounded_as_postgresql_does(postgresql, register, handed_over):
    """A half is rounded away from zero there, not to the even neighbour."""
    register(Anything)
    for number in ("1.245", "-1.245", "1.255"):
        Anything(decimal=Decimal(number)).save(using=postgresql)
    for anything in Anything.objects.using(postgresql).order_by("pk"):
        anything.save()
    decimals = [event.data["decimal"] for event in handed_over]
    assert decimals == ["1.25", "-1.25", "1.26"] * 2


def test_generated_field__recorded_as_computed(postgresql, register, handed_over):
    """After an update, with update_fields, and in a delete."""
    register(Row)
    row = Row(price=2, pieces=3)
    row.save(using=postgresql)
    row.pieces = 10
    row.save()
    row.price = 3
    row.save(update_fields=["price"])
    row.delete()
    assert [event.data["total"] for event in handed_over] == [6, 20, 30, 30]


def test_values_of_the_right_types__no_query(postgresql, register, handed_over):
    """Nothing is read back."""
    register(Booking)
    with CaptureQueriesContext(connections[postgresql]) as queries:
        Booking(period=DateRange(MONDAY, WEDNESDAY), dates=[MONDAY], duration=timedelta(1)).save(using=postgresql)
    assert len(queries) == 1


def test_status__while_somebody_keeps_a_transaction_open__names_the_session(postgresql_alias, django_db_blocker):
    """It keeps dead rows from being vacuumed; whoever ran the command is not meant."""
    with django_db_blocker.unblock():
        before = status(postgresql_alias).oldest_transaction
        with connect(postgresql_alias, application_name="report") as other:
            pid = other.info.backend_pid
            other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            other.execute("SELECT txid_current(), count(*) FROM django_events_sourcing_queue")
            found = status(postgresql_alias).oldest_transaction
            output = io.StringIO()
            call_command("events", "status", "--database", postgresql_alias, stdout=output)
        connections[postgresql_alias].close()
    assert before is None
    assert found is not None
    assert f"pid {pid}, user postgres, application report" in found.holder
    assert "idle in transaction" in found.holder
    assert found.seconds is not None
    assert 0 <= found.seconds < 60
    shown = " ".join(output.getvalue().replace("│", " ").split())
    assert f"pid {pid}, user postgres, application report" in shown
