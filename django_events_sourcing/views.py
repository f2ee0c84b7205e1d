"""Ready views for a project's URLconf, such as ``path("health/", django_events_sourcing.views.health)``."""

from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from django_events_sourcing.capture.registry import registry
from django_events_sourcing.operating.health import ANSWERS
from django_events_sourcing.operating.health import health as ask
from django_events_sourcing.probes import Problem, answer

__all__ = ["health", "metrics", "problems"]


@transaction.non_atomic_requests
@never_cache
@require_safe
def health(request: HttpRequest, only: str = "") -> JsonResponse:
    """Whether this process can save events, and whether they flow: 200, or 503 and what is wrong since when.

    It says nothing that an event holds, and names no host and no user; whether it is for everybody to see is the
    project's to decide. Within two seconds it answers also where a database hangs, and takes two statements for each.

    Args:
        request: GET or HEAD. Its ``only`` is as the argument.
        only: "save" or "flow": that alone. Who restarts or takes out web processes by a probe wants "save", as these
            are not at fault where events don't flow.
    """
    try:
        found = problems(only or request.GET.get("only", ""))
    except ValueError as exc:
        return JsonResponse({"error": str(exc)}, status=400)
    status, body = answer(found)
    return JsonResponse(body, status=status)


@transaction.non_atomic_requests
@never_cache
@require_safe
def metrics(_request: HttpRequest) -> HttpResponse:
    """How the outbox stands, as text for Prometheus.

    Raises:
        ImportError: prometheus-client is missing, which the extra ``[prometheus]`` brings.
    """
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest  # noqa: PLC0415 - an extra

    from django_events_sourcing.metrics import OutboxCollector  # noqa: PLC0415 - it imports that

    registry_of_ours = CollectorRegistry()
    registry_of_ours.register(OutboxCollector())
    return HttpResponse(generate_latest(registry_of_ours), content_type=CONTENT_TYPE_LATEST)


def problems(only: str = "") -> dict[str, list[Problem]]:
    """What is wrong, by what is asked.

    Args:
        only: "save" or "flow": that alone.

    Raises:
        ValueError: It is something else.
    """
    if only and only not in ANSWERS:
        raise ValueError(f"There is no {only!r} to ask for: {' or '.join(ANSWERS)}.")
    return ask(registry.databases, {only} if only else ())
