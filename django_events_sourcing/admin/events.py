"""The events: found, looked at, replayed and buried."""

import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.apps import apps
from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db import Error
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import NoReverseMatch, reverse

from django_events_sourcing.admin.base import READS, OutboxAdmin, admin_id, age, parse_admin_id
from django_events_sourcing.admin.forms import ChosenForm, FilterForm, WhyForm
from django_events_sourcing.exceptions import ConfigurationError, OperationError
from django_events_sourcing.models import LogEntry
from django_events_sourcing.operating.browsing import Page, browse, gather
from django_events_sourcing.operating.inspection import EventState, facts, inspect
from django_events_sourcing.operating.listing import ListedEvent, Selection, list_events
from django_events_sourcing.operating.performing import OperationState, Request, ask
from django_events_sourcing.operating.problems import Problems
from django_events_sourcing.outbox.tables import raises_missing_tables
from django_events_sourcing.texts import counted, printable, shortened
from django_events_sourcing.types import Alias

__all__ = ["EventAdmin"]

# How many events stand on a page.
_PAGE = 50

# How many events one action is for, and for how many seconds they may be looked for.
_MOST = 10_000
_PATIENCE = 3.0

# How much of a fact about an event is told, in characters.
_FACT = 2000

# How many of them the page that asks whether to go on has.
_SHOWN = 20

# How much of a body is shown, in characters, and up to which length it is put into lines.
_BODY = 20_000
_READABLE = 200_000

# In which states an event may be for it to be replayed, or buried; and what becomes of it.
_MAY_BE = {"replay": {"published", "dead", "buried"}, "bury": {"pending", "refused", "dead"}}
_BECOMES = {"replay": "published once more", "bury": "buried: kept, not published, in no other's way"}

_DONE = {"replay": "replayed", "bury": "buried"}

# Why the others are left out.
_LEFT_OUT = {
    "pending": "pending already",
    "refused": "pending already",
    "published": "published already",
    "buried": "buried already",
}


@dataclass(frozen=True)
class _Chosen:
    """The events that an action is for, and how many of which states are left out."""

    events: list[ListedEvent]
    left_out: Counter[str]

    @property
    def what(self) -> str:
        return counted(len(self.events), "event")

    @property
    def why_left_out(self) -> list[str]:
        return [
            f"{counted(count, 'other', ('is', 'are'))} {_LEFT_OUT[state]}, and left out."
            for state, count in self.left_out.items()
        ]


