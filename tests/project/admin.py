"""A model in Django's admin, for links to it."""

from django.contrib import admin

from tests.project.models import Product

admin.site.register(Product)
