"""The library's views, as a project has them."""

from django.urls import path

from django_events_sourcing import views

urlpatterns = [
    path("health/", views.health),
    path("metrics", views.metrics),
]
