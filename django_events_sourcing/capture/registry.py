"""Which models' changes become events: ``MODELS_CRUD_EVENT``, read and checked."""

import functools
import inspect
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's own name
from django.core.exceptions import FieldDoesNotExist
from django.db import router
from django.db.models import Model
from django.utils.functional import cached_property

from django_events_sourcing.capture.registration import ACTIONS, Registration
from django_events_sourcing.capture.stored import concrete_model
from django_events_sourcing.conf import model_entries, unknown_key
from django_events_sourcing.types import Alias

__all__ = ["ENTRY_KEYS", "Registry", "near_models", "registry"]

#: Those of an entry.
ENTRY_KEYS = [each.name for each in fields(Registration) if each.name != "where"]

_APP = "django_events_sourcing"


class Registry:
    """The registrations by model, made from ``MODELS_CRUD_EVENT``.

    Attributes:
        saved: By which registrations a save of an instance of each model is recorded: that of the nearest registered
            class, its own or one that it is a proxy of or derives from; of several, if it has unrelated parents.
        deleted: By which the delete of a row of each model is: the same, but a parent's row has its own delete.
        relations: The many-to-many fields whose changes are told, by the models of their tables.
        problems: What is wrong with the entries, as check messages.
    """

    def __init__(self) -> None:
        self._by_model: dict[type[Model], Registration] = {}
        self.saved: dict[type[Model], tuple[Registration, ...]] = {}
        self.deleted: dict[type[Model], tuple[Registration, ...]] = {}
        self.relations: dict[type[Model], Any] = {}
        self.problems: list[CheckMessage] = []
        self._apps: set[str] = set()

    def is_out_of_date(self) -> bool:
        """Whether it was loaded without the apps that are installed now, or with the library's own, which is not."""
        now = {app.name for app in apps.get_app_configs()}
        return not now <= self._apps or (_APP in self._apps) != (_APP in now)

    @property
    def registrations(self) -> list[Registration]:
        """The entries that are registered."""
        return list(self._by_model.values())

    @property
    def databases(self) -> set[Alias]:
        """Aliases of those that the registered models are written to."""
        return {router.db_for_write(each.model) for each in self.registrations}

    @property
    def roots(self) -> list[type[Model]]:
        """The registered models that derive from no other registered model."""
        return _roots(self._by_model)

    @property
    def compared_roots(self) -> list[type[Model]]:
        """The same of those whose saves are compared with what was there before."""
        return _roots([model for model, registration in self._by_model.items() if registration.compares])

    def load(self) -> None:
        """Read ``MODELS_CRUD_EVENT`` anew. An entry that is wrong becomes a problem, the others are registered.

        There are none while the library's own app is not installed, as in a test with ``available_apps``.
        """
        self._by_model, self.saved, self.deleted, self.relations, self.problems = {}, {}, {}, {}, []
        self._apps = {app.name for app in apps.get_app_configs()}
        if _APP not in self._apps:
            return
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
        fields: list[Any] = [each.model._meta.get_field(name) for each in self.registrations for name in each.m2m]
        self.relations = {each.remote_field.through: each for each in fields}
        for model in apps.get_models():
            nearest = self._nearest(model)
            if nearest:
                self.saved[model] = nearest
            same_row = [one for one in nearest if concrete_model(one.model) is concrete_model(model)]
            # Without receivers, Django deletes rows without reading them. Where a parent's row goes along, it is to be
            # known that the child's entry speaks for it.
            if any("deleted" in one.actions for one in same_row) or (
                same_row and any(parent in self._by_model for parent in model._meta.get_parent_list())
            ):
                self.deleted[model] = tuple(same_row)

    def _nearest(self, model: type[Model]) -> tuple[Registration, ...]:
        """The entries of the classes that ``model`` derives from, itself included, without those behind others."""
        found: list[Registration] = []
        for base in model.__mro__:
            registration = self._by_model.get(base)
            if registration and not any(issubclass(concrete_model(one.model), concrete_model(base)) for one in found):
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
        if reason := _why_not(model):
            message, hint = reason
            self.problems.append(_error("E011", f"{where}['model']: {model._meta.label} {message}.", hint))
            return None
        values = {key: entry[key] for key in ENTRY_KEYS if key in entry}
        if problem := _actions_problem(where, values.get("actions", ACTIONS)):
            self.problems.append(problem)
            del values["actions"]  # all of them: what is wrong loses nothing
        for key, code in (("track_changes", "E025"), ("bulk", "E026")):
            if not isinstance(value := values.get(key, False), bool):
                self.problems.append(_error(code, f"{where}[{key!r}] is {value!r}.", "It must be True or False."))
                del values[key]
        if "m2m" in values:
            values["m2m"], problems = _m2m_fields(where, model, values["m2m"])
            self.problems += problems
        registration = Registration(where=where, **{**values, "model": model})
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
        near = near_models(name)
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


def _roots(models: Collection[type[Model]]) -> list[type[Model]]:
    return [model for model in models if not any(base in models for base in model.__mro__[1:])]


