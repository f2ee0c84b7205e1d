"""Settings as the README of version 0.8.0 has them; only where the servers are is not written out."""

import os

SECRET_KEY = "x"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
CELERY_BROKER_URL = os.environ["REDIS_URL"]

# Config to be passed to ClusterRpcProxy
SERVICE_NAME = "service_name"
NAMEKO_CONFIG = {"AMQP_URI": os.environ["AMQP_URI"]}
INSTALLED_APPS = [
    "app",
    "django_events_sourcing",
]
# List of Model and Serializer to be used for the event.
MODELS_CRUD_EVENT = [
    {"model": "app.Model1", "serializer": "app.serializers.Model1Serializer"},
    {"model": "app.Model2"},
    {"model": "app.ModelWithStatus", "status_field": "status"},
]
