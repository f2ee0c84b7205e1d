"""Which of kombu's transports events may be published over."""

from django_events_sourcing.conf import Settings
from django_events_sourcing.delivery.celery_app import is_eager, project_app
from django_events_sourcing.delivery.in_tests import any_test_database
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.texts import without_passwords
from django_events_sourcing.uris import is_virtual

__all__ = ["MEND", "virtual_transport_problem"]

# Note [Virtual transports]
# Over Redis, SQS, a folder or its own memory, kombu plays a broker itself, in the publishing process. It confirms
# nothing, and drops without a word what it sees no queue for: an event would count as published and be nowhere. Whoever
# pastes the URL of Celery's broker doesn't mean that.


#: What to do about it.
MEND = (
    "Set it to that of RabbitMQ, amqp://…; the URL of Celery's broker is another setting, CELERY_BROKER_URL. For a "
    "demo that may lose events, set EVENTS_SOURCING['VIRTUAL_TRANSPORT'] = True."
)


def virtual_transport_problem(settings: Settings) -> str | None:
    """Why events may not be published over the transport of the settings' ``AMQP_URI``, which is sound.

    Returns:
        A text to be shown, without a password; None if they may: it is RabbitMQ's, or ``VIRTUAL_TRANSPORT`` is set, or
        it is ``memory://`` in eager mode or with a test database, where whoever publishes reads, too.
    """
    uri = settings.nameko_config.get("AMQP_URI")
    if settings.virtual_transport or not is_virtual(uri) or (str(uri).startswith("memory:") and _is_in_one_process()):
        return None
    return (
        f"AMQP_URI or NAMEKO_CONFIG['AMQP_URI'] is {without_passwords(uri)}, which is no RabbitMQ: nothing confirms an "
        "event there, and one that no queue is bound for is lost without a word."
    )


def _is_in_one_process() -> bool:
    try:
        return any_test_database() is not None or is_eager(project_app())
    except ConfigurationError:
        return False
