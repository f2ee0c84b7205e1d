"""What the pages share."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from django import forms
from django.contrib.admin import ModelAdmin
from django.contrib.admin.models import CHANGE
from django.contrib.admin.models import LogEntry as HistoryEntry
from django.contrib.admin.utils import quote
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.timesince import timesince

from django_events_sourcing.operating.listing import ListedEvent
from django_events_sourcing.outbox.tables import outbox_databases
from django_events_sourcing.texts import brief
from django_events_sourcing.types import Alias

__all__ = ["READS", "OutboxAdmin", "admin_id", "age", "database_field", "parse_admin_id"]


#: What may be asked for without doing anything.
READS = ["GET", "HEAD"]


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

    def may(self, request: HttpRequest, codename: str) -> bool:
        """Whether somebody has a permission of the library's, "replay_logentry" say."""
        return bool(request.user.has_perm(f"{self.opts.app_label}.{codename}"))

    def check_may_view(self, request: HttpRequest) -> None:
        """End a request of who may not view.

        Raises:
            PermissionDenied: He may not.
        """
        if not self.has_view_permission(request):
            raise PermissionDenied

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",  # noqa: ARG002 - there is no form
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The page of one row, which is only looked at.

        Raises:
            PermissionDenied: Who asks for it may not.
            Http404: There is none.
        """
        self.check_may_view(request)
        if request.method not in READS:
            return HttpResponseNotAllowed(READS)
        return self.row_view(request, object_id, extra_context or {})

    def row_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any]) -> HttpResponse:  # noqa: ARG002
        """That page, for who may view it.

        Raises:
            Http404: There is none.
        """
        raise Http404("It has no page of its own.")

    def keep_history(self, request: HttpRequest, labels: Mapping[str, str], text: str) -> None:
        """Keep that somebody did something, in the admin's history.

        Args:
            request: His.
            labels: By what the admin knows the rows by that he did it to, what they are called.
            text: What he did.
        """
        user_id: Any = request.user.pk
        content_type = ContentType.objects.get_for_model(self.model)
        HistoryEntry.objects.bulk_create(
            [
                HistoryEntry(
                    user_id=user_id,
                    content_type_id=content_type.pk,
                    object_id=row_id,
                    object_repr=label[:200],
                    action_flag=CHANGE,
                    change_message=text,
                )
                for row_id, label in labels.items()
            ],
            batch_size=1000,
        )

    def event_row(self, using: Alias, event: ListedEvent) -> dict[str, Any]:
        """What tables have of an event."""
        return {
            "id": event.id,
            "url": self.url_of("logentry_change", admin_id(using, event.id)),
            "state": event.state,
            "name": brief(event.name),
            "object": brief(event.object),
            "time": event.time,
            "age": age(event.time),
            "attempts": event.attempts,
            "error": brief(event.error),
        }

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
