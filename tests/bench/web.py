"""A view that saves one order, under gunicorn: `gunicorn tests.bench.web:application`."""

from django.apps import apps
from django.contrib import admin
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

__all__ = ["application", "urlpatterns"]


def save(_request: HttpRequest, model: str) -> HttpResponse:
    order = {"number": "1", "customer": "Ada Lovelace", "total": "12.50", "quantity": 3, "note": "none"}
    apps.get_model("bench", model)._default_manager.create(**order)
    return HttpResponse()


urlpatterns = [path("admin/", admin.site.urls), path("<str:model>", save)]

application = get_wsgi_application()
