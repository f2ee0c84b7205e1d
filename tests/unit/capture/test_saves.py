"""A save is written and recorded in one transaction, and leaves Django's transactions as they are."""

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.db.models import Model
from django.db.models.signals import post_save, pre_save
from django.db.transaction import TransactionManagementError
from django.test.utils import isolate_apps

from django_events_sourcing.capture.saves import unwrap, wrap
from tests.project.models import Order, Place, Product, Restaurant, Shipment, Unregistered


def test_unwrap__after_wrap__as_before(settings):
    """Nothing is left of it, and a derived class was wrapped by way of its parent."""
    settings.MODELS_CRUD_EVENT = []
    assert Place._save_table is Restaurant._save_table is Model._save_table  # type: ignore[attr-defined]
    wrap(Place, lambda *_: True)
    assert Place._save_table is Restaurant._save_table is not Model._save_table  # type: ignore[attr-defined]
    unwrap(Place)
    assert Place._save_table is Restaurant._save_table is Model._save_table  # type: ignore[attr-defined]


def test_unwrap__of_a_model_with_its_own_method__restores_it(monkeypatch):
    """A model that overrides the method has its own again."""

    def own(self, *args):
        return None

    monkeypatch.setattr(Unregistered, "_save_table", own, raising=False)
    wrap(Unregistered, lambda *_: True)
    unwrap(Unregistered)
    assert Unregistered._save_table is own  # type: ignore[attr-defined]


def test_save__within_a_transaction__no_statement_more(db, events, settings, django_assert_num_queries):
    """Within a transaction, being wrapped adds no statement to a save."""
    settings.MODELS_CRUD_EVENT = [{"model": "project.Unregistered"}]
    with django_assert_num_queries(1):
        Unregistered(name="y").save()
    assert [event.name for event in events] == ["unregistered__created"]


@pytest.mark.parametrize("signal", [pre_save, post_save])
def test_receiver__raises_within_a_transaction__it_can_go_on(events, receive, signal):
    """A view that catches a receiver's error within atomic() goes on as it would without the library."""

    def refuse(instance, **_):
        if instance.name == "bad":
            raise ValidationError("no")

    receive(signal, Product, refuse)
    with transaction.atomic():
        with pytest.raises(ValidationError):
            Product.objects.create(name="bad", price=1)
        Product.objects.create(name="good", price=1)
    assert events[-1].data["name"] == "good"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("model", [Product, Restaurant])
@pytest.mark.parametrize("signal", [pre_save, post_save])
def test_receiver__in_autocommit__runs_outside_the_transaction_of_the_save(events, receive, signal, model):
    """Its own durable transactions work, what it writes stays, and in post_save others can see the row already."""
    seen = []

    def note(instance, **_):
        with transaction.atomic(durable=True):
            Unregistered.objects.create(name="note")
        seen.append((connection.in_atomic_block, len(events)))
        raise ValidationError("no")

    receive(signal, model, note)
    fields = {"price": 1} if model is Product else {"seats": 1}
    with pytest.raises(ValidationError):
        model.objects.create(name="x", **fields)
    written = int(signal is post_save)
    assert seen == [(False, written)]
    assert Unregistered.objects.count() == 1
    assert model.objects.count() == written


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("model", [Product, Restaurant])
def test_event__cannot_be_handed_over_in_autocommit__nothing_is_saved(monkeypatch, model):
    """The row and its event are one transaction, of a multi-table child, too; the instance can be saved later."""

    def fail(event, using):
        raise ZeroDivisionError

    fields = {"price": 1} if model is Product else {"seats": 1}
    instance = model(name="x", **fields)
    with monkeypatch.context() as patch:
        patch.setattr("django_events_sourcing.capture.receivers.deliver", fail)
        with pytest.raises(ZeroDivisionError):
            instance.save()
    assert not model.objects.exists()
    assert instance._state.adding
    instance.save()
    assert model.objects.get().name == "x"


@pytest.mark.django_db(transaction=True)
def test_event__cannot_be_handed_over_in_a_transaction__marked_for_rollback(monkeypatch):
    """Whoever catches it can't commit the row without its event."""

    def fail(event, using):
        raise ZeroDivisionError

    monkeypatch.setattr("django_events_sourcing.capture.receivers.deliver", fail)
    with transaction.atomic():
        with pytest.raises(ZeroDivisionError):
            Product.objects.create(name="x", price=1)
        with pytest.raises(TransactionManagementError):
            Product.objects.exists()
    assert not Product.objects.exists()


def test_receiver__saves_again__events_in_the_order_of_writes(events, receive):
    """However early the receiver was connected, created comes before the update that it makes."""

    def number(instance, created, **_):
        if created:
            instance.name = f"no. {instance.pk}"
            instance.save()

    receive(post_save, Product, number)
    product = Product.objects.create(name="new", price=1)
    assert [(event.name, event.data["name"]) for event in events] == [
        ("product__created", "new"),
        ("product__updated", f"no. {product.pk}"),
    ]


def test_post_save__sent_by_hand__recorded(events):
    """A project that announces a bulk_create by sending the signal itself has its events."""
    product = Product.objects.create(name="first", price=1)
    for created in Product.objects.bulk_create([Product(name="second", price=1)]):
        post_save.send(Product, instance=created, created=True, raw=False, using="default", update_fields=None)
    post_save.send(Product, instance=product, created=False, raw=False, using="default", update_fields=None)
    assert [(event.name, event.data["name"]) for event in events] == [
        ("product__created", "first"),
        ("product__created", "second"),
        ("product__updated", "first"),
    ]


@pytest.mark.django_db(transaction=True)
def test_post_save__sent_by_hand_after_a_commit_that_failed__recorded(events):
    """The save that failed left no mark on the instance: written by other means, it is recorded as any."""
    shipment = Shipment(order_id=1, status="started")
    with pytest.raises(IntegrityError):
        shipment.save()  # SQLite looks at foreign keys when the transaction ends
    assert shipment._state.adding
    events.clear()
    Order.objects.bulk_create([Order(pk=1, number="1", customer="Ann", total=1)])
    Shipment.objects.bulk_create([shipment])
    post_save.send(Shipment, instance=shipment, created=True, raw=False, using="default", update_fields=None)
    assert [event.name for event in events] == ["shipment__started"]


def test_post_save__muted__no_event(events, monkeypatch):
    """Test helpers that mute signals by emptying them mute the events, too."""
    with monkeypatch.context() as patch:
        patch.setattr(post_save, "receivers", [])
        post_save.sender_receivers_cache.clear()
        product = Product.objects.create(name="quiet", price=1)
    post_save.sender_receivers_cache.clear()
    product.save()
    assert [event.name for event in events] == ["product__updated"]


@isolate_apps("tests.project")
def test_model__derived_after_start_up__saved_as_ever(events, receive):
    """A class that nobody knew when the library started is saved as Django saves it, with receivers for all models."""

    class LateProduct(Product):
        class Meta:
            proxy = True
            app_label = "project"

    receive(post_save, None, lambda **_: None)
    LateProduct.objects.create(name="late", price=1)
    assert events == []
