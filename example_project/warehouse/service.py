"""A nameko service: it knows nothing of Django and handles what happens in the shop."""

import os
from types import SimpleNamespace
from typing import Any

from nameko.containers import WorkerContext
from nameko.events import event_handler
from nameko.extensions import DependencyProvider

SHOP = os.environ.get("SHOP_SERVICE_NAME", "shop")


class EventDetails(DependencyProvider):
    """What a message has beside its body."""

    def get_dependency(self, worker_ctx: WorkerContext) -> SimpleNamespace:
        return SimpleNamespace(
            name=worker_ctx.entrypoint.event_type,
            id=worker_ctx.data["event_id"],
            object=worker_ctx.data["event_object"],
            time=worker_ctx.data["event_time"],
        )


class Warehouse:
    name = "warehouse"
    event = EventDetails()

    @event_handler(SHOP, "product__created")
    def add_shelf(self, product: dict[str, Any]) -> None:
        self._show(f"a shelf for {product['stock']} x {product['name']}")

    @event_handler(SHOP, "product__updated")
    def relabel_shelf(self, product: dict[str, Any]) -> None:
        self._show(f"{product['name']} is {product['price']} now, {product['stock']} left")

    @event_handler(SHOP, "product__deleted")
    def clear_shelf(self, product: dict[str, Any]) -> None:
        self._show(f"no more {product['name']}")

    @event_handler(SHOP, "order__created")
    def pack(self, order: dict[str, Any]) -> None:
        self._show(f"pack {self._goods(order)}")

    @event_handler(SHOP, "order__updated")
    def repack(self, order: dict[str, Any]) -> None:
        self._show(f"pack anew {self._goods(order)}")

    @event_handler(SHOP, "order__deleted")
    def unpack(self, order: dict[str, Any]) -> None:
        self._show(f"put back {self._goods(order)}")

    @event_handler(SHOP, "shipment__started")
    def open_gate(self, shipment: dict[str, Any]) -> None:
        self._show(f"{shipment['carrier']} takes order {shipment['order']}")

    @event_handler(SHOP, "shipment__finished")
    def archive_papers(self, shipment: dict[str, Any]) -> None:
        self._show(f"{shipment['carrier']} delivered order {shipment['order']}")

    @event_handler(SHOP, "shipment__deleted")
    def shred_papers(self, shipment: dict[str, Any]) -> None:
        self._show(f"forget the papers of order {shipment['order']}")

    def _show(self, deed: str) -> None:
        print(f"handled {self.event.name} {self.event.id} of {self.event.object}: {deed}", flush=True)

    @staticmethod
    def _goods(order: dict[str, Any]) -> str:
        return f"{order['quantity']} x {order['product_name']} for {order['customer']}, {order['total']}"
