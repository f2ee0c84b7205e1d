"""Run labels of Django's own test suite: ``django_suite.py TESTS [--registered] LABEL…``; see ``test_django_suite.py``.

With ``--registered``, the library is installed and each model is registered.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

LIBRARY = ["rest_framework", "django_events_sourcing"]


def main() -> None:
    """Run them as Django's ``runtests.py`` would; ends with 0, whatever became of the tests."""
    tests, *arguments = sys.argv[1:]
    registered = "--registered" in arguments
    labels = [label for label in arguments if not label.startswith("--")]
    os.chdir(tests)
    sys.path[0] = str(Path(__file__).parent.parent.parent)
    sys.path.insert(0, tests)
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.suites.django_settings"
    with tempfile.TemporaryDirectory() as directory:
        os.environ["TMPDIR"] = tempfile.tempdir = directory
        import runtests  # type: ignore[import-not-found]

        if registered:
            register_all(runtests)
        runtests.django_tests(
            verbosity=1,
            interactive=False,
            failfast=False,
            keepdb=False,
            reverse=False,
            test_labels=labels,
            debug_sql=False,
            parallel=1,
            tags=(),
            exclude_tags=(),
            test_name_patterns=None,
            start_at=None,
            start_after=None,
            pdb=False,
            buffer=False,
            timing=False,
            shuffle=False,
        )


def register_all(runtests: Any) -> None:
    """Have the library installed, in tests with ``available_apps`` as well, and each model registered."""
    from django.apps import apps
    from django.conf import settings
    from django.test.utils import CaptureQueriesContext

    runtests.ALWAYS_INSTALLED_APPS += LIBRARY
    set_up, set_available = runtests.setup_run_tests, apps.set_available_apps

    def set_up_with_all_models(*args: Any, **kwargs: Any) -> Any:
        result = set_up(*args, **kwargs)
        from django_events_sourcing.capture import receivers
        from django_events_sourcing.capture.registry import registry
        from django_events_sourcing.capture.trial import try_out

        settings.MODELS_CRUD_EVENT = [
            {"model": model, "event_name_prefix": model._meta.label_lower.replace(".", "_")}
            for model in apps.get_models()
            if not (model._meta.swapped or model._meta.app_label == "django_events_sourcing")
        ]
        receivers.connect()
        unusable = [each.model for each in registry.registrations if try_out(each).unusable]
        settings.MODELS_CRUD_EVENT = [each for each in settings.MODELS_CRUD_EVENT if each["model"] not in unusable]
        receivers.connect()
        print(
            f"{len(settings.MODELS_CRUD_EVENT)} models are registered; not {[each._meta.label for each in unusable]}."
        )
        return result

    def captured_queries(self: Any) -> list[Any]:
        """Without the outbox's own statements."""
        queries = self.connection.queries[self.initial_queries : self.final_queries]
        return [query for query in queries if "django_events_sourcing_" not in query["sql"]]

    runtests.setup_run_tests = set_up_with_all_models
    apps.set_available_apps = lambda available: set_available([*available, *LIBRARY])  # type: ignore[method-assign]
    CaptureQueriesContext.captured_queries = property(captured_queries)  # type: ignore[assignment]
    CaptureQueriesContext.__len__ = lambda self: len(self.captured_queries)  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
