#!/usr/bin/env python
"""The example project, run for real: Django saves, a Celery worker publishes, a nameko service handles.

    python example_project/demo.py

It needs no server: one embedded Redis, in a process of its own, is the broker of both Celery and nameko. With
REDIS_URL in the environment Celery uses that server, with AMQP_URI the events do. On a server that others use too it
meets nobody's messages: the shop's service name and Celery's queue are made up for each run and deleted after it.

In the last step the worker is killed with -9 in the middle of a burst of saves, which goes on without one; another is
started, and what has piled up is handled: each event once, or again under the same id, and in order.

This process only starts the others, shows what they say, and compares what Django left in the outbox with what the
service handled.
"""

import inspect
import os
import re
import signal
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from uuid import uuid4
from warnings import catch_warnings

try:
    import fakeredis  # noqa: F401
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
except ImportError as exc:
    sys.exit(f"{exc}. The demo needs its extra: pip install 'django-events-sourcing[demo]'")

from amqp.exceptions import AMQPError
from kombu import Connection, Exchange, Queue
from kombu.exceptions import KombuError
from kombu.utils.url import maybe_sanitize_url
from redis import RedisError

from demo_parts.processes import Processes, WaitedInVainError

PROJECT = Path(__file__).resolve().parent
NAMEKO = Path(sysconfig.get_path("scripts")) / "nameko"

READY_WITHIN = 60.0
STEP_WITHIN = 20.0
CLEANED_WITHIN = 5.0

# A step with more events than this is one in whose middle the worker is killed.
BURST = 10

COLOURS = {"django": "green", "worker": "yellow", "worker 2": "yellow", "warehouse": "cyan"}
LASTING = {"broker", "worker", "worker 2", "warehouse"}


@dataclass
class Step:
    """One thing that Django did. An event is written as both sides say it: name, id and object."""

    deed: str
    expected: list[str]
    sent: list[str] = field(default_factory=list)
    done: bool = False

    @property
    def is_burst(self) -> bool:
        return len(self.expected) > BURST


def _names(said: str) -> list[str]:
    if burst := re.fullmatch(r"(\d+) x (\S+)", said):
        return [burst[2]] * int(burst[1])
    return [] if said == "nothing" else said.split(", ")


