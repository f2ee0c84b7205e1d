"""The project under an ASGI server: `uvicorn tests.project.asgi:application`."""

from django.core.asgi import get_asgi_application

application = get_asgi_application()
