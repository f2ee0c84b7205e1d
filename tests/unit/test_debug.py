"""What Django's pages about errors show of the library's settings."""

import pytest
from django.conf import global_settings
from django.test import RequestFactory, override_settings
from django.views.debug import (
    SafeExceptionReporterFilter,
    get_default_exception_reporter_filter,
    technical_500_response,
)

from django_events_sourcing.apps import _hide_passwords
from django_events_sourcing.debug import ExceptionReporterFilter

PASSWORDS = {
    "NAMEKO_CONFIG": {"AMQP_URI": "amqp://shop:s3cret@mq:5672/v", "AMQP_URIS": ["amqp://shop:s3cret@a", ("x",)]},
    "AMQP_URI": "amqp://shop:s3cret@mq:5672/v;amqp://shop:s3cret@mq2/v",
    "CELERY_BROKER_URL": "redis://:s3cret@redis:6379/0",
}


@pytest.mark.parametrize("accept", ["text/html", "text/plain"])
@override_settings(DEBUG=True, **PASSWORDS)
def test_page_of_an_error__shows_no_password(accept):
    """The rest of the URI is there, which is what one looks for. Control: Django's own filter shows it."""
    assert isinstance(get_default_exception_reporter_filter(), ExceptionReporterFilter)
    request = RequestFactory().get("/", headers={"Accept": accept})

    def page():
        return technical_500_response(request, ZeroDivisionError, ZeroDivisionError(), None).content.decode()

    assert "mq:5672/v" in page()
    assert "s3cret" not in page()
    request.exception_reporter_filter = SafeExceptionReporterFilter()
    assert "s3cret" in page()


def test_filter__of_the_projects_own__is_left_alone(settings):
    """It may derive from the library's."""
    name = "DEFAULT_EXCEPTION_REPORTER_FILTER"
    settings.DEFAULT_EXCEPTION_REPORTER_FILTER = "project.Filter"
    _hide_passwords()
    assert settings.DEFAULT_EXCEPTION_REPORTER_FILTER == "project.Filter"
    settings.DEFAULT_EXCEPTION_REPORTER_FILTER = getattr(global_settings, name)
    _hide_passwords()
    assert settings.DEFAULT_EXCEPTION_REPORTER_FILTER == "django_events_sourcing.debug.ExceptionReporterFilter"


def test_filter__hides_what_djangos_does(settings):
    """By the names of settings."""
    cleanse = ExceptionReporterFilter().cleanse_setting
    assert cleanse("SECRET_KEY", "s3cret") == "********************"
    assert cleanse("DATABASES", {"default": {"PASSWORD": "s3cret", "PORT": 5}}) == {
        "default": {"PASSWORD": "********************", "PORT": 5}
    }
    assert cleanse("SOMETHING", "plain text, and a://b:c@d") == "plain text, and a://…@d"
