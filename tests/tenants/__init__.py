"""A project with a schema for each tenant, by django-tenants."""

from tests.tenants.celery import app as celery_app

__all__ = ["celery_app"]
