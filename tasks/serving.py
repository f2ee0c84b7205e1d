"""The worker's own metrics and health, over HTTP."""

import json
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from django_events_sourcing.probes import answer
from django_events_sourcing.tasks.health import relay_problems

__all__ = ["ProbeServer"]

logger = logging.getLogger(__name__)

# How long somebody who connects may take to ask, in seconds.
_TIMEOUT = 10

_MISSING = "Metrics need prometheus-client: pip install django-events-sourcing[prometheus]."

_StartResponse = Callable[..., Any]
_Route = Callable[[dict[str, Any], _StartResponse], Iterable[bytes]]


class _Handler(WSGIRequestHandler):
    timeout = _TIMEOUT

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's
        logger.debug("%s: " + format, self.client_address[0], *args)  # noqa: G003


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, host: str, port: int) -> None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, _, _, _, address = found[0]
        super().__init__((str(address[0]), port), _Handler)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # WSGIServer's own would ask the DNS for this machine's name
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - socketserver's
        logger.debug("%s asked for nothing, or went away. %r", client_address[0], sys.exception())


class ProbeServer:
    """Serves ``/metrics`` and ``/health``, in threads, of the process that the worker's others are forked from.

    Args:
        host: Address of this machine.
        port: The port.

    Raises:
        OSError: They are not to be had.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = _Server(host, port)
        self._server.set_app(_App())
        # A process that is forked later would keep the port when this one is gone.
        os.register_at_fork(after_in_child=self._server.socket.close)
        self._thread = threading.Thread(target=self._server.serve_forever, name="events-probes", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Give the port back."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _App:
    """The WSGI application."""

    def __init__(self) -> None:
        try:
            from prometheus_client import CollectorRegistry, make_wsgi_app  # noqa: PLC0415 - an extra

            from django_events_sourcing.tasks.metrics import WorkerCollector  # noqa: PLC0415 - it imports that
        except ImportError:
            logger.warning(_MISSING)
            metrics: _Route = _no_metrics
        else:
            # One of its own: a lock of the default one's, which the project's code takes, would be forked as it stands.
            registry = CollectorRegistry()
            registry.register(WorkerCollector())
            metrics = make_wsgi_app(registry)
        self._routes: dict[str, _Route] = {"/metrics": metrics, "/health": _health}

    def __call__(self, environ: dict[str, Any], start_response: _StartResponse) -> Iterable[bytes]:
        route = self._routes.get(environ["PATH_INFO"])
        if route is None:
            return _text(start_response, HTTPStatus.NOT_FOUND, f"There are {' and '.join(self._routes)}.")
        if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            return _text(start_response, HTTPStatus.METHOD_NOT_ALLOWED, "Only GET and HEAD.")
        body = route({**environ, "REQUEST_METHOD": "GET"}, start_response)
        return body if environ["REQUEST_METHOD"] == "GET" else []


def _health(_environ: dict[str, Any], start_response: _StartResponse) -> Iterable[bytes]:
    status, body = answer({"relay": list(relay_problems())})
    return _respond(start_response, HTTPStatus(status), json.dumps(body), "application/json")


def _no_metrics(_environ: dict[str, Any], start_response: _StartResponse) -> Iterable[bytes]:
    return _text(start_response, HTTPStatus.NOT_IMPLEMENTED, _MISSING)


def _text(start_response: _StartResponse, status: HTTPStatus, text: str) -> Iterable[bytes]:
    return _respond(start_response, status, text + "\n", "text/plain; charset=utf-8")


def _respond(start_response: _StartResponse, status: HTTPStatus, text: str, content_type: str) -> Iterable[bytes]:
    start_response(f"{status.value} {status.phrase}", [("Content-Type", content_type), ("Cache-Control", "no-store")])
    return [text.encode()]
