from shop_project.settings import *  # noqa: F403

# Tasks run where they are enqueued and publish into this process: tests need neither Redis nor RabbitMQ.
CELERY_TASK_ALWAYS_EAGER = True
NAMEKO_CONFIG = {"AMQP_URI": "memory://"}
