"""What is filled in on the pages."""

from typing import Any
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from django_events_sourcing.admin.base import database_field
from django_events_sourcing.criteria import model_label, object_key
from django_events_sourcing.outbox.partitioning import PARTITIONS
from django_events_sourcing.outbox.queries import STATES, Selection
from django_events_sourcing.outbox.tables import outbox_databases
from django_events_sourcing.types import Alias

__all__ = ["ChosenForm", "FilterForm", "PauseForm", "WhyForm"]

# Longer than any of them is, and short enough for an address.
_LONGEST = 1000

_HIGHEST = 2**63 - 1


class _Moment(forms.DateTimeInput):
    input_type = "datetime-local"

    def __init__(self) -> None:
        super().__init__(attrs={"step": 1})

    def format_value(self, value: Any) -> str | None:
        """What a browser takes: by the project's time zone, without naming it; None for what is no moment."""
        try:
            moment = parse_datetime(value) if isinstance(value, str) else value
        except ValueError:
            moment = None
        if moment is None:
            return None
        local = timezone.localtime(moment) if timezone.is_aware(moment) else moment
        return f"{local:%Y-%m-%dT%H:%M:%S}"


class FilterForm(forms.Form):
    """Which events a page lists."""

    q = forms.CharField(label="Event id, or object like app.Model:1", required=False, max_length=_LONGEST)
    database = database_field()
    state = forms.ChoiceField(
        required=False,
        choices=[("", "any"), *((state, state) for state in STATES)],
        error_messages={"invalid_choice": "There is no such state."},
    )
    service = forms.CharField(required=False, max_length=255)
    name = forms.CharField(required=False, max_length=255)
    model = forms.CharField(required=False, max_length=255, widget=forms.TextInput({"placeholder": "app.Model"}))
    since = forms.DateTimeField(required=False, widget=_Moment)
    until = forms.DateTimeField(required=False, widget=_Moment)
    after = forms.IntegerField(required=False, min_value=0, max_value=_HIGHEST, widget=forms.HiddenInput)

    def clean_q(self) -> dict[str, Any]:
        """What is looked for: an id or an object."""
        given = self.cleaned_data["q"]
        if not given:
            return {}
        try:
            return {"ids": frozenset({UUID(given)})}
        except ValueError:
            pass
        try:
            return {"object": object_key(given)}
        except ValueError:
            raise ValidationError("It is neither the id of an event nor an object like app.Model:1.") from None

    def clean_model(self) -> str | None:
        """The label by which the log has it."""
        if not (given := self.cleaned_data["model"]):
            return None
        try:
            return model_label(given)
        except ValueError as exc:
            raise ValidationError(str(exc).capitalize() + ".") from None

    @property
    def using(self) -> Alias | None:
        """The alias of the database; None if no database has an outbox."""
        return self.cleaned_data["database"] or next(iter(outbox_databases()), None)

    @property
    def selection(self) -> Selection:
        """Which events are meant."""
        names = ("state", "service", "name", "model", "since", "until")
        criteria: dict[str, Any] = {name: self.cleaned_data[name] or None for name in names}
        return Selection(**self.cleaned_data["q"], **criteria)

    @property
    def is_used(self) -> bool:
        """Whether anything is asked for but a database."""
        return self.is_valid() and self.selection != Selection()


class _Ids(forms.Field):
    widget = forms.MultipleHiddenInput

    def clean(self, value: Any) -> frozenset[UUID]:
        try:
            return frozenset(UUID(each) for each in value or ())
        except ValueError:
            raise ValidationError("There is no such event.") from None


class ChosenForm(forms.Form):
    """What is to be done, and to which events: those that were ticked, or all that the filter finds."""

    action = forms.ChoiceField(choices=[("replay", "replay"), ("bury", "bury")])
    event = _Ids(required=False)
    across = forms.BooleanField(required=False)

    def clean(self) -> dict[str, Any]:
        """That there are any.

        Raises:
            ValidationError: There are none.
        """
        cleaned = super().clean() or {}
        if not (self.errors or cleaned["event"] or cleaned["across"]):
            raise ValidationError("No event was chosen.")
        return cleaned


class WhyForm(forms.Form):
    """Why an event is buried."""

    why = forms.CharField(
        max_length=_LONGEST,
        error_messages={"required": "Say why."},
        widget=forms.Textarea({"rows": 3, "aria-describedby": "why_help"}),
    )


class PauseForm(forms.Form):
    """What is to be paused, or resumed."""

    database = database_field(required=True)
    action = forms.ChoiceField(choices=[(each, each) for each in ("pause", "resume", "resume now")])
    partition = forms.TypedMultipleChoiceField(
        required=False, coerce=int, choices=[(number, number) for number in range(PARTITIONS)]
    )
    why = forms.CharField(required=False, max_length=_LONGEST)
