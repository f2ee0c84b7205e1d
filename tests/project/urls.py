"""The library's views, as a project has them, and one that saves."""

from django.http import HttpRequest, HttpResponse
from django.urls import path

from django_events_sourcing import views
from tests.project.models import Product


def save(_request: HttpRequest, name: str) -> HttpResponse:
    """Save a product of that name."""
    Product.objects.create(name=name, price=1)
    return HttpResponse()


urlpatterns = [
    path("health/", views.health),
    path("metrics", views.metrics),
    path("save/<name>", save),
]
