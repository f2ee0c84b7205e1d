"""``manage.py events relay`` as an operator runs it, and stops it."""

import signal
import subprocess
import sys

import pytest

from tests.acceptance.conftest import connect
from tests.processes import run, wait_until

RELAY = [sys.executable, "-m", "django", "events", "relay", "--database", "default"]
SAVES = """
product = Product.objects.create(name=0, price=1)
with transaction.atomic():
    for number in range(1, 2000):
        product.name = number
        product.save()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_relay__stopped_by_a_signal__leaves_nothing_half_done(system, database, number):
    """It ends with one line and exit code 1; what is left is pending, free, and goes on where it was."""
    with system.service():
        system.django(SAVES)
        with connect(database) as connection:

            def count(query):
                return next(connection.execute(query))[0]

            relay = subprocess.Popen(RELAY, env=system.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            wait_until(lambda: count("SELECT count(*) FROM django_events_sourcing_queue") < 2000, "some are published")
            relay.send_signal(number)
            _, errors = relay.communicate(timeout=30)
            assert (relay.returncode, errors.count("\n")) == (1, 1)
            assert "Stopped" in errors
            assert 0 < count("SELECT count(*) FROM django_events_sourcing_queue") < 2000
            assert count("SELECT count(owner) FROM django_events_sourcing_partition") == 0
        run(RELAY, system.env)
        handled = system.wait_for(2000)
        assert [entry["data"]["name"] for entry in handled] == [str(number) for number in range(2000)]
        sequences = [entry["event_sequence"] for entry in handled]
        assert sequences == sorted(set(sequences))
