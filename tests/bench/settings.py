"""The test project's settings, with the models of the benchmark in place of its own, and a web server's."""

from tests.project.settings import *  # noqa: F403
from tests.project.settings import DATABASES, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.bench"]
MIDDLEWARE = [  # as `startproject` writes it
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
MODELS_CRUD_EVENT = [
    {"model": "bench.Told", "serializer": "tests.bench.serializers.ToldSerializer"},
    {"model": "bench.ToldByMethods", "serializer": "tests.bench.serializers.ToldByMethodsSerializer"},
    {"model": "bench.ToldInBulk", "serializer": "tests.bench.serializers.ToldInBulkSerializer", "bulk": True},  # type: ignore[dict-item]
]
DATABASES["default"]["CONN_MAX_AGE"] = 600
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "tests.bench.web"
