"""What Django's pages and mails about an error show of the settings."""

from typing import Any

from django.views.debug import SafeExceptionReporterFilter

from django_events_sourcing.texts import without_credentials

__all__ = ["ExceptionReporterFilter"]


class ExceptionReporterFilter(SafeExceptionReporterFilter):
    """Django's own, which hides the user and password of each URI, too: of ``NAMEKO_CONFIG`` or ``CELERY_BROKER_URL``.

    Django hides settings by their names, and ``AMQP_URI`` is none of those that it knows. The library has this stand in
    ``DEFAULT_EXCEPTION_REPORTER_FILTER`` where the project has named no other; one of its own may derive from it.
    """

    def cleanse_setting(self, key: Any, value: Any) -> Any:
        """What is shown of a setting."""
        cleansed = super().cleanse_setting(key, value)
        return without_credentials(cleansed) if isinstance(cleansed, str) else cleansed
