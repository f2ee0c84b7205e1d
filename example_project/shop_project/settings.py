import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = os.environ.get("DEBUG", "1") == "1"
SECRET_KEY = os.environ.get("SECRET_KEY", "insecure-for-development-only")
ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "localhost,127.0.0.1").split(",")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_events_sourcing",
    "shop",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

ROOT_URLCONF = "shop_project.urls"
WSGI_APPLICATION = "shop_project.wsgi.application"
ASGI_APPLICATION = "shop_project.asgi.application"

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("SHOP_DATABASE", BASE_DIR / "shop.sqlite3"),
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"

# Celery, on Redis.
CELERY_BROKER_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")
CELERY_TASK_DEFAULT_QUEUE = os.environ.get("SHOP_CELERY_QUEUE", "celery")
CELERY_TASK_IGNORE_RESULT = True
# A worker waits for Redis as long as it takes; by default it gives up after 100 tries, and ends.
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None

# Events of the models below, on RabbitMQ.
SERVICE_NAME = os.environ.get("SHOP_SERVICE_NAME", "shop")
NAMEKO_CONFIG = {"AMQP_URI": os.environ.get("AMQP_URI", "amqp://guest:guest@localhost:5672/")}
MODELS_CRUD_EVENT = [
    {"model": "shop.Product"},
    {"model": "shop.Order", "serializer": "shop.serializers.OrderSerializer"},
    {"model": "shop.Shipment", "status_field": "status"},
]
# All of these have defaults; the demo has less patience.
EVENTS_SOURCING = {
    # Only where there is no RabbitMQ, as in the demo on embedded parts.
    "VIRTUAL_TRANSPORT": os.environ.get("SHOP_VIRTUAL_TRANSPORT") == "1",
    "SWEEP_INTERVAL": float(os.environ.get("SHOP_SWEEP_INTERVAL", "10")),
    "LEASE": float(os.environ.get("SHOP_LEASE", "30")),
}
