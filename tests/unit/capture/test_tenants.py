"""Whose row it is, by the settings of django-tenants; with the library itself in test_tenants.py of acceptance."""

import pytest
from django.core.checks import run_checks
from django.db import connection

from django_events_sourcing.capture.tenants import tenant_of
from tests.project.models import Product

OURS, TENANTS = "django_events_sourcing", "tests.project"


@pytest.fixture
def in_schema(monkeypatch):
    """Have the connection be in a schema."""
    return lambda name: monkeypatch.setattr(connection, "schema_name", name, raising=False)


def is_refused():
    return "django_events_sourcing.E021" in {message.id for message in run_checks(databases=[])}


def test_connection__without_schemas__has_no_tenants(settings):
    """Whatever the settings say."""
    settings.TENANT_APPS = [TENANTS, OURS]
    assert tenant_of(Product, "default") is None
    assert not is_refused()


def test_connection__with_a_schema_of_another_library__has_no_tenants(in_schema):
    """Of which nothing is known."""
    in_schema("acme")
    assert tenant_of(Product, "default") is None
    assert not is_refused()


@pytest.mark.parametrize("app", [TENANTS, "django.apps.config.AppConfig"])
def test_row__in_a_tenants_schema__is_that_tenants(in_schema, settings, app):
    """An app is named by its module, or its config."""
    settings.SHARED_APPS, settings.TENANT_APPS = [OURS], [app]
    in_schema("acme")
    assert tenant_of(Product, "default") == "acme"
    settings.PUBLIC_SCHEMA_NAME = "acme"
    assert tenant_of(Product, "default") is None
    settings.PUBLIC_SCHEMA_NAME = "public"
    settings.TENANT_APPS = ["django.contrib.auth"]
    assert tenant_of(Product, "default") is None


def test_kinds_of_tenants__each_with_its_apps__known(in_schema, settings):
    """Where there are several."""
    in_schema("acme")
    kinds = {"public": {"APPS": [OURS]}, "small": {"APPS": []}, "large": {"APPS": [TENANTS]}}
    settings.TENANT_TYPES = kinds
    assert tenant_of(Product, "default") == "acme"
    assert not is_refused()
    settings.TENANT_TYPES = kinds | {"small": {"APPS": [OURS]}}
    assert is_refused()


@pytest.mark.parametrize("shared, tenants", [([], []), ([OURS], [OURS]), ([], [OURS])])
def test_outbox__not_in_the_shared_schema_alone__refused(in_schema, settings, shared, tenants):
    """Where it is in a tenant's, no worker sees it."""
    in_schema("public")
    settings.SHARED_APPS, settings.TENANT_APPS = shared, tenants
    assert is_refused()
    settings.EVENTS_SOURCING = {"DELIVERY": "direct"}
    assert not is_refused()