class EventAdmin(OutboxAdmin):
    """The events of the outbox."""

    def has_replay_permission(self, request: HttpRequest) -> bool:
        """Whether somebody may replay events."""
        return self._has(request, "replay")

    def has_bury_permission(self, request: HttpRequest) -> bool:
        """Whether somebody may bury events."""
        return self._has(request, "bury")

    def _has(self, request: HttpRequest, action: str) -> bool:
        return self.may(request, f"{action}_{self.opts.model_name}") and self.has_view_permission(request)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list, or what an action comes to.

        Raises:
            PermissionDenied: Who asks for it may not.
        """
        self.check_may_view(request)
        form = FilterForm(request.GET)
        if request.method == "POST":
            return self._act(request, form)
        if request.method not in READS:
            return HttpResponseNotAllowed([*READS, "POST"])
        problems = Problems()
        page: Page | None = None
        using = form.using if form.is_valid() else None
        if using is not None:
            with problems.reported(using):
                page = browse(using, form.selection, after=form.cleaned_data["after"], limit=_PAGE)
        return self.render(
            request,
            "events",
            title="Events",
            form=form,
            using=using,
            problems=problems,
            page=page,
            looked_at=page and counted(page.looked_at, "event"),
            reached=page and page.reached and age(page.reached),
            rows=[self.event_row(using, event) for event in page.events] if page and using else [],
            actions=[action for action in _MAY_BE if self._has(request, action)],
            first_url=self._address(request, after=None),
            next_url=self._address(request, after=page.after) if page and page.after is not None else None,
            here=self._address(request),
            **(extra_context or {}),
        )

    def row_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any]) -> HttpResponse:
        """One event.

        Raises:
            Http404: There is none.
        """
        using, event_id = parse_admin_id(unquote(object_id))
        problems = Problems()
        state: EventState | None = None
        with problems.reported(using):
            try:
                state = inspect(using, event_id, characters=_READABLE)
            except OperationError as exc:
                raise Http404(str(exc)) from exc
        context: dict[str, Any] = {"problems": problems, "using": using, "event_id": event_id}
        if state:
            context |= self._details(request, using, state)
        return self.render(request, "event", title="Event", **context, **extra_context)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> LogEntry:
        """An event, for the page of Django's own that has its history.

        Raises:
            Http404: There is none.
        """
        del request, from_field
        using, event_id = parse_admin_id(object_id)
        try:
            with raises_missing_tables(using):
                found = LogEntry.objects.using(using).defer("body", "headers").filter(event_id=event_id).first()
        except ConfigurationError:
            found = None
        except Error:  # its history is in the admin's own database
            found = LogEntry(event_id=event_id, name="event", object=f"database {using!r}, which cannot be asked")
        if found is None:
            raise Http404(f"Database {using!r} has no event {event_id}.")
        found.pk = admin_id(using, event_id)
        found.name, found.object = printable(found.name), printable(found.object)
        return found

    def _details(self, request: HttpRequest, using: Alias, state: EventState) -> dict[str, Any]:
        event = state.event
        others = urlencode({"database": using, "q": event.object})
        return {
            "event": event,
            "facts": [
                (
                    name.capitalize(),
                    [printable(shortened(line, _FACT)) for line in ([value] if isinstance(value, str) else value)],
                )
                for name, value in facts(using, state).items()
            ],
            "headers": _readable(json.dumps(dict(event.headers))) if event.headers else "",
            "body": _shown(state),
            "more": state.body_length - _BODY if state.body_length > _BODY else 0,
            "others_url": f"{self.url_of('logentry_changelist')}?{others}",
            "object_url": self._object_url(request, event.object),
            "history_url": self.url_of("logentry_history", admin_id(using, event.id)),
            "list_url": f"{self.url_of('logentry_changelist')}?{urlencode({'database': using})}",
            "actions": [
                action for action, states in _MAY_BE.items() if state.state in states and self._has(request, action)
            ],
        }

    def _object_url(self, request: HttpRequest, key: str) -> str | None:
        """The object's own page in this admin, if it has one that may be seen."""
        label, _, row_id = key.partition(":")
        try:
            model = apps.get_model(label)
        except (LookupError, ValueError):  # of a tenant, or of nothing that is installed
            return None
        its_admin = self.admin_site.get_model_admin(model) if self.admin_site.is_registered(model) else None
        if its_admin is None or not its_admin.has_view_or_change_permission(request):
            return None
        try:
            name = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"
            return reverse(name, args=[quote(row_id)], current_app=self.admin_site.name)
        except NoReverseMatch:
            return None

    def _act(self, request: HttpRequest, form: FilterForm) -> HttpResponse:
        """What was chosen, to be confirmed; or, if it is, have it done."""
        chosen_form = ChosenForm(request.POST)
        if not form.is_valid() or not chosen_form.is_valid():
            problems = [
                str(error) for each in (form, chosen_form) for errors in each.errors.values() for error in errors
            ]
            return self._back(request, " ".join(problems))
        action, using = chosen_form.cleaned_data["action"], form.using
        if using is None or not self._has(request, action):
            raise PermissionDenied
        problems = Problems()
        chosen: _Chosen | None = None
        with problems.reported(using):
            chosen = _choose(using, form.selection, chosen_form, _number(request.POST.get("latest")))
        if problems:
            return self._back(request, " ".join(problems))
        if chosen is None:
            return self._back(
                request,
                f"The filter finds more than {_MOST:,} events, or more than can be looked at here: nothing was done. "
                "Narrow it, by a span of time say; or `manage.py events replay` takes them all.",
            )
        if not chosen.events:
            return self._back(request, " ".join([f"None of them can be {_DONE[action]}.", *chosen.why_left_out]))
        is_confirmed = "confirmed" in request.POST
        why = WhyForm(request.POST if is_confirmed else None)
        if is_confirmed and _number(request.POST["confirmed"]) != len(chosen.events):
            messages.warning(request, f"Meanwhile others have been at work: there are {chosen.what} now.")
            is_confirmed = False
        if is_confirmed and (action == "replay" or why.is_valid()):
            reason = why.cleaned_data["why"] if action == "bury" else ""
            asked = Request(action, chosen.what, request.user.get_username(), reason)
            return self._ask(request, using, asked, chosen)
        return self.render(
            request,
            "confirm",
            title=f"{action.capitalize()} {chosen.what}?",
            action=action,
            becomes=_BECOMES[action],
            using=using,
            count=len(chosen.events),
            what=chosen.what,
            rows=[self.event_row(using, event) for event in chosen.events[:_SHOWN]],
            more=f"{len(chosen.events) - _SHOWN:,}" if len(chosen.events) > _SHOWN else "",
            left_out=chosen.why_left_out,
            ids=sorted(map(str, chosen_form.cleaned_data["event"])),
            across=chosen_form.cleaned_data["across"],
            latest=max(event.sequence for event in chosen.events),
            why=why if action == "bury" else None,
            here=self._address(request),
            list_url=self._address(request, after=None),
        )

    def _ask(self, request: HttpRequest, using: Alias, asked: Request, chosen: _Chosen) -> HttpResponse:
        problems = Problems()
        operation: OperationState | None = None
        with problems.reported(using):
            operation = ask(using, asked, [event.sequence for event in chosen.events])
        if operation is None:
            return self._back(request, " ".join(problems))
        reason = f": {asked.why}" if asked.why else "."
        labels = {
            admin_id(using, event.id): f"{printable(event.name)} of {printable(event.object)}"
            for event in chosen.events
        }
        self.keep_history(request, labels, f"Asked to {asked.kind} it, with operation {operation.id}{reason}")
        return HttpResponseRedirect(self.url_of("operation_change", admin_id(using, operation.id)))

    def _back(self, request: HttpRequest, problem: str) -> HttpResponse:
        """To the list, which says what was wrong; nothing was done."""
        messages.error(request, problem)
        return HttpResponseRedirect(self._address(request))

    def _address(self, request: HttpRequest, **changes: Any) -> str:
        """Of the list with the filter of this one; ``changes`` are of its parameters, None takes one out."""
        params = {key: request.GET[key] for key in FilterForm.base_fields if request.GET.get(key)}
        params |= changes
        query = urlencode({key: value for key, value in params.items() if value is not None})
        return f"{self.url_of('logentry_changelist')}?{query}"


def _choose(using: Alias, selection: Selection, form: ChosenForm, until: int | None) -> _Chosen | None:
    """The events in question; None if they are too many."""
    ids = form.cleaned_data["event"]
    if form.cleaned_data["across"]:
        found = gather(using, selection, limit=_MOST, within=_PATIENCE, until=until)
        if found is None:
            return None
    else:
        found = list_events(using, Selection(ids=ids), len(ids))
    may_be = set(_MAY_BE[form.cleaned_data["action"]])
    if form.cleaned_data["across"] and selection.state != "buried":
        may_be -= {"buried"}  # which are brought back by who means them
    return _Chosen(
        events=[event for event in found if event.state in may_be],
        left_out=Counter(event.state for event in found if event.state not in may_be),
    )


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 20 else None


def _readable(text: str) -> str:
    """JSON, in lines of its own; anything else as it is. Nothing in it moves other letters."""
    with suppress(ValueError):
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    return "\n".join(map(printable, text.split("\n")))


def _shown(state: EventState) -> str:
    body = state.event.body
    is_whole = len(body) == state.body_length
    return (_readable(body) if is_whole else printable(body[:_BODY]))[:_BODY]
