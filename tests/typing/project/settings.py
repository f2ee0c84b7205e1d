"""The settings of a project as small as can be, which mypy reads by ``make lint``."""

SECRET_KEY = "of a project that nobody runs"
INSTALLED_APPS = ["django_events_sourcing", "shop"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SERVICE_NAME = "shop"
MODELS_CRUD_EVENT = [{"model": "shop.Order", "bulk": True, "track_changes": True}]
