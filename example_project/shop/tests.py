# ruff: noqa: PT009 - in the words of unittest, as Django projects test
from decimal import Decimal

from django.conf import settings
from django.test import TestCase
from kombu import Connection, Exchange, Queue

from django_events_sourcing.testing import disable_dispatcher
from shop.models import Order, Product


@disable_dispatcher()
class OrderTest(TestCase):
    """What has nothing to do with events runs without them."""

    def test_total_is_price_times_quantity(self) -> None:
        teapot = Product.objects.create(name="Teapot", price=Decimal("24.90"))

        order = Order.objects.create(customer="Ada", product=teapot, quantity=3)

        self.assertEqual(order.total, Decimal("74.70"))


class OrderEventTest(TestCase):
    """Celery is eager here and the broker in memory, see ``shop_project.test_settings``."""

    def test_order_placed_by_the_api_is_published(self) -> None:
        with disable_dispatcher(models_list=["shop.Product"]):
            teapot = Product.objects.create(name="Teapot", price=Decimal("24.90"))

        with Connection(settings.NAMEKO_CONFIG["AMQP_URI"]) as connection:
            events = Exchange(f"{settings.SERVICE_NAME}.events", type="topic")
            placed = connection.SimpleQueue(Queue("placed", events, routing_key="order__created"))
            with self.captureOnCommitCallbacks(execute=True):
                order = {"customer": "Ada", "product": teapot.pk, "quantity": 3}
                response = self.client.post("/api/orders/", order)
            message = placed.get(block=False)

        self.assertEqual(response.status_code, 201)
        self.assertEqual(message.payload, response.json())
        self.assertEqual(message.payload["total"], "74.70")
