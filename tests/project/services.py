"""A nameko service of the plainest kind: it writes down each event it handles, as a line of JSON."""

import json
import os
from pathlib import Path
from typing import Any

from nameko.events import event_handler
from nameko.extensions import DependencyProvider

SHOP = os.environ["SERVICE_NAME"]


class Context(DependencyProvider):  # type: ignore[misc]
    """nameko's worker context, as a handler sees it."""

    def get_dependency(self, worker_ctx):
        return {"event": worker_ctx.entrypoint.event_type, **worker_ctx.context_data}


class Recorder:
    name = "recorder"
    context: Any = Context()

    @event_handler(SHOP, "product__created")
    def product_created(self, product):
        self._record(product)

    @event_handler(SHOP, "product__updated")
    def product_updated(self, product):
        self._record(product)

    @event_handler(SHOP, "product__deleted")
    def product_deleted(self, product):
        self._record(product)

    @event_handler(SHOP, "order__created")
    def order_created(self, order):
        self._record(order)

    @event_handler(SHOP, "shipment__started")
    def shipment_started(self, shipment):
        self._record(shipment)

    @event_handler(SHOP, "shipment__finished")
    def shipment_finished(self, shipment):
        self._record(shipment)

    @event_handler(SHOP, "order__billed")
    def order_billed(self, order):
        self._record(order)

    def _record(self, data):
        with Path(os.environ["HANDLED"]).open("a") as handled:
            handled.write(json.dumps({**self.context, "data": data}) + "\n")
