"""Serializers that are made once, and represent one instance after the other."""

# Note [Kept serializers]
# To make a ModelSerializer takes some ten times as long as all that it does for one event. So they are kept, as many
# as are used at a time, where what one is made of is the same each time. It is handed the instance as a new one would
# be, and whatever code of the project's does to it or its fields meanwhile is undone afterwards: to their attributes,
# and to the lists, dicts and sets in those. What two new serializers share, a class attribute or a module's cache
# say, is shared by a kept one, too; what they have each for itself is found by comparing two. If anything in that
# might hold a state that can't be put back, the serializer isn't kept.

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from inspect import getattr_static
from operator import attrgetter
from sys import stdlib_module_names
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Model, QuerySet
from django.db.models.query_utils import DeferredAttribute
from django.utils import timezone
from rest_framework.fields import DateTimeField, Field
from rest_framework.relations import PKOnlyObject
from rest_framework.serializers import BaseSerializer, Serializer
from rest_framework.utils.serializer_helpers import BindingDict

from django_events_sourcing.capture.no_queries import without_queries

__all__ = ["KeptSerializers", "walk"]

# By what a serializer's fields are chosen and made. Where a project has a say in that, it may say something else for
# each instance.
_MAKING = {
    *("__init__", "__new__", "__deepcopy__", "__getattribute__", "__getattr__", "data", "fields", "get_fields"),
    *("get_field_names", "get_default_field_names", "get_extra_kwargs", "get_uniqueness_extra_kwargs"),
    *("include_extra_kwargs", "many_init", "_readable_fields"),
    *("build_field", "build_standard_field", "build_relational_field", "build_nested_field"),
    *("build_property_field", "build_url_field", "build_unknown_field"),
}

# What a class may hold that is no code.
_DECLARATIONS = {"Meta", "_declared_fields"}

_FRAMEWORKS = {"rest_framework", "django"}
_NOT_THE_PROJECT = {"rest_framework", "django_events_sourcing", "builtins", "typing"}
_UNCHANGING = (
    *(str, bytes, int, float, complex, bool, type(None), frozenset, range, type, date, time, timedelta, tzinfo),
    *(Decimal, UUID, FunctionType, MethodType, BuiltinFunctionType),
)


_UNKNOWN = object()


class KeptSerializers:
    """Those of one class, each used by one thread at a time. See Note [Kept serializers].

    Args:
        serializer_class: The class.
        context: Gives the ``context`` of a serializer for each event; None where it has none of the project's.

    Attributes:
        serializer_class: The class.
    """

    def __init__(
        self, serializer_class: type[BaseSerializer[Any]], context: Callable[[], dict[str, Any]] | None = None
    ) -> None:
        self.serializer_class = serializer_class
        self._context = context
        self._free: list[_Kept] = []
        self._may_be_kept = True

    def represent(self, instance: Model) -> Any:
        """What the ``data`` of a new serializer would be for the instance.

        Raises:
            Exception: Whatever the serializer raises.
        """
        kept = self._take()
        if kept is None:
            return self.new(instance).data
        data = kept.represent(instance, self._context and self._context())
        self._free.append(kept)  # not if it raised: in what state it is nobody knows
        return data

    def changed(
        self, earlier: Model, data: object, columns: Collection[str], related: Collection[str] = ()
    ) -> list[str] | None:
        """Which parts of what ``represent`` gave were others before. The database is not asked.

        Related rows are not changed by a save. What else is computed by a query counts as changed.

        Args:
            earlier: The instance as it was.
            data: What ``represent`` gave for it as it is now.
            columns: The attributes of the fields of its model that have changed.
            related: The names of its many-to-many fields that have.

        Returns:
            The names of the parts; None if it can't be told.
        """
        if not isinstance(data, Mapping):
            return None
        kept = self._take()
        if kept is None:
            return _changed_parts(self.new(earlier), earlier, data, columns, related)
        changed = kept.changed(earlier, data, columns, related, self._context and self._context())
        self._free.append(kept)
        return changed

    def new(self, *instance: Model) -> BaseSerializer[Any]:
        """A serializer of its own for an instance, or for none."""
        if self._context is None:  # a class of the project's may take none
            return self.serializer_class(*instance)
        return self.serializer_class(*instance, context=self._context())

    def _take(self) -> "_Kept | None":
        # Taken out while it is used: by other threads, and by its own code, which may save another instance.
        with suppress(IndexError):
            return self._free.pop()
        if self._may_be_kept:
            try:
                return _Kept(self.new)
            except _NotKeptError:
                self._may_be_kept = False
        return None