class Story:
    """What was heard: the events that Django left in the outbox in each step, and those that the service handled."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.handled: dict[str, str] = {}  # in the order in which each came first
        self.again: list[str] = []

    def hear(self, name: str, line: str) -> None:
        if name == "django":
            self._hear_django(line)
        elif name == "warehouse" and (said := re.fullmatch(r"handled (\S+ \S+ of \S+): (.+)", line)):
            if said[1] in self.handled:
                self.again.append(said[1])
            self.handled.setdefault(said[1], said[2])

    def _hear_django(self, line: str) -> None:
        if said := re.fullmatch(r"step \d+: (.+) -> (.+)", line):
            self.steps.append(Step(said[1], _names(said[2])))
        elif said := re.match(r"event (\S+ \S+ of \S+)", line):
            self.steps[-1].sent.append(said[1])
        elif line == "done":
            self.steps[-1].done = True

    def arrived(self, step: Step) -> bool:
        return step.done and len(step.sent) >= len(step.expected) and self.handled.keys() >= set(step.sent)

    def is_right(self, step: Step) -> bool:
        names = [event.split()[0] for event in step.sent]
        return self.arrived(step) and names == step.expected and self.is_in_order(step)

    def is_in_order(self, step: Step) -> bool:
        """For each object; between objects there is no order to keep."""

        def by_object(events: list[str]) -> list[str]:
            return sorted(events, key=lambda event: event.split()[-1])  # a stable sort

        return by_object([event for event in self.handled if event in step.sent]) == by_object(step.sent)

    def strangers(self) -> list[str]:
        """What the service handled although it was never in the outbox, such as an event of a rollback."""
        known = {event for step in self.steps for event in step.sent}
        return [event for event in self.handled if event not in known]


class Demo:
    def __init__(self, console: Console, folder: str) -> None:
        self.console = console
        self.story = Story()
        self.name = f"shop-demo-{uuid4().hex[:8]}"
        self.redis_url = os.environ.get("REDIS_URL")
        self.amqp_uri = os.environ.get("AMQP_URI")
        env = os.environ | {
            "DJANGO_SETTINGS_MODULE": "shop_project.settings",
            "SHOP_DATABASE": str(Path(folder) / "shop.sqlite3"),
            "SHOP_SERVICE_NAME": self.name,
            "SHOP_CELERY_QUEUE": self.name,
            "SHOP_SWEEP_INTERVAL": "2",
            "SHOP_LEASE": "3",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONIOENCODING": "utf-8",
            "PYTHONUNBUFFERED": "1",
            # nameko's command line complains that pkg_resources and eventlet are old
            "PYTHONWARNINGS": "ignore::Warning:nameko.cli.main,ignore::Warning:nameko.cli.commands",
        }
        self.processes = Processes(PROJECT, env, LASTING, self.hear)

    def hear(self, name: str, line: str) -> None:
        self.story.hear(name, line)
        if self.story.steps and self.story.steps[-1].is_burst and not line.startswith("step"):
            return
        if name == "worker" and "django_events_sourcing.relay[" not in line:
            return
        if name in COLOURS and line != "done":
            self.show(name, re.sub(r"^\[.*?\] ", "", line))

    def show(self, name: str, line: str) -> None:
        text = Text.assemble((f"{name:>9} | ", COLOURS.get(name, "bold")), line)
        self.console.print(text, soft_wrap=True)

    def start(self) -> None:
        self._find_brokers()
        self.processes.env |= {"REDIS_URL": self.redis_url, "AMQP_URI": self.amqp_uri}
        self.show("demo", f"Celery's broker is {maybe_sanitize_url(self.redis_url)}")
        self.show("demo", f"events go through  {maybe_sanitize_url(self.amqp_uri)}")
        if "AMQP_URI" not in os.environ:
            self.processes.env["SHOP_VIRTUAL_TRANSPORT"] = "1"
            self.show("demo", "which is no RabbitMQ, but kombu playing one: good for a look, not for events that count")
        starting = {
            "migrate": (sys.executable, "manage.py", "migrate"),
            "worker": self._worker("worker-1"),
            "warehouse": (NAMEKO, "run", "--config", "warehouse/nameko.yaml", "warehouse.service"),
        }
        for name, command in starting.items():
            self._start(name, *command)
        # A message that no queue is bound for is gone, so nothing is saved before the service's queues are.
        ready = {
            "the SQLite database is migrated": lambda: self.processes.ended("migrate"),
            "the Celery worker is ready": lambda: self.processes.said("worker", r" ready\.$"),
            "the nameko service listens": lambda: self.processes.said("warehouse", "^services started"),
        }
        for what, happened in ready.items():
            self.processes.wait_until(happened, f"the news that {what}", READY_WITHIN)
            self.show("demo", what)

    def run(self) -> None:
        self.processes.start("django", sys.executable, "manage.py", "demo_steps", "--pause")
        for number, step in enumerate(self._steps(), start=1):
            if step.is_burst:
                self._kill_the_worker(step)
            arrived = partial(self.story.arrived, step)
            self.processes.wait_until(arrived, f"the events of step {number} to be handled", STEP_WITHIN)
            self.processes.press_enter("django")

    def _worker(self, name: str) -> tuple[str, ...]:
        celery = (
            sys.executable,
            "-m",
            "celery",
            "-A",
            "shop_project",
            "worker",
            "--hostname",
            f"{self.name}-{name}@%h",
        )
        return (*celery, "--concurrency", "1", "--loglevel", "INFO", "--without-gossip", "--without-mingle")

    def _start(self, name: str, *command: str | Path) -> None:
        self.show("demo", "starting: " + " ".join([Path(command[0]).name, *map(str, command[1:])]))
        self.processes.start(name, *command)

    def _kill_the_worker(self, step: Step) -> None:
        before = len(self.story.handled)
        self.processes.wait_until(
            lambda: len(self.story.handled) >= before + BURST, f"the first {BURST} events of the burst", STEP_WITHIN
        )
        self.processes.kill("worker")
        self.show("demo", f"killed the worker with -9, {len(self.story.handled) - before} events were handled by then")
        self.processes.wait_until(lambda: step.done, "the end of the burst", STEP_WITHIN)
        handled = sum(event in self.story.handled for event in step.sent)
        self.show("demo", f"Django saved all the same: {len(step.sent) - handled} of {len(step.sent)} events wait")
        self._start("worker 2", *self._worker("worker-2"))

    def table(self) -> Table:
        table = Table(title="What Django did, and what became of it", title_justify="left")
        for heading in ("", "Django did", "event in the outbox", "the nameko service handled", ""):
            table.add_column(heading)
        for number, step in enumerate(self.story.steps, start=1):
            first = (str(number), step.deed)
            mark = Text("✓", "green") if self.story.is_right(step) else Text("✗", "bold red")
            if step.is_burst:
                table.add_row(*first, f"{len(step.sent)} x {step.expected[0]}", self._summary(step), mark)
                continue
            for event in step.sent:
                name, event_id, *_ = event.split()
                table.add_row(*first, f"{name} …{event_id[-8:]}", self.story.handled.get(event, "-"), mark)
                first = ("", "")
            if not step.sent:
                nothing = "-" if step.expected else "nothing, as it must be"
                table.add_row(*first, nothing, nothing, mark)
        return table

    def _summary(self, step: Step) -> str:
        handled = sum(event in self.story.handled for event in step.sent)
        again = sum(event in step.sent for event in self.story.again)
        order = "in order" if self.story.is_in_order(step) else "out of order"
        return f"{handled} of them, {order}; {again} came again, under the same id"

    def problems(self) -> list[str]:
        wrong = [
            f"Step {number} ({step.deed}): expected {', '.join(step.expected) or 'nothing'}; "
            f"in the outbox {', '.join(step.sent) or 'nothing'}; "
            f"not handled: {', '.join(event for event in step.sent if event not in self.story.handled) or 'none'}"
            f"{'' if self.story.is_in_order(step) else '; handled out of order'}."
            for number, step in enumerate(self.story.steps, start=1)
            if not self.story.is_right(step)
        ]
        return wrong + [
            f"The service handled what was never in the outbox: {event}." for event in self.story.strangers()
        ]

    def stop(self) -> None:
        self.processes.stop("django", "migrate", "worker", "worker 2", "warehouse")
        with suppress(OSError, RedisError, AMQPError, KombuError):
            self._delete_queues()
        self.processes.stop("broker")

    def _find_brokers(self) -> None:
        if self.redis_url and self.amqp_uri:
            return
        self.processes.start("broker", sys.executable, "demo_parts/embedded_broker.py")
        self.processes.wait_until(
            lambda: self.processes.said("broker", r"port (\d+)"), "the embedded broker", READY_WITHIN
        )
        port = self.processes.said("broker", r"port (\d+)")[1]
        self.redis_url = self.redis_url or f"redis://127.0.0.1:{port}/0"
        self.amqp_uri = self.amqp_uri or f"redis://127.0.0.1:{port}/1"

    def _steps(self) -> Iterator[Step]:
        for known in count():
            self.processes.wait_until(partial(self._goes_on, known), f"step {known + 1}", STEP_WITHIN)
            if len(self.story.steps) == known:
                return
            yield self.story.steps[known]

    def _goes_on(self, known: int) -> bool:
        return len(self.story.steps) > known or self.processes.ended("django")

    def _delete_queues(self) -> None:
        """Leave nothing on a server of the user's own."""
        if "REDIS_URL" in os.environ:
            _delete(self.redis_url, [Queue(self.name, Exchange(self.name), self.name)])
        if "AMQP_URI" in os.environ:
            with catch_warnings(action="ignore"):  # eventlet's, of its age
                from warehouse.service import Warehouse  # noqa: PLC0415 - loads nameko, needed only here

            events = Exchange(f"{self.name}.events", "topic")
            queues = [
                Queue(f"evt-{self.name}-{handler.event_type}--warehouse.{method}", events, handler.event_type)
                for method, function in inspect.getmembers(Warehouse, inspect.isfunction)
                for handler in getattr(function, "nameko_entrypoints", ())
            ]
            _delete(self.amqp_uri, queues)


def _delete(url: str, queues: list[Queue]) -> None:
    with Connection(url, connect_timeout=CLEANED_WITHIN) as connection:
        channel = connection.default_channel
        for queue in queues:
            queue(channel).declare()  # on Redis kombu deletes only bindings that it declared itself
            queue(channel).delete()
        queues[0].exchange(channel).delete()


def main() -> int:
    sys.stdout.reconfigure(encoding="utf-8")
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="shop-demo-") as folder:
        demo = Demo(console, folder)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, demo.processes.interrupt)
        try:
            demo.start()
            demo.run()
            problems = demo.problems()
        except WaitedInVainError as exc:
            problems = [str(exc), *demo.problems()]
        finally:
            demo.stop()
    if problems:
        for name, log in demo.processes.logs.items():
            console.rule(f"log of {name}")
            for line in log:
                console.print(line, markup=False, soft_wrap=True)
        console.rule()
    if demo.story.steps:
        console.print(demo.table())
    for problem in problems:
        console.print(problem, style="bold red", markup=False)
    if not problems:
        console.print(f"All {len(demo.story.steps)} steps as they must be, in {time.monotonic() - began:.0f} s.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
