"""What the pages share."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from django import forms
from django.contrib.admin import ModelAdmin
from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied
from django.db import Error
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.timesince import timesince

from django_events_sourcing.exceptions import EventsSourcingError
from django_events_sourcing.outbox.tables import outbox_databases
from django_events_sourcing.texts import printable, without_passwords
from django_events_sourcing.types import Alias

__all__ = ["MOST", "READS", "OutboxAdmin", "Problems", "admin_id", "age", "database_field", "parse_admin_id"]


#: How much of a name or object stands in a table, in characters.
MOST = 300

#: What may be asked for without doing anything.
READS = ["GET", "HEAD"]


class Problems(list[str]):
    """What went wrong with a database, in a sentence each."""

    @contextmanager
    def reported(self, using: Alias) -> Iterator[None]:
        """Have what goes wrong within it be one of the problems."""
        try:
            yield
        except EventsSourcingError as exc:
            self.append(printable(exc))
        except Error as exc:
            self.append(f"Database {using!r} cannot be asked: {without_passwords(' '.join(str(exc).split()))}")


if TYPE_CHECKING:
    _ModelAdmin = ModelAdmin[Any]
else:
    _ModelAdmin = ModelAdmin


class OutboxAdmin(_ModelAdmin):
    """A section of the admin that shows, and changes no row by a form; its pages are of one database each."""

    actions = None
    #: The folder of its templates.
    templates: ClassVar[str] = "admin/django_events_sourcing"

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        """Nobody has."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Nobody has."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Nobody has."""
        return False

    def check_may_view(self, request: HttpRequest) -> None:
        """End a request of who may not view.

        Raises:
            PermissionDenied: He may not.
        """
        if not self.has_view_permission(request):
            raise PermissionDenied

    def render(self, request: HttpRequest, template: str, **context: Any) -> HttpResponse:
        """A page of the admin's."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "events_url": self.url_of("logentry_changelist"),
            "databases": outbox_databases(),
            **context,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, f"{self.templates}/{template}.html", context)

    def url_of(self, name: str, *args: str) -> str:
        """The address of one of the library's pages, in the admin site that this one is of."""
        return reverse(
            f"admin:django_events_sourcing_{name}", args=[quote(arg) for arg in args], current_app=self.admin_site.name
        )


def database_field(*, required: bool = False) -> forms.ChoiceField:
    """Which database's outbox is meant."""
    return forms.ChoiceField(
        required=required,
        choices=lambda: [(alias, alias) for alias in outbox_databases()],
        error_messages={"invalid_choice": "No database of that name has an outbox."},
    )


def admin_id(using: Alias, row_id: UUID) -> str:
    """By which the admin knows an event or operation: its id alone would not say in which database it is."""
    return f"{using}.{row_id}"


def parse_admin_id(given: str) -> tuple[Alias, UUID]:
    """The database and the id.

    Raises:
        Http404: It is no such thing.
    """
    using, _, row_id = given.rpartition(".")
    try:
        found = UUID(row_id)
    except ValueError:
        raise Http404("There is no such id.") from None
    if using not in outbox_databases():
        raise Http404("No database of that name has an outbox.")
    return using, found


def age(moment: datetime) -> str:
    """How long ago it was, for people."""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    return f"{max(0, round(seconds))} s" if seconds < 60 else timesince(moment, depth=1)