class _NotKeptError(Exception):
    """Each event needs a serializer of its own."""


class _Kept:
    def __init__(self, make: Callable[[], BaseSerializer[Any]]) -> None:
        serializer: Any = make()
        if any(isinstance(each, BaseSerializer) and _has_own_making(type(each)) for _, each in walk(serializer)):
            raise _NotKeptError
        self._serializer = serializer
        self._put_back: list[Callable[[], None]] = []
        if any(_has_own_code(type(each)) for _, each in walk(serializer)):
            other = make()
            list(walk(other))  # has its fields made, as those of the first are by now
            self._put_back = list(_private_state(serializer, other, set()))
        else:  # nobody changes what the fields show
            _take_short_cuts(serializer)

    def represent(self, instance: Model, context: dict[str, Any] | None) -> Any:
        self._set(instance, context)
        data = self._serializer.to_representation(instance)
        self._reset()
        return data

    def changed(
        self,
        earlier: Model,
        data: Mapping[str, Any],
        columns: Collection[str],
        related: Collection[str],
        context: dict[str, Any] | None,
    ) -> list[str] | None:
        self._set(earlier, context)
        changed = _changed_parts(self._serializer, earlier, data, columns, related)
        self._reset()
        return changed

    def _set(self, instance: Model, context: dict[str, Any] | None) -> None:
        self._serializer.instance = instance
        if context is not None:
            vars(self._serializer)["_context"] = context

    def _reset(self) -> None:
        self._serializer.instance = None
        for put_back in self._put_back:
            put_back()


def _take_short_cuts(serializer: Any) -> None:
    """Have fields know what REST framework would find out for each instance anew.

    Those that show a column get its value without a look at what else their source could be; moments are in the
    project's time zone, as all of a body is; and REST framework's own kind of dict, which they are in, is a slow one.
    """
    if isinstance(serializer, Serializer):
        vars(serializer)["fields"] = dict(serializer.fields)
    model = getattr(getattr(serializer, "Meta", None), "model", None)
    if not (isinstance(model, type) and issubclass(model, Model)):
        return
    zone: Any = timezone.get_default_timezone() if settings.USE_TZ else None
    columns = {each.attname for each in model._meta.concrete_fields}
    for field in getattr(serializer, "_readable_fields", ()):
        is_drfs = type(field).get_attribute is Field.get_attribute
        if is_drfs and field.source in columns and type(getattr_static(model, field.source)) is DeferredAttribute:
            field.get_attribute = attrgetter(field.source)
        if isinstance(field, DateTimeField) and not hasattr(field, "timezone"):
            field.timezone = zone


def _changed_parts(
    serializer: Any, earlier: Model, data: Mapping[str, Any], columns: Collection[str], related: Collection[str]
) -> list[str] | None:
    """As ``KeptSerializers.changed``, by a serializer of the earlier instance."""
    has_own_data = any("data" in vars(cls) for cls in _of_the_project(type(serializer)))
    with without_queries():
        if not has_own_data and type(serializer).to_representation is Serializer.to_representation:
            return list(_changed_fields(serializer, earlier, data, columns, related))
        try:
            before = serializer.data if has_own_data else serializer.to_representation(earlier)
            return [name for name in {**before, **data} if before.get(name, _UNKNOWN) != data.get(name, _UNKNOWN)]
        except Exception:  # noqa: BLE001 - of the project's own code, which may ask the database
            return None


