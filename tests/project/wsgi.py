"""The project under a WSGI server, its static files too: `gunicorn tests.project.wsgi`."""

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

application = StaticFilesHandler(get_wsgi_application())
