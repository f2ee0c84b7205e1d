"""A Django process that changes objects of its own, and writes down what it did.

    python -m tests.acceptance.writer LEDGER STOP NUMBER

It goes on until the file STOP exists, and it has made NUMBER events. Each line of the ledger is JSON: before a change
what it will do to each object, in order; after its commit how many seconds that took. A process that is killed in
between leaves a change of which only the database knows whether it was committed.
"""

import json
import random
import sys
import time
from pathlib import Path
from uuid import uuid4

import django

django.setup()

from django.db import transaction  # noqa: E402 - Django must be set up

from django_events_sourcing import EventQuerySet, emit  # noqa: E402
from tests.project.models import Product  # noqa: E402

OBJECTS = 20

told: EventQuerySet[Product] = EventQuerySet(Product)


class _RolledBack(Exception):
    pass


class Writer:
    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger.open("a", buffering=1)
        self._products: list[Product] = []
        self._cart = f"shop.cart:{uuid4()}"
        self.events = 0

    def change(self) -> None:
        """One of the things that projects do."""
        if len(self._products) < OBJECTS:
            self._create(random.choice([1, 1, 1, 3]))
            return
        kind = random.random()
        if kind < 0.45:
            self._update(1)
        elif kind < 0.5:
            self._update_and_emit()
        elif kind < 0.55:
            product = random.choice(self._products)
            self._emit("blamed", _key(product), product)
        elif kind < 0.6:
            self._emit("filled", self._cart)
        elif kind < 0.66:
            self._update(3)
        elif kind < 0.71:
            self._update_in_bulk()
        elif kind < 0.75:
            self._bulk_update()
        elif kind < 0.9:
            self._update_and_roll_back()
        else:
            self._delete()

    def _create(self, number: int) -> None:
        products = [Product(name=self._name(), price=1) for _ in range(number)]
        with transaction.atomic():  # so that their keys are known before the commit
            if number == 1:
                products[0].save()
            else:
                told.bulk_create(products)
            self._write({"changes": [[_key(product), "created", product.name] for product in products]})
            began = time.monotonic()
        self._done(number, began)
        self._products += products

    def _update(self, times: int) -> None:
        products = random.sample(self._products, times)
        names = [self._name() for _ in products]
        self._write({"changes": [[_key(p), "updated", name] for p, name in zip(products, names, strict=True)]})
        began = time.monotonic()
        if times == 1:
            self._save(products[0], names[0])
        else:
            with transaction.atomic():
                for product, name in zip(products, names, strict=True):
                    self._save(product, name)
        self._done(times, began)

    def _update_in_bulk(self) -> None:
        products, name = random.sample(self._products, 3), self._name()
        self._write({"changes": [[_key(product), "updated", name] for product in products]})
        began = time.monotonic()
        told.filter(pk__in=[product.pk for product in products]).update(name=name)
        self._done(3, began)
        for product in products:
            product.name = name

    def _bulk_update(self) -> None:
        products = random.sample(self._products, 3)
        for product in products:
            product.name = self._name()
        self._write({"changes": [[_key(product), "updated", product.name] for product in products]})
        began = time.monotonic()
        told.bulk_update(products, ["name"])
        self._done(3, began)

    def _update_and_roll_back(self) -> None:
        product = random.choice(self._products)
        before = product.name
        with transaction.atomic():
            self._save(product, "rolled back")
            emit("product__praised", {"name": "rolled back"}, instance=product)
            told.filter(pk=product.pk).update(name="rolled back")
            transaction.set_rollback(True)
        product.name = before

    def _update_and_emit(self) -> None:
        product, name = random.choice(self._products), self._name()
        self._write({"changes": [[_key(product), "updated", name], [_key(product), "praised", name]]})
        began = time.monotonic()
        with transaction.atomic():
            self._save(product, name)
            emit("product__praised", {"name": name}, instance=product)
        self._done(2, began)

    def _emit(self, kind: str, key: str, product: Product | None = None) -> None:
        name = self._name()
        self._write({"changes": [[key, kind, name]]})
        began = time.monotonic()
        emit(f"it__{kind}", {"name": name}, instance=product, key=None if product else key)
        self._done(1, began)

    def _delete(self) -> None:
        product = self._products.pop(random.randrange(len(self._products)))
        self._write({"changes": [[_key(product), "deleted", product.name]]})
        began = time.monotonic()
        product.delete()
        self._done(1, began)

    def _save(self, product: Product, name: str) -> None:
        product.name = name
        product.save()

    def _name(self) -> str:
        return f"{random.getrandbits(40):x}"

    def _done(self, events: int, began: float) -> None:
        self.events += events
        self._write({"done": time.monotonic() - began, "at": time.time()})

    def _write(self, entry: dict[str, object]) -> None:
        self._ledger.write(json.dumps(entry) + "\n")


def _key(product: Product) -> str:
    return f"project.product:{product.pk}"


if __name__ == "__main__":
    ledger, stop, number = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    writer = Writer(ledger)
    while writer.events < number or not stop.exists():
        writer.change()
        time.sleep(0.002)
