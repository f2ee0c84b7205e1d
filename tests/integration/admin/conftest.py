"""Somebody in Django's admin, and a database that is not the admin's own."""

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db import transaction
from django.db.models import Q
from django.test import Client

from django_events_sourcing.operating import performing

# Django has a "logentry" of its own.
OURS = Q(content_type__app_label__in=["django_events_sourcing", "project"])


@pytest.fixture(scope="session")
def _tables(django_db_setup, django_db_blocker):
    """Those of the admin's own database, which pytest-django makes only for tests that are marked."""
    with django_db_blocker.unblock():
        call_command("migrate", run_syncdb=True, verbosity=0)


@pytest.fixture
def _people(_tables, django_db_blocker):
    """The admin's own database, whose changes are rolled back: pytest-django's fixture would lock the others."""
    with django_db_blocker.unblock(), transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.fixture
def sign_in(_people):
    """Sign somebody in who has these permissions; returns his client."""

    def sign_in(*codenames, name="anna", **options):
        user = get_user_model().objects.create_user(name, password="tests only", is_staff=True)
        user.user_permissions.set(found := Permission.objects.filter(OURS, codename__in=codenames))
        assert len(found) == len(codenames)
        client = Client(**options)
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def viewer(sign_in):
    """Who may look, and do nothing."""
    return sign_in("view_logentry", name="viewer")


@pytest.fixture
def operator(sign_in):
    """Who may do all that there is."""
    return sign_in("view_logentry", "replay_logentry", "bury_logentry")


@pytest.fixture
def sent(monkeypatch):
    """The tasks that were sent to Celery's broker, a list that grows."""
    sent: list[tuple[str, ...]] = []
    monkeypatch.setattr(performing, "enqueue", lambda *task: sent.append(task))
    return sent
