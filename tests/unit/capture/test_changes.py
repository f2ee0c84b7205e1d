"""What an update has changed, for entries with ``track_changes``."""

import copy
import functools
import pickle
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import IntegrityError, connection, transaction
from django.db.models import F, Model
from django.db.models.signals import post_save
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework import serializers

from django_events_sourcing.capture import changes
from django_events_sourcing.testing import disable_dispatcher
from tests.project.models import (
    Anything,
    ArchivedOrder,
    Article,
    Comment,
    NaturalThing,
    Order,
    Place,
    Product,
    Restaurant,
    Row,
    Shipment,
    Signed,
    UUIDThing,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def track(register):
    """Register models, whose changes are tracked."""
    track = functools.partial(register, track_changes=True)
    track(Product)
    return track


@pytest.fixture
def told(handed_over):
    """Of the events since it was asked last, the end of the name and what they say has changed."""

    def told():
        found = [(event.name.partition("__")[2], event.headers.get("event_changed")) for event in handed_over]
        handed_over.clear()
        return found

    return told


@pytest.fixture
def pen(track, told):
    """Read from the database, as a view has it."""
    Product.objects.create(name="pen", price=1)
    told()
    return Product.objects.get()


@pytest.fixture
def queries():
    """How many statements there are in a block."""

    class Counted(CaptureQueriesContext):
        @property
        def kinds(self):
            return [query["sql"].split()[0] for query in self]

    return lambda: Counted(connection)


def test_update__of_some_fields__names_them_in_their_order(pen, told):
    """As they are in the body. A create and a delete name none."""
    pen.weight, pen.name = 0.1, "red pen"
    pen.save()
    Product.objects.create(name="a", price=1).delete()
    assert told() == [("updated", ["name", "weight"]), ("created", None), ("deleted", None)]


def test_update__of_nothing__sends_nothing_and_asks_nothing(pen, told, queries):
    """It is Django's one statement. So it is if something changed."""
    with queries() as made:
        pen.save()
    assert (told(), made.kinds) == ([], ["UPDATE"])
    pen.name = "red pen"
    with queries() as made:
        pen.save()
    assert (told(), made.kinds) == ([("updated", ["name"])], ["UPDATE"])


def test_instance__saved_again_and_again__is_compared_with_the_last_time(track, told):
    """From its creation on."""
    product = Product.objects.create(name="pen", price=1)
    for name in ("pen", "red pen", "red pen", "pen"):
        product.name = name
        product.save()
    assert told() == [("created", None), ("updated", ["name"]), ("updated", ["name"])]


@pytest.mark.parametrize(
    ("name", "value"),
    [("price", "1.00"), ("price", 1), ("price", F("price")), ("name", "pen"), ("weight", None), ("pk", "str")],
)
def test_value__that_the_database_has_already__is_no_change(pen, told, name, value):
    """In whatever form it stands on the instance."""
    setattr(pen, name, str(pen.pk) if value == "str" else value)
    pen.save()
    assert told() == []


def test_value__of_an_expression__is_a_change(pen, told):
    """Which the database is asked for."""
    pen.price = F("price") + 1
    pen.save()
    assert told() == [("updated", ["price"])]


def test_value__changed_in_place__is_a_change(track, told):
    """The instance was read with another."""
    track(Anything)
    anything: Any = Anything.objects.create(json={"a": [1]})
    Anything.objects.get().save()
    anything.json["a"].append(2)
    anything.save()
    anything = Anything.objects.get()
    anything.json["a"].append(3)
    anything.save()
    assert told() == [("created", None), ("updated", ["json"]), ("updated", ["json"])]


def test_value__of_a_field_class_of_the_projects_own__is_compared_as_the_database_has_it(track, told):
    """One that is converted, one with an object, one with a descriptor."""
    track(Anything)
    Anything.objects.create(shout="a", point=1 + 2j, described="b")  # type: ignore[misc]
    anything: Any = Anything.objects.get()
    anything.shout, anything.point, anything.described = "A", 1 + 2j, "b"
    anything.save()
    anything.shout, anything.point, anything.described = "c", 2j, "d"
    anything.save()
    assert told() == [("created", None), ("updated", ["shout", "point", "described"])]


def test_file__another_one__is_a_change(track, told):
    """It is told by its name."""

    class NameSerializer(serializers.ModelSerializer):
        file = serializers.FileField(use_url=False)

        class Meta:
            model = Signed
            fields = ["name", "file"]

    track(Signed, serializer=NameSerializer)
    signed = Signed(name="a", file=ContentFile(b"", "a.txt"))
    signed.save()
    signed = Signed.objects.get()
    signed.save()
    signed.file.save("b.txt", ContentFile(b""))
    signed.save()
    assert told() == [("created", None), ("updated", ["file"])]


def test_generated_field__changes_with_what_it_is_made_of(track, told):
    """By the database."""
    track(Row)
    Row.objects.create(price=1, pieces=2)
    row = Row.objects.get()
    row.save()
    row.pieces = 3
    row.save()
    assert told() == [("created", None), ("updated", ["pieces", "total"])]


# What a serializer makes of it


class NameSerializer(serializers.ModelSerializer):
    class Meta:
        model = Product
        fields = ["id", "name"]


def test_column__that_is_not_serialized__is_no_change(track, told):
    """Nobody could see it; what is told later is compared with what was saved."""
    track(Product, serializer=NameSerializer)
    product = Product.objects.create(name="pen", price=1)
    product.price = 2
    product.save()
    product.name, product.price = "red pen", 3
    product.save()
    assert told() == [("created", None), ("updated", ["name"])]


class ComputingSerializer(serializers.ModelSerializer):
    label = serializers.SerializerMethodField()  # type: ignore[assignment]
    dear = serializers.SerializerMethodField()
    others = serializers.SerializerMethodField()

    class Meta:
        model = Product
        fields = ["label", "dear", "others"]

    def get_label(self, product):
        return f"{product.name}, {product.price}"

    def get_dear(self, product):
        return product.price > 100

    def get_others(self, product):
        return Product.objects.exclude(pk=product.pk).count()


def test_computed_field__is_compared_by_what_it_gives__unless_it_asks_the_database(track, told, queries):
    """What a query makes of it may have changed. If no column has, nothing is computed at all."""
    track(Product, serializer=ComputingSerializer)
    product = Product.objects.create(name="pen", price=1)
    product.price = 2
    with queries() as made:
        product.save()
    assert made.kinds == ["UPDATE", "SELECT"]
    with queries() as made:
        product.save()
    assert made.kinds == ["UPDATE"]
    assert told() == [("created", None), ("updated", ["label", "others"])]


class OwnSerializer(NameSerializer):
    def to_representation(self, instance):
        return {"called": instance.name.upper(), "at": instance.created_at.year}


class AskingSerializer(NameSerializer):
    def to_representation(self, instance):
        return {"count": Product.objects.count(), "called": instance.name}


class ListSerializer(serializers.BaseSerializer):
    def to_representation(self, instance):
        return [instance.name]


class OwnInitSerializer(NameSerializer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        assert self.instance is not None or not args


class OwnDataSerializer(NameSerializer):
    @property
    def data(self):
        product: Any = self.instance
        return {"called": product.name, "dear": product.price > 100}


@pytest.mark.parametrize(
    ("serializer", "expected"),
    [
        (OwnSerializer, [("updated", ["called"])]),
        (OwnInitSerializer, [("updated", ["name"])]),
        (OwnDataSerializer, [("updated", ["called"])]),
        (AskingSerializer, [("updated", None), ("updated", None)]),
        (ListSerializer, [("updated", None), ("updated", None)]),
    ],
)
def test_serializer__that_is_the_projects_own__is_compared_if_it_can(track, told, serializer, expected):
    """Else each change of a column is told, and names nothing."""
    track(Product, serializer=serializer)
    product = Product.objects.create(name="pen", price=1)
    told()
    product.save()
    product.price = 2
    product.save()
    product.name = "red pen"
    product.save()
    assert told() == expected


class MomentSerializer(NameSerializer):
    def to_representation(self, instance):
        return {"called": instance.name, "at": serializers.DateTimeField().to_representation(instance.created_at)}


def test_update__in_another_time_zone__is_compared_in_the_projects(track, told):
    """As the bodies are made in that."""
    track(Product, serializer=MomentSerializer)
    product = Product.objects.create(name="pen", price=1)
    with timezone.override("Asia/Tokyo"):
        product.price = 2
        product.save()
        product.name = "red pen"
        product.save()
    assert told() == [("created", None), ("updated", ["called"])]


class CommentSerializer(serializers.ModelSerializer):
    title = serializers.CharField(source="article.title")

    class Meta:
        model = Comment
        fields = ["article", "title", "text"]


def test_relation__to_another_row__is_a_change_and_what_is_read_there_too(track, told):
    """What that row holds is not looked for while it is the same."""
    track(Comment, serializer=CommentSerializer)
    one, other = Article.objects.create(title="a"), Article.objects.create(title="b")
    Comment.objects.create(article=one, text="x")
    comment = Comment.objects.get()
    comment.text = "y"
    comment.save()
    Article.objects.update(title="c")
    comment.save()
    comment.article = other
    comment.save()
    assert told() == [("created", None), ("updated", ["text"]), ("updated", ["article", "title"])]


def test_many_to_many__is_not_changed_by_a_save(track, told):
    """It is read for the body, and that's all."""
    track(Article)
    article = Article.objects.create(title="a")
    article.products.add(Product.objects.create(name="pen", price=1))
    article.save()
    article.title = "b"
    article.save()
    assert told() == [("created", None), ("updated", ["title"])]


class Labelled(Product):
    """With a value that is computed once."""

    class Meta:
        proxy = True
        app_label = "project"

    @functools.cached_property
    def label(self):
        return self.name.upper()


def test_cached_property__is_computed_anew_for_what_was_before(track, told):
    """As the body is of what is now."""

    class LabelSerializer(serializers.ModelSerializer):
        label = serializers.CharField()  # type: ignore[assignment]

        class Meta:
            model = Labelled
            fields = ["label"]

    track(Labelled, serializer=LabelSerializer)
    product = Labelled.objects.create(name="pen", price=1)
    product = Labelled.objects.get(pk=product.pk)
    product.name = "red pen"
    product.save()
    assert told() == [("created", None), ("updated", ["label"])]


def test_status__that_is_not_serialized__is_told(track, told):
    """It names the event."""

    class OrderOnly(serializers.ModelSerializer):
        class Meta:
            model = Shipment
            fields = ["order"]

    track(Shipment, serializer=OrderOnly, status_field="status")
    shipment = Shipment.objects.create(order=Order.objects.create(number="1", customer="a", total=1), status="started")
    shipment.save()
    shipment.status = "finished"
    shipment.save()
    assert told() == [("started", None), ("finished", [])]


# What the instance was read with


def test_instance__not_loaded_whole__is_compared_as_far_as_it_is_written(pen, told, queries):
    """Django does not write what is deferred. For what was set without having been read, the row is read."""
    pen = Product.objects.only("name").get()
    with queries() as made:
        pen.save()
    assert (told(), made.kinds) == ([], ["UPDATE"])
    pen.price = 2
    with queries() as made:
        pen.save()
    assert made.kinds[:3] == ["DELETE", "SELECT", "UPDATE"]  # the first takes the lock on SQLite
    assert told() == [("updated", ["price"])]
    pen = Product.objects.defer("name").get()
    assert pen.name == "pen"  # is read now
    pen.name = "red pen"
    with queries() as made:
        pen.save()
    assert (told(), made.kinds) == ([("updated", ["name"])], ["UPDATE"])


def test_instance__that_was_not_read__is_compared_with_its_row(track, told, queries):
    """Which is read before it is written. One that is new is not looked for if it can't be there."""
    track(NaturalThing, UUIDThing, Product)
    with queries() as made:
        UUIDThing(name="a").save()
        Product(name="a", price=1).save()
        NaturalThing.objects.create(code="a")
    assert set(made.kinds) == {"INSERT"}
    assert told() == [("created", None)] * 3
    product = Product.objects.get()
    for name in ("a", "b"):
        Product(pk=product.pk, name=name, price=1, created_at=product.created_at).save()
    NaturalThing(code="b").save()
    assert told() == [("updated", ["name"]), ("created", None)]


def test_instance__refreshed__is_compared_with_that(pen, told):
    """Wholly or in part; else what puts an old value back would seem to change nothing."""
    Product.objects.update(name="red pen", price=2)
    pen.refresh_from_db(fields=iter(["name"]))
    pen.name = "pen"
    pen.save()
    assert told() == [("updated", ["name"])]
    Product.objects.update(name="blue pen")
    pen.refresh_from_db()
    pen.name = "pen"
    pen.save()
    assert told() == [("updated", ["name"])]


def test_update_fields__leave_the_rest_to_be_told(pen, told):
    """The row does not hold it yet."""
    pen.name, pen.price = "red pen", 2
    pen.save(update_fields=["name"])
    pen.save()
    pen.save()
    assert told() == [("updated", ["name", "price"]), ("updated", ["price"])]


@pytest.mark.parametrize("block", [disable_dispatcher, lambda: disable_dispatcher([Product])])
def test_update__that_nobody_was_told_of__is_told_by_the_next_one(pen, told, queries, block):
    """Consumers know nothing of it. It costs nothing either."""
    pen.name = "red pen"
    with block(), queries() as made:
        pen.save()
        Product(pk=pen.pk, name="red pen", price=1, created_at=pen.created_at).save()
    assert made.kinds == ["UPDATE", "UPDATE"]
    pen.save()
    assert told() == [("updated", ["name"])]


def test_update__that_was_worth_no_event__is_told_by_the_next_one(track, told):
    """The same."""
    track(Product, when=lambda product, action: product.price > 10)
    product = Product.objects.create(name="pen", price=11)
    product.price = 1
    product.save()
    product.price = 12
    product.save()
    assert told() == [("created", None), ("updated", ["price"])]


def test_signal__sent_by_hand__is_told_without_a_comparison(pen, told):
    """Whoever sends it wants an event."""
    post_save.send(Product, instance=pen, created=False)
    pen.save()
    assert told() == [("updated", None)]


def test_save__that_fails__leaves_nothing_behind(track, told):
    """The next one is compared as if it had not been."""
    track(Signed)
    Signed.objects.create(name="a")
    signed = Signed.objects.create(name="b")
    told()
    signed.file = "x" * 101
    with pytest.raises(IntegrityError), transaction.atomic():
        signed.save(force_insert=True)
    signed.file = None
    signed.save()
    assert told() == []


def test_child__with_fields_of_its_parents__is_compared_with_all_of_them(track, told, queries):
    """Also where the rows have to be read, before the parents' are written."""
    track(Restaurant)
    Restaurant.objects.create(name="a", seats=1)
    restaurant = Restaurant.objects.get()
    restaurant.save()
    restaurant.name = "b"
    restaurant.save()
    unread = Restaurant(pk=restaurant.pk, place_ptr_id=restaurant.pk, name="c", seats=1)
    unread._state.adding = False
    unread.save()
    restaurant.refresh_from_db()
    restaurant.seats = 2
    restaurant.save()
    assert told() == [("created", None), ("updated", ["name"]), ("updated", ["name"]), ("updated", ["seats"])]


def test_proxy__of_a_tracked_model__is_as_that(track, told):
    """It is read and saved by the same methods."""
    track(Order)
    ArchivedOrder.objects.create(number="1", customer="a", total=1)
    order = ArchivedOrder.objects.get()
    order.save()
    order.number = "2"
    order.save()
    assert told() == [("created", None), ("updated", ["number"])]


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda pen: pickle.loads(pickle.dumps(pen))])
def test_instance__copied_or_pickled__knows_what_it_was_read_with(pen, told, clone):
    """In a cache, say; there are plain types only in it."""
    other = clone(pen)
    other.save()
    other.name = "red pen"
    other.save()
    pen.save()
    assert told() == [("updated", ["name"])]


