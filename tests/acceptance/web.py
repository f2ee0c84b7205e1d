"""A view that saves, as a web server serves it that loads the application before it forks; it has saved by then."""

import os

import django

django.setup()

from django.db import close_old_connections, connections  # noqa: E402 - models are there from here on

from tests.project.models import Product  # noqa: E402

Product.objects.create(name="before", price=1)
connections.close_all()  # no process may use another's


def application(environ, start_response):
    """Save a product, and say by which process."""
    close_old_connections()
    Product.objects.create(name=environ["PATH_INFO"], price=1)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
