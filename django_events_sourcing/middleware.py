"""Whose request it is that changes something, for the headers of its events."""

import re
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from django_events_sourcing.context import event_context

__all__ = ["EventContextMiddleware"]

_SANE = re.compile(r"[\w.:@/+=-]{1,128}", re.ASCII)


class EventContextMiddleware:
    """Events of a request carry ``correlation_id`` and ``user_id`` in their headers.

    The first is the request's ``X-Request-ID``, if that has at most 128 letters, digits and ``.:@/+=-_``, else a new
    UUID. The second is the primary key of the user whom ``request.user`` is when something changes, by REST framework's
    authentication, too; a request without events never asks for him. List it in ``MIDDLEWARE`` behind what sets
    ``request.user``, if anything does.

    What a ``StreamingHttpResponse`` changes while it is sent comes after the request, and carries neither.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """The response."""
        if self._is_async:
            return self._later(request)
        with _context_of(request):
            response: HttpResponseBase = self._get_response(request)
        return response

    async def _later(self, request: HttpRequest) -> HttpResponseBase:
        with _context_of(request):
            response: HttpResponseBase = await self._get_response(request)
        return response


def _context_of(request: HttpRequest) -> event_context:
    request_id = request.headers.get("X-Request-ID", "")
    return event_context(
        correlation_id=request_id if _SANE.fullmatch(request_id) else str(uuid4()),
        user_id=lambda: _user_id(request),
    )


def _user_id(request: HttpRequest) -> int | str | None:
    pk = getattr(getattr(request, "user", None), "pk", None)
    if pk is None or isinstance(pk, int):
        return pk
    return str(pk) if _SANE.fullmatch(str(pk)) else None
