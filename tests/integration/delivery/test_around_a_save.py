"""Code around the saves and deletes of a model, without the library and with it: it sees and does the same.

``registered`` is False in the control.
"""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.base import ContentFile
from django.db import DatabaseError, IntegrityError, connections, transaction
from django.db.backends.postgresql.psycopg_any import is_psycopg3
from rest_framework import serializers

from django_events_sourcing.exceptions import SerializationError
from django_events_sourcing.models import LogEntry
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.partitioning import PARTITIONS
from tests.integration.conftest import execute
from tests.project.models import Article, Document, Product, Signed, Unregistered


class FailingSerializer(serializers.ModelSerializer):
    something = serializers.SerializerMethodField()

    class Meta:
        model = Signed
        fields = ["name", "something"]

    def get_something(self, signed):
        raise ValueError("no")


NOT_ON_MARIADB = pytest.mark.parametrize("database", ["sqlite", "postgresql", "binding"], indirect=True)


@pytest.fixture(params=[False, True], ids=["control", "registered"])
def registered(request, settings):
    """Whether the models are registered."""
    settings.EVENTS_SOURCING = {"DELIVERY": "outbox"}
    models = [Article, Document, Product, Signed] if request.param else []
    settings.MODELS_CRUD_EVENT = [{"model": model} for model in models]
    return request.param


@contextmanager
def begun_by_hand(using: str, end: str = "ROLLBACK") -> Iterator[None]:
    """A transaction that Django doesn't know of."""
    execute(using, "BEGIN")
    try:
        yield
    finally:
        execute(using, end)


def names(using: str) -> list[str]:
    return list(LogEntry.objects.using(using).order_by("sequence").values_list("name", flat=True))


