"""The Celery app, as a user would write it."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.tenants.settings")

app = Celery("tests.tenants")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