# Transactions


def roll_back(act, *, whole):
    """Do it within a transaction, or a part of one, that is rolled back."""
    with transaction.atomic():
        if whole:
            act()
            transaction.set_rollback(True)
            return
        with transaction.atomic():
            act()
            transaction.set_rollback(True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("whole", [True, False])
def test_save__that_was_rolled_back__is_told_when_it_is_repeated(pen, told, whole):
    """The instance holds it, and the row does not."""
    pen.name = "red pen"
    roll_back(pen.save, whole=whole)
    told()
    pen.save()
    assert told() == [("updated", ["name"])]
    assert Product.objects.get().name == "red pen"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("whole", [True, False])
def test_read__of_what_was_rolled_back__is_told_when_it_is_saved(pen, told, whole):
    """It is not what the row holds."""
    found = []

    def act():
        Product.objects.update(name="red pen")
        found.append(Product.objects.get())

    roll_back(act, whole=whole)
    found[0].save()
    assert told() == [("updated", ["name"])]


@pytest.mark.django_db(transaction=True)
def test_transaction__that_was_committed__is_compared_with_its_row(pen, told, queries):
    """Which is read, as it might as well have been rolled back."""
    with transaction.atomic():
        pen.name = "red pen"
        pen.save()
        pen.save()
    assert told() == [("updated", ["name"])]
    with queries() as made:
        pen.save()
    assert made.kinds[0] == "SELECT"
    assert told() == []
    with queries() as made:
        pen.save()
    assert "SELECT" not in made.kinds
    pen.name = "pen"
    pen.save()
    assert told() == [("updated", ["name"])]


@pytest.mark.django_db(transaction=True)
def test_block__that_is_entered_twice__is_two_transactions(pen, told):
    """Django has one object for both, where it decorates a function."""

    @transaction.atomic
    def save_and_fail():
        pen.name = "red pen"
        pen.save()
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            save_and_fail()
    assert told() == [("updated", ["name"])] * 2


@pytest.mark.django_db(transaction=True)
def test_manual_transaction__of_which_nothing_is_known__row_is_read(pen, told):
    """Begun by hand, or with autocommit off: it may be rolled back without a word."""
    pen.name = "red pen"
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        pen.save()
        cursor.execute("ROLLBACK")
    pen.save()
    assert told() == [("updated", ["name"])] * 2
    pen.name = "blue pen"
    connection.set_autocommit(False)
    try:
        pen.save()
        connection.rollback()
        pen.save()
        connection.commit()
    finally:
        connection.set_autocommit(True)
    assert told() == [("updated", ["name"])] * 2


@pytest.mark.django_db(databases=["default", "other"])
def test_other_database__is_compared_with_its_own_row(pen, told):
    """What it was read with is another database's."""
    Product.objects.using("other").create(pk=pen.pk, name="red pen", price=1)
    told()
    pen.save(using="other")
    assert Product.objects.using("other").get().name == "pen"
    assert [changed and "name" in changed for _, changed in told()] == [True]


# The methods


def test_track__is_undone_with_the_entry(settings, track):
    """Nothing is left of it; a class with methods of its own has these again."""
    assert "from_db" in vars(Product)
    settings.MODELS_CRUD_EVENT = [{"model": Product}]
    assert Product.from_db.__func__ is Model.from_db.__func__  # type: ignore[attr-defined]
    assert Product.refresh_from_db is Model.refresh_from_db


def test_track__of_a_model_with_its_own_methods__calls_these(settings, track, told, monkeypatch):
    """And gives them back."""
    calls = []

    class Own:
        @classmethod
        def from_db(cls, db, field_names, values, **kwargs):
            calls.append("from_db")
            return super(Place, cls).from_db(db, field_names, values, **kwargs)  # type: ignore[misc]

        def refresh_from_db(self, using=None, fields=None, **kwargs):
            calls.append("refresh")
            return super(Place, self).refresh_from_db(using, fields, **kwargs)  # type: ignore[misc]

    monkeypatch.setattr(Place, "from_db", own := vars(Own)["from_db"])
    monkeypatch.setattr(Place, "refresh_from_db", Own.refresh_from_db)
    track(Place)
    Place.objects.create(name="a")
    place = Place.objects.get()
    place.refresh_from_db()
    place.save()
    assert calls == ["from_db", "refresh", "from_db"]
    assert told() == [("created", None)]
    settings.MODELS_CRUD_EVENT = []
    assert vars(Place)["from_db"] is own
    assert Place.refresh_from_db is Own.refresh_from_db


def test_models__that_are_not_tracked__keep_nothing(settings, handed_over):
    """They cost nothing more."""
    settings.MODELS_CRUD_EVENT = [{"model": Product}, {"model": Order, "track_changes": True, "actions": ["created"]}]
    Product.objects.create(name="a", price=1)
    Order.objects.create(number="1", customer="a", total=1)
    assert changes._READ not in vars(Product.objects.get()._state)
    assert changes._READ not in vars(Order.objects.get()._state)