def near_models(name: object) -> list[str]:
    """The label of the installed model that a name is most like, if any is."""
    known = [model._meta.label for model in apps.get_models()]
    return get_close_matches(str(name), known, n=1, cutoff=0.5)


def _actions_problem(where: str, actions: object) -> CheckMessage | None:
    given = actions if isinstance(actions, list | tuple | set | frozenset) else ()
    unknown = [each for each in given if each not in ACTIONS]
    if given and not unknown:
        return None
    known = ", ".join(map(repr, ACTIONS))
    near = get_close_matches(str(unknown[0]), ACTIONS, n=1) if unknown else []
    return _error(
        "E022",
        f"{where}['actions'] is {actions!r}.",
        f"Did you mean {near[0]!r}?" if near else f"It must be a list of some of {known}; leave it out for all.",
    )


def _m2m_fields(where: str, model: type[Model], asked: object) -> tuple[list[str], list[CheckMessage]]:
    """The names of those that are told, and what is wrong with what the entry asks for."""
    where = f"{where}['m2m']"
    fields: dict[str, Any] = {each.name: each for each in model._meta.many_to_many}
    through = {name: each.remote_field.through for name, each in fields.items()}
    told = [name for name in fields if through[name]._meta.auto_created]
    if isinstance(asked, bool):
        return (told if asked else []), []
    if not (isinstance(asked, list | tuple | set | frozenset) and all(isinstance(name, str) for name in asked)):
        return [], [
            _error("E027", f"{where} is {asked!r}.", "It must be True, or a list of many-to-many fields' names.")
        ]
    problems: list[CheckMessage] = []
    for name in asked:
        if name not in fields:
            near = get_close_matches(name, fields, n=1, cutoff=0.5)
            known = ", ".join(fields) or "none"
            hint = f"Did you mean {near[0]!r}?" if near else f"Its many-to-many fields: {known}."
            problems.append(_error("E027", f"{where}: {model._meta.label} has no many-to-many field {name!r}.", hint))
        elif name not in told:
            label = through[name]._meta.label
            problems.append(
                _error(
                    "E027",
                    f"{where}: {model._meta.label}.{name} goes through a model of its own, {label}.",
                    f"Register {label}, with 'bulk': True if add() is used, and leave {name!r} out.",
                )
            )
    return [name for name in told if name in asked], problems


def _entry_problems(registration: Registration) -> Iterator[CheckMessage]:
    where, model = registration.where, registration.model
    for key in ("status_field", "event_name_prefix", "service_name"):
        value = getattr(registration, key)
        if value is not None and not (isinstance(value, str) and value.strip()):
            yield _error("E001", f"{where}[{key!r}] is {value!r}.", "It must be a string with something in it.")
            return
    if registration.status_field and (reason := _no_status(model, registration.status_field)):
        message, hint = reason
        yield _error("E005", f"{where}['status_field']: {message}.", hint)
    if registration.event_name_prefix and set(".*#") & set(registration.event_name_prefix):
        yield Warning(
            f"{where}['event_name_prefix'] is {registration.event_name_prefix!r}: '.', '*' and '#' mean something in "
            "the bindings of RabbitMQ's topic exchanges.",
            hint="Use letters, digits and underscores.",
            id="django_events_sourcing.W002",
        )


def _why_not(model: type[Model]) -> tuple[str, str] | None:
    """Why no saves and deletes of ``model`` could be recorded, and the mend."""
    if model._meta.abstract:
        return "is abstract and has no rows", "Register the models that derive from it."
    if swapped_for := model._meta.swapped:
        return f"is swapped for {swapped_for!r}", f"Register {swapped_for!r}."
    if model._meta.auto_created:
        return (
            "is the table that Django makes for a many-to-many field, and sends no signals",
            "Write a model for it, name it as the field's 'through', and save its instances.",
        )
    return None


def _no_status(model: type[Model], name: str) -> tuple[str, str] | None:
    """Why the attribute ``name`` is no status, and the mend."""
    label = model._meta.label
    states = "Name a field that holds a text, with choices say, or a property."
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        attribute = inspect.getattr_static(model, name, None)
        if isinstance(attribute, property | functools.cached_property | cached_property):
            return None
        if attribute is not None:
            return f"{label}.{name} is a {type(attribute).__name__}, neither a field nor a property", states
        names = [field.name for field in model._meta.concrete_fields]
        near = get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]!r}?" if near else f"Its fields: {', '.join(names)}."
        return f"{label} has no field {name!r}", hint
    stores_a_value = field in model._meta.concrete_fields and name == getattr(field, "attname", None)
    return None if stores_a_value else (f"{label}.{name} is a relation, whose value is an object", states)


def _error(code: str, message: str, hint: str) -> Error:
    return Error(message, hint=hint, id=f"django_events_sourcing.{code}")


#: The registry in force; loaded when Django's apps are ready, and again when tests override its setting.
registry = Registry()
