"""The test project's settings, with the models of the benchmark in place of its own."""

from tests.project.settings import *  # noqa: F403
from tests.project.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.bench"]
MODELS_CRUD_EVENT = [{"model": "bench.Told", "serializer": "tests.bench.serializers.ToldSerializer"}]
