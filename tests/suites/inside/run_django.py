"""Run labels of Django's own test suite: ``run_django.py TESTS LABEL…``; with REGISTERED set, each model is registered.

Its outcomes are written by ``outcomes.Runner``.
"""

import os
import sys
import tempfile
from typing import Any

from registering import LIBRARY, register_every_model  # type: ignore[import-not-found]


def main() -> None:
    """Run them as Django's ``runtests.py`` would; ends with 0, whatever became of the tests."""
    tests, *labels = sys.argv[1:]
    os.chdir(tests)
    sys.path.insert(0, tests)
    os.environ["DJANGO_SETTINGS_MODULE"] = "django_settings"
    with tempfile.TemporaryDirectory() as directory:
        os.environ["TMPDIR"] = tempfile.tempdir = directory
        import runtests  # type: ignore[import-not-found]

        if os.environ.get("REGISTERED"):
            register_all(runtests)
        options = {"failfast": False, "interactive": False, "keepdb": False, "reverse": False, "debug_sql": False}
        more = {"test_name_patterns": None, "start_at": None, "start_after": None, "shuffle": False}
        runtests.django_tests(
            verbosity=1,
            test_labels=labels,
            parallel=1,
            tags=(),
            exclude_tags=(),
            pdb=False,
            buffer=False,
            timing=False,
            **options,
            **more,
        )


def register_all(runtests: Any) -> None:
    """Have the library installed, in tests with ``available_apps`` as well, and each model registered."""
    from django.apps import apps

    runtests.ALWAYS_INSTALLED_APPS += LIBRARY
    set_up, set_available = runtests.setup_run_tests, apps.set_available_apps

    def set_up_with_all_models(*args: Any, **kwargs: Any) -> Any:
        result = set_up(*args, **kwargs)
        register_every_model()
        return result

    runtests.setup_run_tests = set_up_with_all_models
    apps.set_available_apps = lambda available: set_available([*available, *LIBRARY])  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
