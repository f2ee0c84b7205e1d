"""Clients of a web server, as many as are wanted at a time."""

import asyncio
import time

__all__ = ["load"]


def load(port: int, path: str, clients: int, seconds: float) -> list[float]:
    """How long each request took, in seconds, that clients made for so long, each one after the other."""
    return asyncio.run(_load(port, path, clients, seconds))


async def _load(port: int, path: str, clients: int, seconds: float) -> list[float]:
    took: list[float] = []
    deadline = time.monotonic() + seconds
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()

    async def client() -> None:
        while (began := time.monotonic()) < deadline:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            answer = await reader.read()
            writer.close()
            assert answer.startswith(b"HTTP/1.1 200"), answer[:500]
            took.append(time.monotonic() - began)

    await asyncio.gather(*(client() for _ in range(clients)))
    return took
