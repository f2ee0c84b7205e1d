"""Settings of the test project; where its servers are comes from the environment."""

import json
import os
from typing import Any

SECRET_KEY = "tests only"
USE_TZ = True
TIME_ZONE = "America/Costa_Rica"  # neither UTC nor the machine's, and without summer time
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "tests.project.urls"
ALLOWED_HOSTS = ["127.0.0.1", "testserver"]
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django.contrib.postgres",  # Django 6.1 wants it for the fields of Booking
    "rest_framework",
    "django_events_sourcing",
    "tests.project",
]
MIDDLEWARE = [
    "tests.project.middleware.StrictContentSecurityPolicy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = "static/"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # fast
DATABASES: dict[str, dict[str, Any]] = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
    "other": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
}

if "SQLITE_DATABASE" in os.environ:
    DATABASES["default"]["NAME"] = os.environ["SQLITE_DATABASE"]
    DATABASES["default"]["OPTIONS"] = {"timeout": float(os.environ.get("SQLITE_TIMEOUT", "5"))}
for alias, prefix, engine, user in (
    ("default", "POSTGRES", "postgresql", "postgres"),
    ("default", "MYSQL", "mysql", "root"),
    ("other", "OTHER_POSTGRES", "postgresql", "postgres"),
):
    if f"{prefix}_PORT" in os.environ:
        DATABASES[alias] = {
            "ENGINE": f"django.db.backends.{engine}",
            "HOST": os.environ.get(f"{prefix}_HOST", "127.0.0.1"),
            "PORT": os.environ[f"{prefix}_PORT"],
            "USER": os.environ.get(f"{prefix}_USER", user),
            "NAME": os.environ[f"{prefix}_DATABASE"],
        }

CELERY_BROKER_URL = os.environ.get("REDIS_URL", "memory://")
CELERY_BROKER_TRANSPORT_OPTIONS = json.loads(os.environ.get("BROKER_TRANSPORT_OPTIONS", "{}"))

CELERY_TASK_DEFAULT_QUEUE = SERVICE_NAME = os.environ.get("SERVICE_NAME", "shop")
NAMEKO_CONFIG = {
    "AMQP_URI": os.environ.get("AMQP_URI", "amqp://127.0.0.1:1/"),  # nobody is there
    **json.loads(os.environ.get("NAMEKO_CONFIG", "{}")),
}
SWAPPED_MODEL = "project.Product"
MODELS_CRUD_EVENT = [
    {"model": "project.Product"},
    {"model": "project.Order", "serializer": "tests.project.serializers.OrderSerializer"},
    {"model": "project.ExpressOrder"},
    {"model": "project.Shipment", "status_field": "status"},
    {"model": "project.UUIDThing"},
    {"model": "project.NaturalThing"},
    {"model": "project.Place"},
    {"model": "project.Restaurant"},
]

EVENTS_SOURCING = json.loads(os.environ.get("EVENTS_SOURCING", "{}"))
