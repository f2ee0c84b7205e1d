"""While ``manage.py migrate`` runs: models are saved, by data migrations say, before the outbox has its tables."""

import logging
from typing import Any

from django.apps import AppConfig, apps
from django.db import DEFAULT_DB_ALIAS
from django.db.models.signals import post_migrate, pre_migrate

from django_events_sourcing.conf import get_settings
from django_events_sourcing.outbox.tables import has_tables
from django_events_sourcing.types import Alias

__all__ = ["connect", "lacks_tables"]

logger = logging.getLogger(__name__)

# The databases that are being migrated and have shown no tables yet; those of which that was said.
_migrating: dict[Alias, bool] = {}


def connect(app_config: AppConfig) -> None:
    """Have Django say when it migrates a database."""
    pre_migrate.connect(_begin, sender=app_config, dispatch_uid=__name__)


def lacks_tables(using: Alias) -> bool:
    """Whether a change in database ``using`` is to send nothing, as it is being migrated and there is no outbox yet.

    A database without tables that is not being migrated is an error: somebody forgot to.
    """
    if using not in _migrating or get_settings().delivery != "outbox":
        return False
    if has_tables(using):
        del _migrating[using]
        return False
    if not _migrating[using]:
        _migrating[using] = True
        logger.warning(
            "Database %r is being migrated, and has no outbox yet: until it has one, changes send no events. (For "
            "them to send events, make the migration that saves depend on ('django_events_sourcing', '0001_initial').)",
            using,
            extra={"database": using},
        )
    return True


# Sent by hand, these signals may lack what Django sends along.


def _begin(*, using: Alias = DEFAULT_DB_ALIAS, **_: Any) -> None:
    _migrating[using] = False
    post_migrate.disconnect(dispatch_uid=__name__)
    post_migrate.connect(_end, dispatch_uid=__name__)  # behind all others, which may save, too


def _end(*, sender: object, using: Alias = DEFAULT_DB_ALIAS, **_: Any) -> None:
    if sender is [app for app in apps.get_app_configs() if app.models_module][-1]:
        _migrating.pop(using, None)