def in_threads(count: int, using: str, work: Any) -> list[Exception]:
    """What the calls of ``work`` raised, each with its number, all at the same time."""
    raised: list[Exception] = []
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        with closing(connections[using]):
            barrier.wait(30)
            try:
                work(number)
            except DatabaseError as exc:
                raised.append(exc)

    threads = [threading.Thread(target=run, args=[number]) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return raised


def test_deletes__at_the_same_time__wait_for_each_other(database, registered):
    """Also where the body is read from a many-to-many table, before the row is deleted."""
    product = Product.objects.using(database).create(name="pen", price=1)
    articles = [Article.objects.using(database).create(title=str(number)) for number in range(80)]
    for article in articles:
        article.products.add(product)

    def delete(number: int) -> None:
        for article in articles[number::4]:
            article.delete()

    assert in_threads(4, database, delete) == []
    assert Article.objects.using(database).count() == 0
    assert names(database).count("article__deleted") == (80 if registered else 0)


@NOT_ON_MARIADB
@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_transaction__begun_by_hand__is_of_the_events_too(database, registered, end):
    """Django takes the connection for one in autocommit mode."""
    with begun_by_hand(database, end):
        product = Product.objects.using(database).create(name="pen", price=1)
        product.save()
    is_kept = end == "COMMIT"
    assert Product.objects.using(database).count() == (1 if is_kept else 0)
    assert names(database) == (["product__created", "product__updated"] if is_kept and registered else [])
    Product.objects.using(database).create(name="pencil", price=1)
    assert connections[database].get_autocommit()


@pytest.mark.skipif(not is_psycopg3, reason="psycopg 2 has no such thing")
@pytest.mark.parametrize("database", ["postgresql", "binding"], indirect=True)
def test_transaction__of_psycopg__is_of_the_events_too(database, registered):
    connections[database].ensure_connection()
    with connections[database].connection.transaction():
        Product.objects.using(database).create(name="pen", price=1)
    with connections[database].connection.transaction(force_rollback=True):
        Product.objects.using(database).create(name="pencil", price=1)
    assert [product.name for product in Product.objects.using(database)] == ["pen"]
    assert names(database) == (["product__created"] if registered else [])


@NOT_ON_MARIADB
def test_transaction__begun_by_hand_and_broken__fails_as_any(database, registered):
    """A statement that fails in it is the caller's, and so is what comes after it."""
    with begun_by_hand(database), pytest.raises(IntegrityError):
        Product(name="without a price").save(using=database)
    Product.objects.using(database).create(name="pen", price=1)
    assert names(database) == (["product__created"] if registered else [])


@NOT_ON_MARIADB
def test_delivery_direct__in_a_transaction_begun_by_hand__refused(database, settings):
    """It could be rolled back after its events are sent."""
    settings.EVENTS_SOURCING = {"DELIVERY": "direct"}
    settings.MODELS_CRUD_EVENT = [{"model": Product}]
    refused = pytest.raises(transaction.TransactionManagementError, match="begun by hand")
    with begun_by_hand(database), refused:
        Product.objects.using(database).create(name="pen", price=1)


@pytest.fixture
def on_save(monkeypatch):
    """Have the storage of a model's files do something, too."""

    def on_save(model, action):
        monkeypatch.setattr(model._meta.get_field("file").storage, "on_save", action)

    return on_save


@pytest.mark.parametrize("model", [Document, Signed])
def test_storage__of_a_file__runs_outside_the_transaction_of_the_save(database, registered, on_save, model):
    """It may have a transaction of its own, one that is not part of any other; of a row that exists, or does not."""

    def remember() -> None:
        with transaction.atomic(using=database, durable=True):
            Unregistered.objects.using(database).create(name="x")

    on_save(model, remember)
    document = model(pk=None if model is Document else "n", file=ContentFile(b"x", name="a.txt"))
    document.save(using=database)
    document.file = ContentFile(b"y", name="b.txt")
    document.save(using=database)
    assert Unregistered.objects.using(database).count() == 2
    assert names(database) == ([f"{model.__name__.lower()}__{a}" for a in ("created", "updated")] if registered else [])


def test_storage__of_a_file__keeps_its_rows_if_the_save_fails(database, registered, on_save):
    on_save(Signed, lambda: Unregistered.objects.using(database).create(name="x"))
    Signed.objects.using(database).create(name="n")
    with pytest.raises(IntegrityError):
        Signed(name="n", file=ContentFile(b"x", name="a.txt")).save(using=database, force_insert=True)
    assert Unregistered.objects.using(database).count() == 1
    assert names(database) == (["signed__created"] if registered else [])


def test_field__that_finds_no_row_to_update__runs_outside_the_transaction_of_the_insert(
    database, registered, monkeypatch
):
    """Django makes the values once for the UPDATE, and once or twice more for the INSERT."""
    seen = []

    def pre_save(self, instance, add):
        with transaction.atomic(using=database, durable=True):
            seen.append(add)
        return instance.file

    monkeypatch.setattr(type(Signed._meta.get_field("file")), "pre_save", pre_save)
    Signed(name="n").save(using=database)
    assert (seen[0], set(seen[1:])) == (False, {True})
    assert names(database) == (["signed__created"] if registered else [])


def test_event__that_fails__takes_the_row_along_and_not_what_the_storage_wrote(database, settings, on_save):
    """The library's transaction is of the row and its event."""
    settings.MODELS_CRUD_EVENT = [{"model": Signed, "serializer": FailingSerializer}]
    on_save(Signed, lambda: Unregistered.objects.using(database).create(name="x"))
    with pytest.raises(SerializationError):
        Signed(name="n", file=ContentFile(b"x", name="a.txt")).save(using=database)
    assert (Signed.objects.using(database).count(), Unregistered.objects.using(database).count()) == (0, 1)


def test_save__that_asks_first_whether_the_row_is_there__waits(database, registered, monkeypatch):
    """``select_on_save`` reads in no transaction: in one, SQLite would refuse to write after it."""
    monkeypatch.setattr(Product._meta, "select_on_save", True)
    products = [Product.objects.using(database).create(name=str(number), price=1) for number in range(4)]

    def save(number: int) -> None:
        for _ in range(20):
            products[number].save()

    assert in_threads(4, database, save) == []
    assert names(database).count("product__updated") == (80 if registered else 0)


@pytest.mark.parametrize("database", ["derived"], indirect=True)
def test_backend__derived_from_postgresqls__has_its_events(database, registered):
    """What it can do counts, not what it calls itself."""
    product = Product.objects.using(database).create(name="pen", price=1)
    product.save()
    product.delete()
    actions = ["created", "updated", "deleted"]
    assert names(database) == ([f"product__{action}" for action in actions] if registered else [])
    queries.ensure_partitions(database)
    owner, everything = uuid4(), range(PARTITIONS)
    assert queries.take(database, owner, everything, 60) == set(everything)
    current = queries.start_pass(database, everything, 10, 1000, dead_blocks=True)
    assert len(current.first or []) == len(names(database))
