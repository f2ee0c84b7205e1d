"""How the outboxes stand, on one page."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.utils.http import urlencode

from django_events_sourcing.admin.base import READS, OutboxAdmin
from django_events_sourcing.admin.chart import chart
from django_events_sourcing.admin.forms import PauseForm
from django_events_sourcing.operating.asking import ask_each
from django_events_sourcing.operating.browsing import browse
from django_events_sourcing.operating.counting import COUNTED
from django_events_sourcing.operating.listing import ListedEvent, Selection
from django_events_sourcing.operating.operations import ALL, WITHOUT_DELAY, named_partitions, pause, resume
from django_events_sourcing.operating.performing import Request, note
from django_events_sourcing.operating.problems import Problems
from django_events_sourcing.operating.status import PartitionStatus, Status, status
from django_events_sourcing.operating.summary import facts, leases, pauses_and_backoffs, troubles
from django_events_sourcing.operating.verdict import duration, verdict
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.clock import to_microseconds
from django_events_sourcing.outbox.partitioning import PARTITIONS
from django_events_sourcing.outbox.tables import has_tables, outbox_databases
from django_events_sourcing.texts import by_and_why, printable
from django_events_sourcing.types import Alias, PartitionNumber

__all__ = ["DashboardAdmin"]

# For how many seconds a database is waited for.
_WITHIN = 3.0

# How many dead and refused events stand on it.
_LAST = 5

_DONE = {"pause": "paused", "resume": "resumed"}


@dataclass(frozen=True)
class _Look:
    """What one database says, or why it can't be asked; ``has_outbox`` is false where there is nothing to ask."""

    has_outbox: bool
    status: Status | None
    by_minute: list[int]
    dead: list[ListedEvent]
    refused: list[ListedEvent]
    problems: Problems


class DashboardAdmin(OutboxAdmin):
    """How each outbox stands, what is the matter, and the buttons to pause and resume it."""

    def has_pause_permission(self, request: HttpRequest) -> bool:
        """Whether somebody may pause and resume publishing."""
        return self.may(request, "pause_partition") and self.has_view_permission(request)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The dashboard; with POST, a button of it.

        Raises:
            PermissionDenied: Who asks for it may not.
        """
        self.check_may_view(request)
        form = PauseForm(request.POST or None)
        if request.method == "POST":
            if not self.has_pause_permission(request):
                raise PermissionDenied
            if form.is_valid():
                return self._press(request, form)
        elif request.method not in READS:
            return HttpResponseNotAllowed([*READS, "POST"])
        looks = ask_each(outbox_databases(), _look, _WITHIN)
        if any(isinstance(look, datetime) or look.has_outbox for look in looks.values()):
            looks = {alias: look for alias, look in looks.items() if isinstance(look, datetime) or look.has_outbox}
        return self.render(
            request,
            "dashboard",
            title="Dashboard",
            sections=[self._section(alias, look) for alias, look in looks.items()],
            form=form,
            partitions=range(PARTITIONS),
            may_pause=self.has_pause_permission(request),
            may_see_events=self.may(request, "view_logentry"),
            operations_url=self.url_of("operation_changelist"),
            **(extra_context or {}),
        )

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """There is none of a partition."""
        return self.change_view(request, object_id, extra_context=extra_context)

    def _press(self, request: HttpRequest, form: PauseForm) -> HttpResponse:
        using, why = form.cleaned_data["database"], form.cleaned_data["why"]
        kind, _, now = form.cleaned_data["action"].partition(" ")
        numbers: Collection[PartitionNumber] = form.cleaned_data["partition"] or ALL
        problems = Problems()
        with problems.reported(using):
            which = named_partitions(numbers)
            if kind == "pause":
                # It answers at once: the relays that are at work end their turn by themselves, within a second or so.
                pause(using, numbers, why=why, who=request.user.get_username(), stopping=lambda: True)
            else:
                resume(using, numbers, now=bool(now))
            how = WITHOUT_DELAY if now else ""
            note(using, Request(kind, f"{which}{how}", request.user.get_username(), why))
            text = f"{which.capitalize()} of database {using!r}: {_DONE[kind]}{how}{by_and_why('', why)}."
            messages.success(request, text)
            self.keep_history(request, {using: f"Outbox of database {using!r}"}, text)
        for problem in problems:
            messages.error(request, problem)
        return HttpResponseRedirect(self.url_of("partition_changelist"))

    def _section(self, using: Alias, look: _Look | datetime) -> dict[str, Any]:
        if isinstance(look, datetime):
            problems = Problems()
            problems.report(using, f"Database {using!r} has not answered since {look:%H:%M:%S} UTC.")
            look = _Look(True, None, [], [], [], problems)
        section: dict[str, Any] = {"using": using, "problems": look.problems}
        if look.status:
            events = self.url_of("logentry_changelist")
            sentences = [printable(sentence) for sentence in verdict(look.status)]
            section |= {
                "sentences": sentences,
                "is_well": sentences[0].startswith("All is well"),
                "facts": _facts(look.status),
                "chart": chart(look.by_minute),
                "failed": [
                    {
                        "state": state,
                        "rows": [self.event_row(using, event) for event in found],
                        "url": f"{events}?{urlencode({'database': using, 'state': state})}",
                    }
                    for state, found in (("dead", look.dead), ("refused", look.refused))
                    if found
                ],
                "partitions": [_partition(each) for each in look.status.partitions],
                "troubles": _troubles(look.status.partitions),
                "pending_url": f"{events}?{urlencode({'database': using, 'state': 'pending'})}",
            }
        return section


def _look(using: Alias) -> _Look:
    problems = Problems()
    has_outbox = True
    with problems.reported(using):
        has_outbox = has_tables(using)
        one = status(using, is_exact=False)
        dead, refused = (
            browse(using, Selection(state=state), limit=_LAST).events if count else []
            for state, count in (("dead", one.dead), ("refused", one.refused))
        )
        return _Look(True, one, queries.published_by_minute(using, to_microseconds(one.now)), dead, refused, problems)
    return _Look(has_outbox, None, [], [], [], problems)


def _facts(one: Status) -> list[tuple[str, list[str]]]:
    told = facts(one)
    if any(each.pending > COUNTED for each in one.partitions):
        told["pending"] = f"about {one.pending:,}"
    if one.last_published_seconds is not None:
        told["last published"] = f"{duration(one.last_published_seconds)} ago"
    return [(name, list(map(printable, [said] if isinstance(said, str) else said))) for name, said in told.items()]


def _partition(each: PartitionStatus) -> dict[str, Any]:
    return {
        "number": each.number,
        "pending": f"more than {COUNTED}" if each.pending > COUNTED else each.pending,
        "leases": list(map(printable, leases([each]))),
        "states": list(map(printable, pauses_and_backoffs([each]))),
        "lost": each.lost or "",
    }


def _troubles(partitions: list[PartitionStatus]) -> list[tuple[str, str]]:
    return [
        (named_partitions([each.number for each in those]).capitalize(), printable(error))
        for error, those in troubles(partitions).items()
    ]
