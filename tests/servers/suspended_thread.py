"""Suspending one thread of a process whose others go on, as a debugger does (ptrace(2))."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["suspended_thread"]

_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17
_WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


@contextmanager
def suspended_thread(number: int) -> Iterator[None]:
    """Within it the thread that the system knows by that number stands still."""
    _ptrace(_SEIZE, number)
    try:
        _ptrace(_INTERRUPT, number)
        os.waitpid(number, _WALL)
        yield
    finally:
        _ptrace(_DETACH, number)


def _ptrace(request: int, number: int) -> None:
    if _libc.ptrace(request, number, None, None) == -1:
        raise OSError(ctypes.get_errno(), f"ptrace({request}, {number}): {os.strerror(ctypes.get_errno())}")
