from typing import assert_type

from django.http import HttpResponse
from django.test import TestCase

from django_events_sourcing import Event, EventQuerySet, aemit, emit, event_context
from django_events_sourcing.exceptions import BulkWriteRefused, BypassError, EventsSourcingError, InvalidEvent
from django_events_sourcing.middleware import EventContextMiddleware
from django_events_sourcing.testing import disable_dispatcher, disable_model_obj_dispatcher
from shop.models import Order, OrderQuerySet

middleware = EventContextMiddleware(lambda request: HttpResponse(request.path))


def pay(order: Order) -> int:
    assert_type(Order.objects.unpaid(), OrderQuerySet)
    assert_type(Order.objects.unpaid().get(), Order)
    assert_type(Order.told.get(), Order)
    assert_type(Order.told.bulk_create([order], update_conflicts=True, unique_fields=["pk"]), list[Order])
    orders: EventQuerySet[Order] = EventQuerySet(Order)
    assert_type(orders.filter(number="1").bulk_update([order], ["is_paid"]), int)
    with event_context(user_id=7):
        assert_type(emit("order__paid", {"number": order.number}, instance=order), Event)
    return Order.objects.unpaid().update(is_paid=True)


async def refund(order: Order) -> Event:
    return await aemit("order__refunded", {"number": order.number}, instance=order)


@disable_dispatcher(models_list=[Order])
class PayTest(TestCase):
    def test_it(self) -> None:
        order = Order(number="1")
        with disable_model_obj_dispatcher(order):
            order.save()
        try:
            pay(order)
        except (BulkWriteRefused, BypassError, InvalidEvent) as exc:
            error: EventsSourcingError = exc
            raise AssertionError from error
