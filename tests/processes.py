"""Processes that tests start: a Celery worker, a nameko service, Django scripts."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

__all__ = ["pause", "run", "running", "wait_until"]

_Result = TypeVar("_Result")

_ROOT = Path(__file__).parent.parent


def wait_until(happened: Callable[[], _Result], what: str, within: float = 30) -> _Result:
    """What ``happened`` returns once it is true; ``what`` is what the failure says did not happen."""
    deadline = time.monotonic() + within
    while not (result := happened()):
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.05)
    return result


def pause(seconds: float) -> None:
    """Let time go by, where nothing but that is waited for."""
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > seconds, f"{seconds} s", seconds + 5)


def run(command: Sequence[str | Path], env: Mapping[str, str], cwd: Path = _ROOT) -> str:
    """Run ``command`` to its end and return what it printed; it must succeed."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def running(
    command: Sequence[str | Path], ready: str, log: Path, env: Mapping[str, str], cwd: Path = _ROOT
) -> Iterator[subprocess.Popen[bytes]]:
    """``command`` as a process in the background; entered when its log, which holds all it prints, says ``ready``."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=cwd, env=env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        wait_until(
            lambda: ready in log.read_text() or process.poll() is not None,
            f"{ready!r} in the log of {command}:\n{log.read_text()}",
        )
        assert process.poll() is None, f"{command} ended with {process.returncode}:\n{log.read_text()}"
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    _signal(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    # Also when it ended by itself: its children may not have. A nameko service whose broker has died outlives SIGTERM.
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
