"""Which models' changes become events: ``MODELS_CRUD_EVENT``, read and checked."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from django.apps import apps
from django.core.checks import Error
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Model

from django_events_sourcing.conf import model_entries, unknown_key
from django_events_sourcing.registration import Registration

__all__ = ["ENTRY_KEYS", "Registry", "registry"]

ENTRY_KEYS = ["model", "serializer", "status_field", "event_name_prefix", "service_name"]


class Registry:
    """The registrations by model, made from ``MODELS_CRUD_EVENT``.

    Attributes:
        saved: What a save of an instance of each model is told as. It is a change of the nearest registered class: its
            own, or that of a model it is a proxy of or derived from; of several, if it has unrelated parents.
        deleted: What the delete of a row of each model is told as: the same, but a parent's row has its own delete.
        problems: What is wrong with the entries, as check messages.
    """

    def __init__(self) -> None:
        self._by_model: dict[type[Model], Registration] = {}
        self.saved: dict[type[Model], tuple[Registration, ...]] = {}
        self.deleted: dict[type[Model], tuple[Registration, ...]] = {}
        self.problems: list[Error] = []

    @property
    def registrations(self) -> list[Registration]:
        """The entries that are registered."""
        return list(self._by_model.values())

    @property
    def roots(self) -> list[type[Model]]:
        """The registered models that derive from no other registered model."""
        return [model for model in self._by_model if not any(base in self._by_model for base in model.__mro__[1:])]

    def load(self) -> None:
        """Read ``MODELS_CRUD_EVENT`` anew. An entry that is wrong becomes a problem, the others are registered."""
        self._by_model, self.saved, self.deleted, self.problems = {}, {}, {}, []
        entries = model_entries()
        if not isinstance(entries, list | tuple):
            self.problems.append(
                _error(
                    "E001",
                    f"MODELS_CRUD_EVENT is {type(entries).__name__}, not a list.",
                    "Make it a list of dicts.",
                )
            )
            return
        for index, entry in enumerate(entries):
            registration = self._parse(f"MODELS_CRUD_EVENT[{index}]", entry)
            if registration is None:
                continue
            if (first := self._by_model.setdefault(registration.model, registration)) is not registration:
                self.problems.append(
                    _error(
                        "E008",
                        f"{registration.where}['model']: {registration.model._meta.label} is registered by "
                        f"{first.where} already, which is the one that counts.",
                        "Remove one of the two.",
                    )
                )
        for model in apps.get_models():
            nearest = self._nearest(model)
            if nearest:
                self.saved[model] = nearest
            same_row = [one for one in nearest if _concrete(one.model) is _concrete(model)]
            if same_row:
                self.deleted[model] = tuple(same_row)

    def _nearest(self, model: type[Model]) -> tuple[Registration, ...]:
        """The entries of the classes that ``model`` derives from, itself included, without those behind others."""
        found: list[Registration] = []
        for base in model.__mro__:
            registration = self._by_model.get(base)
            if registration and not any(issubclass(_concrete(one.model), _concrete(base)) for one in found):
                found.append(registration)
        return tuple(found)

    def _parse(self, where: str, entry: object) -> Registration | None:
        if isinstance(entry, Mapping):
            self.problems += [unknown_key(where, key, ENTRY_KEYS) for key in entry if key not in ENTRY_KEYS]
        if not isinstance(entry, Mapping) or "model" not in entry:
            self.problems.append(
                _error("E001", f"{where} is {entry!r}: no dict with a 'model'.", "Write {'model': 'app.Model'}.")
            )
            return None
        model = self._find_model(where, entry["model"])
        if model is None:
            return None
        registration = Registration(where=where, **{**{k: entry[k] for k in ENTRY_KEYS if k in entry}, "model": model})
        self.problems += _entry_problems(registration)
        return registration

    def _find_model(self, where: str, name: object) -> type[Model] | None:
        if isinstance(name, type) and issubclass(name, Model):
            return name
        if isinstance(name, str) and name.count(".") == 1:
            try:
                return apps.get_model(name)
            except LookupError:
                pass
        known = [model._meta.label for model in apps.get_models()]
        near = get_close_matches(str(name), known, n=1, cutoff=0.5)
        self.problems.append(
            _error(
                "E003",
                f"{where}['model'], {name!r}, is no model of an installed app: its changes send no events.",
                f"Did you mean {near[0]!r}?"
                if near
                else "Write 'app_label.ModelName', or add the app to INSTALLED_APPS.",
            )
        )
        return None


def _concrete(model: type[Model]) -> type[Model]:
    """The model itself, or that behind a proxy."""
    return model._meta.concrete_model or model


def _entry_problems(registration: Registration) -> Iterator[Error]:
    where, model = registration.where, registration.model
    for key in ("status_field", "event_name_prefix", "service_name"):
        value = getattr(registration, key)
        if value is not None and not (isinstance(value, str) and value):
            yield _error("E001", f"{where}[{key!r}] is {value!r}.", "It must be a string with something in it.")
            return
    status_field = registration.status_field
    if status_field and not _has_attribute(model, status_field):
        names = [field.name for field in model._meta.get_fields()]
        near = get_close_matches(status_field, names, n=1, cutoff=0.5)
        yield _error(
            "E005",
            f"{where}['status_field']: {model._meta.label} has no field {status_field!r}.",
            f"Did you mean {near[0]!r}?" if near else f"Its fields: {', '.join(names)}.",
        )


def _has_attribute(model: type[Model], name: str) -> bool:
    try:
        model._meta.get_field(name)
    except FieldDoesNotExist:
        return hasattr(model, name)  # a property will do
    return True


def _error(code: str, message: str, hint: str) -> Error:
    return Error(message, hint=hint, id=f"django_events_sourcing.{code}")


#: The registry in force; loaded when Django's apps are ready, and again when tests override its setting.
registry = Registry()
