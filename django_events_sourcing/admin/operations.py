"""The operations: what was asked for, and how far it has got."""

from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import DEFAULT_DB_ALIAS
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path

from django_events_sourcing.admin.base import OutboxAdmin, admin_id, age, parse_admin_id
from django_events_sourcing.exceptions import OperationError
from django_events_sourcing.operating.performing import OperationState, latest, progress, stop
from django_events_sourcing.operating.problems import Problems, databases_with_tables
from django_events_sourcing.outbox.tables import missing_tables
from django_events_sourcing.texts import printable
from django_events_sourcing.types import Alias

__all__ = ["OperationAdmin"]

# How many of each database stand on a page.
_PAGE = 50


# What came of the events.
_BECAME = {"replay": "back in the queue, to be published once more", "bury": "buried", "purge": "deleted"}


class OperationAdmin(OutboxAdmin):
    """What was done to the outboxes, here and by commands. Who may view events may view it."""

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Whether somebody may view events."""
        return self.may(request, "view_logentry")

    def get_urls(self) -> list[URLPattern]:
        """Django's own, and that which stops one."""
        view = self.admin_site.admin_view(self.stop_view)
        name = f"{self.opts.app_label}_{self.opts.model_name}_stop"
        return [path("<path:object_id>/stop/", view, name=name), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The latest ones of each database."""
        self.check_may_view(request)
        problems = Problems()
        aliases = list(databases_with_tables(problems))
        if not (aliases or problems):
            problems.append(missing_tables(DEFAULT_DB_ALIAS))
        rows = []
        for using in aliases:
            with problems.reported(using):
                rows += [self._row(using, each) for each in latest(using, _PAGE)]
        rows.sort(key=lambda row: row["asked"], reverse=True)
        return self.render(
            request, "operations", title="Operations", rows=rows, problems=problems, **(extra_context or {})
        )

    def row_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any]) -> HttpResponse:
        """One of them.

        Raises:
            Http404: There is none.
        """
        problems = Problems()
        using, operation = _found(object_id, problems)
        context: dict[str, Any] = {"title": "Operation", "problems": problems}
        if operation:
            may_stop = operation.ended is None and self.may(request, f"{operation.kind}_logentry")
            context |= {
                "title": f"{operation.kind.capitalize()} {operation.what}",
                "one": self._row(using, operation),
                "stop_url": self.url_of("operation_stop", admin_id(using, operation.id)) if may_stop else None,
            }
        return self.render(request, "operation", **context, **extra_context)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """It is one itself."""
        return self.change_view(request, object_id, extra_context=extra_context)

    def stop_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Stop it.

        Raises:
            PermissionDenied: Who asks for it may not.
            Http404: There is none.
        """
        self.check_may_view(request)
        problems = Problems()
        using, operation = _found(object_id, problems)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if operation:
            if not self.may(request, f"{operation.kind}_logentry"):
                raise PermissionDenied
            with problems.reported(using):
                if stop(using, operation.id, request.user.get_username()):
                    messages.success(request, "It is stopped. What was done by then is done.")
                else:
                    messages.warning(request, "It had ended already.")
        for problem in problems:
            messages.error(request, problem)
        return HttpResponseRedirect(self.url_of("operation_change", unquote(object_id)))

    def _row(self, using: Alias, one: OperationState) -> dict[str, Any]:
        return {
            "url": self.url_of("operation_change", admin_id(using, one.id)),
            "id": one.id,
            "database": using,
            "kind": one.kind,
            "became": _BECAME.get(one.kind, ""),
            "what": printable(one.what),
            "who": printable(one.who),
            "why": printable(one.why),
            "state": one.state,
            "total": one.total,
            "looked_at": one.looked_at,
            "done": one.done,
            "left_out": one.looked_at - one.done,
            "asked": one.asked,
            "age": age(one.asked),
            "ended": one.ended,
            "error": printable(one.error),
            "is_live": one.ended is None,
        }


def _found(given: str, problems: Problems) -> tuple[Alias, OperationState | None]:
    using, operation_id = parse_admin_id(unquote(given))
    with problems.reported(using):
        try:
            return using, progress(using, operation_id)
        except OperationError as exc:
            raise Http404(str(exc)) from exc
    return using, None
