"""A log as a project may have it that forgets nothing: each record, and of errors what an error reporter would send.

Such a reporter sends the locals of all frames, of whatever library they are, and of the errors that led to it.
"""

import logging
import sys
from traceback import walk_tb

__all__ = ["Reporter"]

# Of one value, in characters.
_MOST = 20_000


class Reporter(logging.StreamHandler):
    """Writes them to the standard output, each line with the logger's name before it."""

    def __init__(self):
        super().__init__(sys.stdout)

    def format(self, record):
        lines = [super().format(record), f"args {record.args!r}"]
        exc = record.exc_info[1] if record.exc_info else None
        while exc is not None:
            lines += [
                f"{frame.f_code.co_qualname}: {name} = {_repr(value)}"
                for frame, _ in walk_tb(exc.__traceback__)
                for name, value in frame.f_locals.items()
            ]
            exc = exc.__cause__ or exc.__context__
        return "\n".join(f"{record.name}| {line}" for line in "\n".join(lines).splitlines())


def _repr(value):
    try:
        return repr(value)[:_MOST]
    except Exception as exc:  # noqa: BLE001 - of a half-made object
        return f"({type(exc).__name__})"
