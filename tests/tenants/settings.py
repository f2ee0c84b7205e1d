"""Its settings; where its servers are comes from the environment."""

import json
import os

SECRET_KEY = "tests only"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

SHARED_APPS = ["django_tenants", "django.contrib.contenttypes", "tests.tenants.directory", "django_events_sourcing"]
TENANT_APPS = ["django.contrib.contenttypes", "tests.tenants.notes"]
if "TENANT_APPS" in os.environ:
    TENANT_APPS = os.environ["TENANT_APPS"].split(",")
INSTALLED_APPS = list(dict.fromkeys([*SHARED_APPS, *TENANT_APPS]))
TENANT_MODEL = "directory.Client"
TENANT_DOMAIN_MODEL = "directory.Domain"
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
DATABASES = {
    "default": {
        "ENGINE": "django_tenants.postgresql_backend",
        "HOST": "127.0.0.1",
        "PORT": os.environ["POSTGRES_PORT"],
        "USER": "postgres",
        "NAME": os.environ["POSTGRES_DATABASE"],
    }
}

CELERY_BROKER_URL = os.environ["REDIS_URL"]
CELERY_TASK_DEFAULT_QUEUE = SERVICE_NAME = os.environ["SERVICE_NAME"]
NAMEKO_CONFIG = {"AMQP_URI": os.environ["AMQP_URI"]}
MODELS_CRUD_EVENT = [{"model": "notes.Note"}, {"model": "directory.Plan"}]
EVENTS_SOURCING = json.loads(os.environ.get("EVENTS_SOURCING", "{}"))
