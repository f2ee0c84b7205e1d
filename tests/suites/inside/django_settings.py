"""Settings of Django's own test suite, and what the library needs beside them."""

from test_sqlite import *  # type: ignore[import-not-found]  # noqa: F403 - Django's own file

SERVICE_NAME = "suite"
AMQP_URI = "memory://"
MODELS_CRUD_EVENT: list[dict[str, object]] = []
TEST_RUNNER = "outcomes.Runner"
EVENTS_SOURCING = {"BYPASS": "raise"}  # no alarm is a false one
