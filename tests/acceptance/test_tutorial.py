"""The tutorial, followed word for word in an empty folder: each file, each command, and what each is said to print."""

import os
import re
import shlex
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.processes import run, running, wait_until

TUTORIAL = (Path(__file__).parents[2] / "docs/tutorial.md").read_text()

#: Before which a newcomer's machine is not yet as ours.
INSTALLED = ("python -m venv", ". .venv", "pip install")

# A block of code, with the text before it.
_BLOCK = re.compile(r"(.*?)^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Newcomer:
    """Does what the tutorial says, with the servers of the tests.

    Args:
        folder: An empty one.
        servers: By what the tutorial calls them, those with a `start` and a `stop`.
        places: What stands in the tutorial for where they are, and where they are.
    """

    def __init__(self, folder, servers, places):
        self.folder, self._servers, self._places = folder, servers, places
        bin_folder = Path(sys.executable).parent
        self._env = {
            **{key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"},
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",  # as in a terminal
        }
        self._programs = ExitStack()
        self._logs = {}
        self.done = []

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._programs.__exit__(*exc_info)

    def follow(self, text):
        """All of it, from the top."""
        for before, kind, block in _BLOCK.findall(text):
            if kind == "python":
                self._write(before, block)
            elif kind == "console":
                self._type(block)
            else:  # what the service prints
                self._wait_for(block, partial(self._log, "nameko"), anywhere=True)

    def _write(self, before, code):
        name = re.findall(r"`([\w/]+\.py)`", before)[-1]
        file = self.folder / name
        adds = "at the end of" in before.splitlines()[-2]
        file.write_text((file.read_text() if adds else "") + self._placed(code))
        self.done.append(name)

    def _type(self, block):
        for command, said in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            self.done.append(command)
            words = shlex.split(self._placed(command))
            if command.startswith(INSTALLED):
                continue
            if words[0] == "docker":
                server = self._servers[words[-1]]
                {"run": lambda: None, "stop": server.stop, "start": server.start}[words[1]]()
            elif words[0] in {"celery", "nameko"}:
                self._start(words, said)
            else:
                self._wait_for(said, partial(self._run, words))

    def _start(self, words, said):
        log = self._logs[words[0]] = self.folder / f"{words[0]}.log"
        self._programs.enter_context(running(words, "", log, self._env, self.folder))
        self._wait_for(said, partial(self._log, words[0]), anywhere=True)

    def _wait_for(self, said, printed, *, anywhere=False):
        last: list[str] = []

        def is_printed():
            last[:] = [printed()]
            return matches(said, last[0], anywhere=anywhere)

        try:
            wait_until(is_printed, said, 60)
        except AssertionError as exc:
            exc.add_note(f"It was: {last[0]}")
            raise

    def _run(self, words):
        return run(["sh", "-c", 'exec "$@" 2>&1', "sh", *words], self._env, self.folder)

    def _log(self, program):
        return self._logs[program].read_text()

    def _placed(self, text):
        for said, place in self._places.items():
            text = text.replace(said, place)
        return text


def matches(said, printed, *, anywhere=False):
    """Whether that was printed; "…" stands for anything, and lines may be broken elsewhere."""
    parts = [r"\s+".join(map(re.escape, part.split())) for part in said.split("…")]
    pattern = re.compile(r"\s*.*?\s*".join(parts) + ("" if anywhere else r"\s*\Z"), re.DOTALL)
    return (pattern.search if anywhere else pattern.match)(printed.strip()) is not None


@pytest.fixture
def rabbitmq(rabbitmq_proc):
    """It is running again afterwards."""
    yield rabbitmq_proc
    if not rabbitmq_proc.running():
        rabbitmq_proc.start()


def test_tutorial__followed_word_for_word__all_is_as_it_says(tmp_path, redis_proc, rabbitmq):
    """From an empty folder to the event that outlives an outage."""
    places = {
        "amqp://guest:guest@localhost:5672/": f"amqp://guest:guest@localhost:{rabbitmq.port}/",
        "redis://localhost:6379/0": f"redis://localhost:{redis_proc.port}/5",
    }
    with Newcomer(tmp_path, {"redis": redis_proc, "rabbitmq": rabbitmq}, places) as newcomer:
        newcomer.follow(TUTORIAL)
    assert len(newcomer.done) == 27