def _changed_fields(
    serializer: Any, earlier: Model, data: Mapping[str, Any], columns: Collection[str], related: Collection[str]
) -> Iterator[str]:
    sources = {_accessor(each): each for each in earlier._meta.get_fields()}
    for field in getattr(serializer, "_readable_fields"):  # noqa: B009 - of no public name
        source: Any = sources.get(field.source_attrs[0]) if field.source_attrs else None
        if source is not None:
            if source.many_to_many and field.source_attrs[0] in related:
                yield field.field_name
                continue
            is_elsewhere = source.many_to_many or (source.auto_created and not source.concrete)
            if is_elsewhere or (source.concrete and source.attname not in columns):
                continue
        try:
            attribute = field.get_attribute(earlier)
            shows_none = (attribute.pk if isinstance(attribute, PKOnlyObject) else attribute) is None
            before = None if shows_none else field.to_representation(attribute)
        except Exception:  # noqa: BLE001 - left out then, or code of the project's that asks the database
            before = _UNKNOWN
        if before != data.get(field.field_name, _UNKNOWN):
            yield field.field_name


def _accessor(field: Any) -> str | None:
    """By which attribute of an instance a field, or a relation from elsewhere, is read."""
    name: str | None = field.get_accessor_name() if hasattr(field, "get_accessor_name") else field.name
    return name


def walk(field: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """A serializer or field and all that is within it, with their paths, such as ``"lines.product"``."""
    yield path, field
    for inner in (getattr(field, "child", None), getattr(field, "child_relation", None)):
        if isinstance(inner, Field):
            yield from walk(inner, path)
    if isinstance(field, BaseSerializer):
        for name, inner in getattr(field, "fields", {}).items():
            yield from walk(inner, f"{path}.{name}" if path else name)


def _has_own_code(field_class: type) -> bool:
    return any(
        name not in _DECLARATIONS and (callable(value) or not name.startswith("__"))
        for cls in _of_the_project(field_class)
        for name, value in vars(cls).items()
    )


def _has_own_making(serializer_class: type) -> bool:
    return any(not _MAKING.isdisjoint(vars(cls)) for cls in _of_the_project(serializer_class))


def _of_the_project(cls: type) -> Iterator[type]:
    return (each for each in cls.__mro__ if _origin(each) not in _NOT_THE_PROJECT)


def _origin(cls: type) -> str:
    return cls.__module__.partition(".")[0]


def _private_state(one: Any, other: Any, seen: set[int]) -> Iterator[Callable[[], None]]:
    """What puts back all that ``one`` has and ``other``, which was made like it, does not share.

    Raises:
        _NotKeptError: There is something that nothing is known of.
    """
    if one is other or id(one) in seen or isinstance(one, _UNCHANGING):
        return
    seen.add(id(one))
    if isinstance(one, dict):
        yield _restorer(one)
        children = [(value, other[key]) for key, value in one.items() if key in other]
    elif isinstance(one, list | deque):
        yield _restorer(one)
        children = list(zip(one, other, strict=False))
    elif isinstance(one, set):
        yield _restorer(one)
        children = []
    elif isinstance(one, tuple):
        children = list(zip(one, other, strict=False))
    elif isinstance(one, QuerySet):  # whose results are kept on it
        yield _restorer(vars(one))
        children = []
    elif isinstance(one, Field | BindingDict) or (_is_of_a_project(type(one)) and hasattr(one, "__dict__")):
        attributes = vars(one)
        yield _restorer(attributes)
        # what a field was declared by is there to make others after it
        children = [
            (value, vars(other).get(name, value))
            for name, value in attributes.items()
            if name not in {"_args", "_kwargs"}
        ]
    elif _origin(type(one)) in _FRAMEWORKS:
        return
    else:
        raise _NotKeptError
    for child, its_other in children:
        yield from _private_state(child, its_other, seen)


def _restorer(container: Any) -> Callable[[], None]:
    """What gives a list, deque, dict or set back the items that it has now."""
    saved = container.copy()
    fill = container.extend if isinstance(container, list | deque) else container.update

    def put_back() -> None:
        container.clear()
        fill(saved)

    return put_back


def _is_of_a_project(cls: type) -> bool:
    return _origin(cls) not in {*_FRAMEWORKS, *stdlib_module_names}
