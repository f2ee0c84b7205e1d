"""What the demo lets Django do: each step says itself, what events it left in the outbox, and that it is done."""

import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction

from django_events_sourcing.models import LogEntry
from shop.models import Order, Product, Shipment

BURST = 60
BURST_PAUSE = 0.05


class PaymentDeclinedError(Exception):
    pass


class Command(BaseCommand):
    help = "Does one thing after the other in the shop, so that its events can be watched."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--pause", action="store_true", help="wait for Enter after each step")

    def handle(self, *, pause: bool, **_options: Any) -> None:
        self.pause = pause
        self.steps = 0
        self.shown = 0

        with self.step("create a product", "product__created"):
            teapot = Product.objects.create(name="Teapot", price=Decimal("24.90"), stock=10)

        with self.step("create an order", "order__created"):
            order = Order.objects.create(customer="Ada", product=teapot, quantity=1)

        with self.step("update the order", "order__updated"):
            order.quantity = 3
            order.save()

        with self.step("create its shipment, status started", "shipment__started"):
            shipment = Shipment.objects.create(order=order, carrier="Pigeon Post")

        with self.step("save it with status finished", "shipment__finished"):
            shipment.status = Shipment.Status.FINISHED
            shipment.save()

        with self.step("delete the order (its shipment goes along)", "shipment__deleted, order__deleted"):
            order.delete()

        with self.step("create an order, then roll back"), suppress(PaymentDeclinedError), transaction.atomic():
            Order.objects.create(customer="Mallory", product=teapot, quantity=10)
            raise PaymentDeclinedError

        with self.step("create another order, committed", "order__created"):
            Order.objects.create(customer="Grace", product=teapot, quantity=2)

        with self.step(f"save a product {BURST} times", f"{BURST} x product__updated"):
            for sold in range(1, BURST + 1):
                teapot.stock = 1000 - sold
                teapot.save()
                time.sleep(BURST_PAUSE)

    @contextmanager
    def step(self, deed: str, expected: str = "nothing") -> Iterator[None]:
        self.steps += 1
        self.stdout.write(f"step {self.steps}: {deed} -> {expected}")
        yield
        for entry in LogEntry.objects.filter(sequence__gt=self.shown).order_by("sequence"):
            self.stdout.write(f"event {entry.name} {entry.event_id} of {entry.object} is in the outbox")
            self.shown = entry.sequence
        self.stdout.write("done")
        if self.pause:
            input()
