"""For suites that pytest runs: writes each outcome into the file OUTCOMES; with REGISTERED, registers all models."""

import json
import os
from pathlib import Path
from typing import Any

import django
from registering import LIBRARY, register_every_model  # type: ignore[import-not-found]

REGISTERED = bool(os.environ.get("REGISTERED"))

outcomes: dict[str, str] = {}
set_up = django.setup


def set_up_with_the_library(*args: Any, **kwargs: Any) -> None:
    from django.conf import settings

    settings.INSTALLED_APPS = [
        *settings.INSTALLED_APPS,
        *(app for app in LIBRARY if app not in settings.INSTALLED_APPS),
    ]
    settings.SERVICE_NAME, settings.AMQP_URI, settings.MODELS_CRUD_EVENT = "suite", "memory://", []
    set_up(*args, **kwargs)


if REGISTERED:
    django.setup = set_up_with_the_library


def pytest_collection_finish() -> None:
    if REGISTERED:
        register_every_model()


def pytest_runtest_logreport(report: Any) -> None:
    if report.outcome != "passed":
        line = str(report.longrepr.reprcrash.message if hasattr(report.longrepr, "reprcrash") else report.longrepr)
        outcomes[report.nodeid] = "skipped" if report.skipped else line.splitlines()[0]
    elif report.when == "call":
        outcomes.setdefault(report.nodeid, "passed")


def pytest_sessionfinish() -> None:
    Path(os.environ["OUTCOMES"]).write_text(json.dumps(outcomes, indent=1))
