import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from types import FrameType

STOPPED_WITHIN = 5.0


class WaitedInVainError(Exception):
    """Something did not happen, or not in time; the message says what."""


class Processes:
    """Child processes, and what they say, in the order in which they say it."""

    def __init__(self, folder: Path, env: dict[str, str], lasting: set[str], hear: Callable[[str, str], None]) -> None:
        """The processes run in ``folder``; the end of one that is ``lasting`` ends every wait."""
        self._folder = folder
        self.env = env
        self._lasting = lasting
        self.logs: dict[str, list[str]] = {}
        self._hear = hear
        self._running: dict[str, subprocess.Popen[str]] = {}
        # A line, the end of a process (None) or the number of a signal. A simple queue, as signal handlers may put.
        self._news: SimpleQueue[tuple[str, str | None] | int] = SimpleQueue()

    def start(self, name: str, *command: str | Path) -> None:
        process = subprocess.Popen(  # noqa: S603 - our own commands
            command,
            cwd=self._folder,
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
                news = self._news.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise WaitedInVainError(f"Waited {within:.0f} s for {what}, in vain.") from None
            if isinstance(news, int):
                sys.exit(128 + news)
            name, line = news
            if line is not None:
                self.logs[name].append(line)
                self._hear(name, line)
            elif name not in self._running:
                continue  # killed
            elif (code := self._running[name].wait()) or name in self._lasting:
                raise WaitedInVainError(f"Waiting for {what}: the process {name!r} ended with exit code {code}.")

    def interrupt(self, signal_number: int, _frame: FrameType | None) -> None:
        self._news.put(signal_number)

    def said(self, name: str, pattern: str) -> re.Match[str] | None:
        return next((found for line in self.logs[name] if (found := re.search(pattern, line))), None)

    def ended(self, name: str) -> bool:
        return self._running[name].poll() == 0

    def press_enter(self, name: str) -> None:
        stdin = self._running[name].stdin
        with suppress(BrokenPipeError):  # it has ended, and the next wait finds out
            stdin.write("\n")
            stdin.flush()

    def kill(self, name: str) -> None:
        """End it with -9, its children too; nothing of it is tidied up."""
        process = self._running.pop(name)
        _signal(process, signal.SIGKILL)
        process.wait()

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
            self._news.put((name, line.rstrip()))
        self._news.put((name, None))


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
