"""For the tests of projects that use the library: keep it from sending events.

Both switches are decorators and context managers, may be nested, and end with the block or test they are on, also if
it raises. As a decorator, which is for tests, ``disable_dispatcher`` holds for the whole process, threads that the test
or a live server starts included, as ``override_settings`` does. As a context manager, which running code may use too,
it holds for its own thread or async task; so does ``disable_model_obj_dispatcher``, however it is used.
"""

import functools
import inspect
import types
import unittest
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from typing import Any, Self, TypeVar, cast

from django.apps import apps
from django.db.models import Model

from django_events_sourcing.capture import switches
from django_events_sourcing.capture.registry import near_models
from django_events_sourcing.capture.stored import concrete_model

__all__ = ["disable_dispatcher", "disable_model_obj_dispatcher"]

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])

# What unittest and pytest call in a test class.
_TEST_METHODS = ("test", "setUp", "setup_", "tearDown", "teardown_", "asyncSetUp", "asyncTearDown")


class _Switch(ABC):
    """A context manager that may be entered again and again, and decorates functions, methods and classes."""

    @abstractmethod
    def _rule(self) -> switches.Rule:
        """What is to be silent."""

    def _around(self) -> AbstractContextManager[object]:
        """What is in force while something decorated runs."""
        return self

    def __enter__(self) -> Self:
        switches.push(self._rule())
        return self

    def __exit__(self, *_exc_info: object) -> None:
        switches.pop()

    def __call__(self, decorated: _Decorated) -> _Decorated:
        """``decorated``, a function or a test class, silent while it or any of its tests runs."""
        if isinstance(decorated, type):
            self._decorate_class(decorated)
            return decorated
        return cast("_Decorated", self._decorate(decorated))

    def _decorate_class(self, cls: type) -> None:
        for name in dir(cls):
            method = inspect.getattr_static(cls, name)
            if not name.startswith(_TEST_METHODS):
                continue
            if isinstance(method, types.FunctionType):
                setattr(cls, name, self._decorate(method))
            elif isinstance(method, classmethod):
                setattr(cls, name, classmethod(self._decorate(method.__func__)))
        if issubclass(cls, unittest.TestCase):
            self._cover_subclasses(cls)

    def _cover_subclasses(self, cls: type[unittest.TestCase]) -> None:
        set_up_class = cls.setUpClass.__func__  # type: ignore[attr-defined]

        @functools.wraps(set_up_class)
        def wrapper(test_class: type[unittest.TestCase]) -> None:
            test_class.enterClassContext(self._around())
            set_up_class(test_class)

        cls.setUpClass = classmethod(wrapper)  # type: ignore[assignment]

    def _decorate(self, function: Callable[..., Any]) -> Callable[..., Any]:
        wrapper: Callable[..., Any]
        if inspect.iscoroutinefunction(function):

            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self._around():
                    return await function(*args, **kwargs)

        elif inspect.isgeneratorfunction(function):  # a pytest fixture that yields

            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self._around():
                    return (yield from function(*args, **kwargs))

        else:

            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self._around():
                    return function(*args, **kwargs)

        return functools.wraps(function)(wrapper)


class disable_dispatcher(_Switch):  # noqa: N801 - a decorator, and the users' name for it
    """Send no events of some or all registered models.

    ``@disable_dispatcher()`` on a test class, function, method or coroutine, for the whole process while it runs; or
    ``with disable_dispatcher():``, for this thread or async task.

    Args:
        models_list: ``"app.Model"`` names or model classes; None for every registered model.

    Raises:
        TypeError: ``models_list`` is no list of models; the parentheses forgotten, say.
        LookupError: A name is no model of an installed app (when the switch is used, not when it is made).
    """

    def __init__(self, models_list: Iterable[str | type[Model]] | None = None) -> None:
        if isinstance(models_list, str) or not (models_list is None or isinstance(models_list, Iterable)):
            raise TypeError(
                f"disable_dispatcher() takes a list of models, not {models_list!r}: write "
                "@disable_dispatcher() or @disable_dispatcher(models_list=['app.Model'])."
            )
        self._models_list = None if models_list is None else list(models_list)

    def _around(self) -> AbstractContextManager[object]:
        return switches.silenced_everywhere(self._rule())

    def _rule(self) -> switches.Rule:
        if self._models_list is None:
            return lambda _model, _instance: True
        models = {_find(model) if isinstance(model, str) else model for model in self._models_list}
        return lambda model, _instance: model in models


def _find(name: str) -> type[Model]:
    with suppress(LookupError, ValueError):
        return apps.get_model(name)
    near = near_models(name)
    raise LookupError(
        f"disable_dispatcher(models_list=[{name!r}]): no installed app has such a model."
        + (f" Did you mean {near[0]!r}?" if near else " Write 'app_label.ModelName'.")
    )


class disable_model_obj_dispatcher(_Switch):  # noqa: N801 - as above
    """Send no events of one instance, nor of another that stands for the same row, in this thread or async task.

    Args:
        instance: A model instance, saved or not.
    """

    def __init__(self, instance: Model) -> None:
        self._instance = instance

    def _rule(self) -> switches.Rule:
        return lambda _model, instance: instance is not None and _is_same_object(instance, self._instance)


def _is_same_object(one: Model, other: Model) -> bool:
    """Whether both stand for one row, be it by a proxy or as parent and child."""
    for derived, base in ((one, other), (other, one)):
        model = concrete_model(type(base))
        if isinstance(derived, model):
            return one is other or (base.pk is not None and getattr(derived, model._meta.pk.attname) == base.pk)
    return False
