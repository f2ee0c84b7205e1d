"""The library's views, as a project has them, and those that save."""

import os

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import path

from django_events_sourcing import views
from tests.project.models import Product


def save(_request: HttpRequest, name: str) -> HttpResponse:
    """Save a product of that name."""
    Product.objects.create(name=name, price=1)
    return HttpResponse()


async def asave(_request: HttpRequest, name: str) -> HttpResponse:
    """Save a product of that name, and say by which process."""
    await Product.objects.acreate(name=name, price=1)
    return HttpResponse(str(os.getpid()))


urlpatterns = [
    path("admin/", admin.site.urls),
    path("health/", views.health),
    path("metrics", views.metrics),
    path("save/<name>", save),
    path("asave/<name>", asave),
]
