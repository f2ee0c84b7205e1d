"""In a suite's own process: every model is registered, and the suite counts no statements of the outbox."""

from typing import Any

from django.apps import apps
from django.conf import settings
from django.test.utils import CaptureQueriesContext

__all__ = ["LIBRARY", "register_every_model"]

LIBRARY = ["rest_framework", "django_events_sourcing"]


def register_every_model() -> None:
    """When all apps are there; prints how many models there are, and which ``check`` has something against."""
    from django_events_sourcing.capture import receivers
    from django_events_sourcing.capture.registry import registry
    from django_events_sourcing.capture.trial import try_out

    settings.MODELS_CRUD_EVENT = [
        {
            "model": model,
            "event_name_prefix": model._meta.label_lower.replace(".", "_"),
            "bulk": True,
            "m2m": True,
        }
        for model in apps.get_models()
        if not (model._meta.swapped or model._meta.app_label == "django_events_sourcing")
    ]
    receivers.connect()
    unusable = [each.model for each in registry.registrations if try_out(each).unusable]
    settings.MODELS_CRUD_EVENT = [each for each in settings.MODELS_CRUD_EVENT if each["model"] not in unusable]
    receivers.connect()
    CaptureQueriesContext.captured_queries = property(_captured_queries)  # type: ignore[assignment]
    CaptureQueriesContext.__len__ = lambda self: len(self.captured_queries)  # type: ignore[method-assign]
    names = [model._meta.label for model in unusable]
    print(f"{len(settings.MODELS_CRUD_EVENT)} models are registered; not {names}.")


def _captured_queries(self: Any) -> list[Any]:
    queries = self.connection.queries[self.initial_queries : self.final_queries]
    return [query for query in queries if "django_events_sourcing_" not in query["sql"]]
