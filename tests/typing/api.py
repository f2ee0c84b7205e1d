"""The public names as a user's type checker sees them: mypy reads this file, nothing runs it."""

from datetime import datetime
from typing import Any, assert_type
from uuid import UUID

from django.db.models import Model
from django.http import HttpRequest, HttpResponse, JsonResponse

from django_events_sourcing import Event, aemit, emit, event_context
from django_events_sourcing.middleware import EventContextMiddleware
from django_events_sourcing.testing import disable_dispatcher, disable_model_obj_dispatcher
from django_events_sourcing.views import health, metrics

event = Event(name="order__created", service="shop", object="shop.order:1", body="{}")
assert_type(event.id, UUID)
assert_type(event.time, datetime)
assert_type(event.data, Any)


@disable_dispatcher()
def decorated(number: int) -> str:
    return str(number)


assert_type(decorated(1), str)


@disable_dispatcher(models_list=["shop.Order"])
async def coroutine() -> int:
    return 1


@disable_dispatcher()
class TestSomething:
    def test_it(self) -> None: ...


TestSomething().test_it()


def use(instance: Model) -> None:
    with disable_dispatcher([type(instance), "shop.Order"]), disable_model_obj_dispatcher(instance):
        instance.save()


def emit_some(instance: Model) -> None:
    assert_type(emit("order__refunded", {"amount": 5}, instance=instance), Event)
    emit("cart__abandoned", [], key="shop.cart:17", service="shop", headers={"channel": "web"}, using="default")
    with event_context(user_id=7, correlation_id=lambda: "a1") as context:
        assert_type(context, event_context)


async def emit_one() -> None:
    assert_type(await aemit("cart__abandoned", None, key="shop.cart:17"), Event)


EventContextMiddleware(lambda request: HttpResponse(request.path))
assert_type(health(HttpRequest()), JsonResponse)
assert_type(metrics(HttpRequest()), HttpResponse)
