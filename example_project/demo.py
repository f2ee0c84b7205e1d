#!/usr/bin/env python
"""The example project, run for real: Django saves, a Celery worker publishes, a nameko service handles.

    python example_project/demo.py

It needs no server: one embedded Redis, in a process of its own, is the broker of both Celery and nameko. With
REDIS_URL in the environment Celery uses that server, with AMQP_URI the events do. On a server that others use too it
meets nobody's messages: the shop's service name and Celery's queue are made up for each run and deleted after it.

This process only starts the others, shows what they say, and compares what Django handed over with what the service
handled.
"""

import inspect
import os
import re
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from uuid import uuid4

try:
    import fakeredis  # noqa: F401
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
except ImportError as exc:
    sys.exit(f"{exc}. The demo needs its extra: pip install 'django-events-sourcing[demo]'")

from kombu import Connection
from kombu.utils.url import maybe_sanitize_url
from redis import Redis, RedisError

PROJECT = Path(__file__).resolve().parent
NAMEKO = Path(sysconfig.get_path("scripts")) / "nameko"

READY_WITHIN = 60.0
STEP_WITHIN = 20.0
STOPPED_WITHIN = 5.0

COLOURS = {"django": "green", "worker": "yellow", "warehouse": "cyan"}
LASTING = {"broker", "worker", "warehouse"}


class DemoError(Exception):
    """Something did not happen, or not in time; the message tells what."""


class Processes:
    """Child processes, and what they say, in the order in which they say it."""

    def __init__(self, env: dict[str, str], hear: Callable[[str, str], None]) -> None:
        self.env = env
        self.logs: dict[str, list[str]] = {}
        self._hear = hear
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._lines: Queue[tuple[str, str | None]] = Queue()

    def start(self, name: str, *command: str | Path) -> None:
        process = subprocess.Popen(  # noqa: S603 - our own commands
            command,
            cwd=PROJECT,
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches this process alone, which then ends the others
        )
        self._running[name] = process
        self.logs[name] = []
        Thread(target=self._read, args=(name, process), daemon=True).start()

    def wait_until(self, happened: Callable[[], object], what: str, within: float) -> None:
        deadline = time.monotonic() + within
        while not happened():
            try:
                name, line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise DemoError(f"{what}: did not happen within {within:.0f} s.") from None
            if line is not None:
                self.logs[name].append(line)
                self._hear(name, line)
            elif (code := self._running[name].wait()) or name in LASTING:
                raise DemoError(f"{what}: did not happen, as {name} ended with exit code {code}.")

    def said(self, name: str, pattern: str) -> re.Match[str] | None:
        return next((found for line in self.logs[name] if (found := re.search(pattern, line))), None)

    def ended(self, name: str) -> bool:
        return self._running[name].poll() == 0

    def press_enter(self, name: str) -> None:
        stdin = self._running[name].stdin
        with suppress(BrokenPipeError):  # it has ended, and the next wait tells
            stdin.write("\n")
            stdin.flush()

    def stop(self, *names: str) -> None:
        stopping = [self._running.pop(name) for name in names if name in self._running]
        for process in stopping:
            _signal(process, signal.SIGTERM)
        deadline = time.monotonic() + STOPPED_WITHIN
        for process in stopping:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            _signal(process, signal.SIGKILL)  # the whole group: its children may outlive it
            process.wait()

    def _read(self, name: str, process: subprocess.Popen[str]) -> None:
        for line in process.stdout:
            self._lines.put((name, line.rstrip()))
        self._lines.put((name, None))


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


@dataclass
class Step:
    """One thing that Django did. An event is written as both sides say it: name, id and object."""

    deed: str
    expected: list[str]
    sent: list[str] = field(default_factory=list)
    done: bool = False


class Story:
    """What was heard: the events that Django handed over in each step, and those that the service handled."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.handled: dict[str, str] = {}

    def hear(self, name: str, line: str) -> None:
        if name == "django":
            self._hear_django(line)
        elif name == "warehouse" and (said := re.fullmatch(r"handled (\S+ \S+ of \S+): (.+)", line)):
            self.handled[said[1]] = said[2]

    def _hear_django(self, line: str) -> None:
        if said := re.fullmatch(r"step \d+: (.+) -> (.+)", line):
            expected = [] if said[2] == "nothing" else said[2].split(", ")
            self.steps.append(Step(said[1], expected))
        elif said := re.match(r"event (\S+ \S+ of \S+)", line):
            self.steps[-1].sent.append(said[1])
        elif line == "done":
            self.steps[-1].done = True

    def arrived(self, step: Step) -> bool:
        return step.done and len(step.sent) >= len(step.expected) and self.handled.keys() >= set(step.sent)

    def is_right(self, step: Step) -> bool:
        return self.arrived(step) and [event.split()[0] for event in step.sent] == step.expected

    def strangers(self) -> list[str]:
        """What the service handled although Django never handed it over, such as an event of a rollback."""
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
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONIOENCODING": "utf-8",
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "ignore:pkg_resources is deprecated",  # nameko's command line uses it
        }
        self.processes = Processes(env, self.hear)

    def hear(self, name: str, line: str) -> None:
        self.story.hear(name, line)
        if name == "worker" and "django_events_sourcing.publish_event[" not in line:
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
        celery = (sys.executable, "-m", "celery", "-A", "shop_project")
        options = ("--concurrency", "1", "--loglevel", "INFO", "--without-gossip", "--without-mingle")
        starting = {
            "migrate": (sys.executable, "manage.py", "migrate"),
            "worker": (*celery, "worker", "--hostname", f"{self.name}@%h", *options),
            "warehouse": (NAMEKO, "run", "--config", "warehouse/nameko.yaml", "warehouse.service"),
        }
        for name, command in starting.items():
            self.show("demo", "starting: " + " ".join([Path(command[0]).name, *map(str, command[1:])]))
            self.processes.start(name, *command)
        # A message that no queue is bound for is gone, so nothing is saved before the service's queues are.
        ready = {
            "The SQLite database is migrated": lambda: self.processes.ended("migrate"),
            "The Celery worker is ready": lambda: self.processes.said("worker", r" ready\.$"),
            "The nameko service listens": lambda: self.processes.said("warehouse", "^services started"),
        }
        for what, happened in ready.items():
            self.processes.wait_until(happened, what, READY_WITHIN)
            self.show("demo", what)

    def run(self) -> None:
        self.processes.start("django", sys.executable, "manage.py", "demo_steps", "--pause")
        steps = self.story.steps
        for number in range(1, 100):
            self.processes.wait_until(
                lambda: self.processes.ended("django") or len(steps) == number, f"Step {number}", STEP_WITHIN
            )
