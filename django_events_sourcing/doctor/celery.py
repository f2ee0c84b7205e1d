"""Celery's broker, and the workers that answer over it."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from celery import Celery

from django_events_sourcing import __version__
from django_events_sourcing.conf import get_settings
from django_events_sourcing.delivery.celery_app import is_eager, project_app
from django_events_sourcing.delivery.enqueue import (
    PUBLISH_TASK,
    RELAY_TASK,
    REPORT,
    queue_length,
    queue_of,
)
from django_events_sourcing.delivery.untaken import MOST_UNTAKEN
from django_events_sourcing.delivery.waker import EXPIRES
from django_events_sourcing.doctor.findings import CLOCKS_DIFFER, Finding, Item, Level
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.tasks.neighbours import (
    ANSWER_WITHIN,
    can_ask_workers,
    queue_names,
    workers_without_tasks,
)
from django_events_sourcing.texts import without_passwords
from django_events_sourcing.uris import places

__all__ = ["examine_celery"]

_ONE_RELEASE = "Start both from one release, with the same settings; while one is rolled out, that is as it should be."


def examine_celery() -> Iterator[Finding]:
    """Whether tasks get to a worker that knows what to do with them."""
    try:
        app = project_app()
        task = RELAY_TASK if get_settings().delivery == "outbox" else PUBLISH_TASK
        queue = queue_of(task, app)
        if is_eager(app):
            problem = "CELERY_TASK_ALWAYS_EAGER is set: events are published where they are saved, without a worker."
            yield Finding(Item.CELERY, Level.WARNING, problem, "It is for tests: leave it out elsewhere.")
            return
        began = time.monotonic()
        length = 0 if queue is None else queue_length(queue, app)
    except ConfigurationError as exc:
        yield Finding(Item.CELERY, Level.FAILING, str(exc), "Then Celery's broker can be asked.")
        return
    except Exception as exc:  # noqa: BLE001 - whatever its transport raises
        problem = f"Celery's broker cannot be asked: {type(exc).__name__}: {without_passwords(exc)}"
        hint = "Start it, or correct CELERY_BROKER_URL. Until then events wait for the workers' sweep."
        yield Finding(Item.CELERY, Level.FAILING, problem, hint)
        return
    took = 1000 * (time.monotonic() - began)
    yield Finding(
        Item.CELERY, Level.OK, f"Celery's broker answers, in {took:.0f} ms; {length:,} tasks wait in {queue!r}."
    )
    if length >= MOST_UNTAKEN:
        problem = f"{length:,} tasks wait in Celery's queue {queue!r}: wake-ups come late, or nobody takes it."
        yield Finding(Item.CELERY, Level.WARNING, problem, f"Let more workers take it: celery worker -Q {queue}.")
    yield from _workers(app, queue)


def _workers(app: Celery, queue: str | None) -> Iterator[Finding]:
    with app.connection_for_write() as connection:
        can_ask = can_ask_workers(app, connection)
    if not can_ask:
        problem = "Workers cannot be asked: Celery's broker cannot do that, or worker_enable_remote_control is off."
        hint = "`manage.py events status` says which workers look for events."
        yield Finding(Item.WORKER, Level.WARNING, problem, hint)
        return
    inspect = app.control.inspect(timeout=ANSWER_WITHIN)
    asked: dict[str, Callable[[], Any]] = {
        "reports": lambda: app.control.broadcast(REPORT, reply=True, timeout=ANSWER_WITHIN),
        "tasks": inspect.registered,
        "queues": inspect.active_queues,
    }
    with ThreadPoolExecutor(len(asked)) as threads:
        futures = {name: threads.submit(ask) for name, ask in asked.items()}
        answers = {name: future.result() for name, future in futures.items()}
    reports = {name: report for each in answers["reports"] or () for name, report in each.items()}
    queues = queue_names(answers["queues"])
    names = sorted(queues.keys() | reports.keys())
    if not names:
        problem = f"No worker has answered within {ANSWER_WITHIN:g} s: events wait until one runs."
        yield Finding(Item.WORKER, Level.FAILING, problem, "Start one: celery -A PROJECT worker; or see why it hangs.")
        return
    takers = [name for name in names if queue in queues.get(name, ())]
    if not takers:
        takes = "; ".join(f"{name} takes {', '.join(sorted(queues.get(name, ())))}" for name in names)
        problem = f"No worker takes Celery's queue {queue!r}, which the library's tasks go to: {takes}."
        hint = f"Start one with -Q {queue}, or set EVENTS_SOURCING['QUEUE'] to a queue that one takes."
        yield Finding(Item.WORKER, Level.FAILING, problem, hint)
    lacking = workers_without_tasks(answers["tasks"] or {}, queues, {queue})
    for name in takers:
        if missing := lacking.get(name):
            yield Finding(
                Item.WORKER,
                Level.FAILING,
                f"{name} takes Celery's queue {queue!r}, and lacks the tasks {', '.join(missing)}: it throws wake-ups, "
                "and events of the delivery 'direct', away.",
                "Start it with this version of the project, with django_events_sourcing in INSTALLED_APPS; or end it.",
            )
        elif "version" not in (reports.get(name) or {}):
            problem = f"{name} does not say how it is: it has an older version of the library than this process."
            yield Finding(Item.WORKER, Level.WARNING, problem, _ONE_RELEASE)
    for name, report in reports.items():
        if "version" in report:
            yield from _worker(name, report)


def _worker(name: str, report: dict[str, Any]) -> Iterator[Finding]:
    problems = [*_differences(name, report), *_clock(name, report)]
    for problem in report["problems"]:
        hint = "Its log says more. Restart it: that loses nothing."
        problems.append(Finding(Item.WORKER, Level.FAILING, f"{name}: {problem}.", hint))
    yield from problems
    if not problems:
        yield Finding(Item.WORKER, Level.OK, f"{name} answers, with version {report['version']}; its relays are alive.")


def _differences(name: str, report: dict[str, Any]) -> Iterator[Finding]:
    settings = get_settings()
    ours = {
        "version": __version__,
        "delivery": settings.delivery,
        "rabbitmq": places(settings.nameko_config.get("AMQP_URI")),
    }
    called = {"version": "the library's version", "delivery": "DELIVERY", "rabbitmq": "RabbitMQ"}
    for key, here in ours.items():
        there = report.get(key, here)
        if there != here:
            problem = f"{name} has another {called[key]} than this process: {_plain(there)}, and not {_plain(here)}."
            yield Finding(Item.WORKER, Level.WARNING, problem, _ONE_RELEASE)


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _clock(name: str, report: dict[str, Any]) -> Iterator[Finding]:
    # The answer is up to a broadcast's time old.
    behind = time.time() - float(report["time"])
    if -CLOCKS_DIFFER <= behind <= CLOCKS_DIFFER + ANSWER_WITHIN:
        return
    level = Level.FAILING if abs(behind) > EXPIRES else Level.WARNING
    drops = f"; above {EXPIRES:.0f} s it drops wake-ups as too old" if behind < 0 else ""
    yield Finding(
        Item.WORKER,
        level,
        f"The clock of {name} is {abs(behind):.0f} s {'behind' if behind > 0 else 'ahead of'} that of this machine: "
        f"how long events take is measured wrongly{drops}.",
        "Have both follow NTP.",
    )
