from unittest.mock import patch

from django.test import TestCase

from app.models import Model1, Model2
from django_events_sourcing.testing import disable_dispatcher


def names(mock):
    return [event.name for call in mock.call_args_list for event in call.args[0]]


@disable_dispatcher()
class TestSomething(TestCase):
    """This will disable all registered models for all tests inside the class"""

    def test_all(self):
        with patch("django_events_sourcing.capture.receivers.deliver") as deliver:
            Model1.objects.create(name="x")
        assert names(deliver) == []

    @disable_dispatcher()
    def test_something(self):
        """It also can be used to decorate only one function."""


@disable_dispatcher(models_list=["app.Model1"])
class TestSomethingElse(TestCase):
    """This will disable only 'app.Model1' from being dispatched in all tests
    inside this class.
    """

    def test_one(self):
        with patch("django_events_sourcing.capture.receivers.deliver") as deliver:
            Model1.objects.create(name="x")
            Model2.objects.create(name="x")
        assert names(deliver) == ["model2__created"]

    @disable_dispatcher(models_list=["app.Model2"])
    def test_something(self):
        """It also can be used to decorate only one function."""
        with patch("django_events_sourcing.capture.receivers.deliver") as deliver:
            Model1.objects.create(name="x")
            Model2.objects.create(name="x")
        assert names(deliver) == []
