"""A TCP proxy in front of RabbitMQ or Redis, which does what networks do."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

__all__ = ["Proxy"]

# An AMQP frame: type, channel, size; then that many bytes, and one at its end.
_FRAME = struct.Struct(">BHL")
_METHOD_FRAME = 1
_BASIC_ACK = struct.pack(">HH", 60, 80)
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Listens on a port and forwards to another of 127.0.0.1; a context manager.

    Args:
        target: Where to.
        port: Its own port; 0 for a free one.
        is_amqp: Whether what passes are AMQP's frames.
        host: Where it listens.

    Attributes:
        port: Its own port.
        cuts: How many connections it has cut.
        swallowed: How many confirms it has not passed on.
    """

    def __init__(self, target: int, port: int = 0, *, is_amqp: bool = True, host: str = "127.0.0.1") -> None:
        self._is_amqp = is_amqp
        self._target = target
        self._listener = socket.create_server((host, port))
        self.port = int(self._listener.getsockname()[1])
        self.cuts = self.swallowed = 0
        self._flows = threading.Event()
        self._flows.set()
        self._swallows = False
        self._cut = threading.Semaphore(0)
        self._sockets: set[socket.socket] = set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Be gone: whoever is connected is reset, and whoever connects refused."""
        self._flows.set()
        for each in (self._listener, *self._sockets.copy()):
            _close(each)

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Within it nothing gets through; afterwards all that was sent does."""
        self._flows.clear()
        try:
            yield
        finally:
            self._flows.set()

    @contextmanager
    def without_confirms(self) -> Iterator[None]:
        """Within it no confirm gets through, nor ever will."""
        self._swallows = True
        try:
            yield
        finally:
            self._swallows = False

    def cut(self) -> None:
        """Break the connection over which a client sends next, in the middle of what it sends."""
        self._cut.release()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target))
                except ConnectionRefusedError:
                    _close(client)
                    continue
                self._sockets |= {client, server}
                self._pump(client, server, _as_it_is, self._cuts)
                passes = _Frames(self._passes).feed if self._is_amqp else _as_it_is
                self._pump(server, client, passes, lambda: False)

    def _pump(
        self,
        source: socket.socket,
        sink: socket.socket,
        pass_on: Callable[[bytes], bytes],
        cuts: Callable[[], bool],
    ) -> None:
        def run() -> None:
            with suppress(OSError):  # one of the two sides has gone
                while data := source.recv(65536):
                    self._flows.wait()
                    if cuts():
                        sink.sendall(data[: len(data) // 2])
                        break
                    sink.sendall(pass_on(data))
            for each in (source, sink):
                _close(each)

        threading.Thread(target=run, daemon=True).start()

    def _cuts(self) -> bool:
        is_cut = self._cut.acquire(blocking=False)
        self.cuts += is_cut
        return is_cut

    def _passes(self, frame: bytes) -> bool:
        is_confirm = frame[0] == _METHOD_FRAME and frame[_FRAME.size :].startswith(_BASIC_ACK)
        self.swallowed += is_confirm and self._swallows
        return not (is_confirm and self._swallows)


class _Frames:
    """What a server sends, whole frames of it: those that may pass."""

    def __init__(self, passes: Callable[[bytes], bool]) -> None:
        self._passes = passes
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        data = self._rest + data
        passed, at = [], 0
        while len(data) - at >= _FRAME.size:
            end = at + _FRAME.size + _FRAME.unpack_from(data, at)[2] + 1
            if end > len(data):
                break
            frame = data[at:end]
            if self._passes(frame):
                passed.append(frame)
            at = end
        self._rest = data[at:]
        return b"".join(passed)


def _as_it_is(data: bytes) -> bytes:
    return data


def _close(each: socket.socket) -> None:
    """With a reset, which wakes also the thread that waits for its data."""
    with suppress(OSError):
        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        each.shutdown(socket.SHUT_RDWR)
    each.close()
