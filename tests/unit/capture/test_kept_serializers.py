"""Serializers that represent one instance after the other: each as a new one would."""

# What these serializers do to themselves no stub allows.
# mypy: disable-error-code="arg-type,assignment,attr-defined,union-attr,var-annotated"

import itertools
import json
import threading
import uuid
from collections import deque
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone, translation
from hypothesis import given, settings
from hypothesis import strategies as st
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from django_events_sourcing.capture.default_serializer import default_serializer
from django_events_sourcing.capture.kept_serializers import KeptSerializers
from django_events_sourcing.capture.registration import Registration
from tests.project.models import Anything, Article, Comment, Kind, Order, Product, Restaurant, Shipment, UUIDThing

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = NOON.date()


def counted(made, init):
    def counting_init(self, *args, **kwargs):
        made.append(self)
        init(self, *args, **kwargs)

    return counting_init


def is_kept(serializer_class, instance):
    """Whether the second event gets the serializer of the first."""
    made: list[object] = []
    kept = KeptSerializers(serializer_class)
    kept.represent(instance)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serializers.BaseSerializer, "__init__", counted(made, serializers.BaseSerializer.__init__))
        kept.represent(instance)
    return not made


class ProductSerializer(serializers.ModelSerializer):
    """Without code of its own."""

    title = serializers.CharField(source="name", read_only=True)
    tags = serializers.ListField(child=serializers.CharField(), source="name", read_only=True)

    class Meta:
        model = Product
        fields = ["title", "price", "tags"]


class LoudField(serializers.CharField):
    def to_representation(self, value):
        return str(value).upper()


class CountingField(serializers.CharField):
    """Remembers in an attribute, a list, a dict and a set of its own, and in things that it made itself."""

    class Memory:
        seen = 0

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.times = 0
        self.values = []
        self.by_length = {"all": [0]}
        self.last = deque(maxlen=2)
        self.memory = self.Memory()

    def to_representation(self, value):
        self.times += 1
        self.values.append(value)
        self.by_length.setdefault(len(value), set()).add(value)
        self.by_length["all"][0] += 1
        self.last.append(value)
        self.memory.seen += 1
        self.label = f"{self.label} {value}"
        found = [self.times, self.values, sorted(map(str, self.by_length)), self.by_length["all"], list(self.last)]
        return json.dumps([*found, self.memory.seen, self.label])


class RootField(serializers.Field):
    """Looks at all that it is a part of."""

    def __init__(self, **kwargs):
        super().__init__(source="*", **kwargs)

    def to_representation(self, value):
        seen = self.context.setdefault("seen", [])
        seen.append(str(value))
        root = self.root
        parent = type(self.parent).__name__, self.parent.instance is value, type(self.parent.parent).__name__
        return [list(seen), str(root.instance), parent, list(root.fields), self.field_name]


class InnerSerializer(serializers.ModelSerializer):
    counting = CountingField(source="name")
    root = RootField()
    own_instance = serializers.SerializerMethodField()

    class Meta:
        model = Product
        fields = ["counting", "root", "own_instance"]

    def get_own_instance(self, product):
        return str(self.instance)


class RememberingSerializer(serializers.ModelSerializer):
    """Does whatever a serializer can do to itself."""

    counting = CountingField(source="name")
    loud = LoudField(source="name")
    root = RootField()
    inner = InnerSerializer(source="*")
    many = InnerSerializer(source="twins", many=True)
    listed = serializers.ListField(child=CountingField(), source="names")
    kind = serializers.ChoiceField(choices=[("a", "A")], source="name")
    method = serializers.SerializerMethodField()

    class Meta:
        model = Product
        fields = ["counting", "loud", "root", "inner", "many", "listed", "kind", "method", "price"]

    def get_method(self, product):
        self.times = getattr(self, "times", 0) + 1
        self.fields["kind"].choices = {**self.fields["kind"].choices, product.name: len(product.name)}
        return [self.times, str(self.instance), product is self.instance, len(self.fields["kind"].choices)]

    def to_representation(self, instance):
        if instance.name.startswith("pop"):
            self.fields.pop("loud")
        if instance.name.startswith("add"):
            self.fields["added"] = serializers.CharField(source="name")
        if instance.name.startswith("same"):
            self.fields["loud"].source = self.fields["loud"].source_attrs = "price"
            self.fields["loud"].source_attrs = ["price"]
        data = super().to_representation(instance)
        self.last = data
        if instance.name.startswith("raise"):
            raise LookupError(instance.name)
        return {**data, "fields": list(self.fields), "instance": str(self.instance), "context": str(self._context)}


class NotedProduct(Product):
    """With what the serializers above show."""

    class Meta:
        proxy = True
        app_label = "project"

    def __str__(self):
        return f"Product {self.name}"

    @property
    def twins(self):
        return [Product(name=f"{self.name}{number}", price=1) for number in range(2)]

    @property
    def names(self):
        return [self.name, self.name[::-1]]


def outcome(represent):
    try:
        return json.loads(json.dumps(represent(), default=str))
    except LookupError as exc:
        return repr(exc)


names = st.builds("{}{}".format, st.sampled_from(["", "pop", "add", "same", "raise"]), st.sampled_from("abc"))


@settings(max_examples=200, deadline=None)
@given(st.lists(names, min_size=2, max_size=6))
def test_kept_serializer__that_remembers__gives_what_a_new_one_does(several):
    """Whatever the events before it had it do to itself, its fields and its context."""
    kept = KeptSerializers(RememberingSerializer)
    for name in several:
        product = NotedProduct(name=name, price=1)
        expected = outcome(lambda product=product: RememberingSerializer(product).data)
        assert outcome(lambda product=product: kept.represent(product)) == expected


def variant(**attributes):
    """A class that derives from ProductSerializer and has ``attributes``."""
    fields = [*ProductSerializer.Meta.fields, *attributes.pop("more", [])]
    meta = type("Meta", (ProductSerializer.Meta,), {"fields": fields})
    return type("Variant", (ProductSerializer,), {"Meta": meta, "__module__": __name__, **attributes})


def new(cls, *args, **kwargs):
    return super(ProductSerializer, cls).__new__(cls, *args, **kwargs)


def takes_its_own(self, *args, **kwargs):
    super(ProductSerializer, self).__init__(*args, **kwargs)


class TakesItsOwnSerializer(InnerSerializer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)


class OddField(serializers.CharField):
    """Holds something that nobody can put back."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.numbers = itertools.count()

    def to_representation(self, value):
        return next(self.numbers)


class PlainBaseSerializer(serializers.BaseSerializer):
    def to_representation(self, instance):
        return [instance.name, instance is self.instance]


def bound_anew(self):
    return serializers.Serializer.fields.func(self)


def as_it_is(self):
    return super(ProductSerializer, self).get_fields()


KEPT = {
    "no code": ProductSerializer,
    "derived": type("Derived", (ProductSerializer,), {}),
    "all fields": default_serializer(Product),
    "no serializer fields": PlainBaseSerializer,
    "to_representation": variant(to_representation=lambda self, instance: {"name": instance.name}),
    "a method field": variant(m=serializers.SerializerMethodField(), get_m=lambda self, one: one.name, more=["m"]),
    "an attribute": variant(seen=0),
    "a validator": variant(validate_title=lambda self, value: value),
    "validate": variant(validate=lambda self, value: value),
    "a field class": variant(loud=LoudField(source="name"), more=["loud"]),
    "a field class within": variant(loud=serializers.ListField(child=LoudField(), source="name"), more=["loud"]),
    "a field class that remembers": variant(counting=CountingField(source="name"), more=["counting"]),
}
OWN = {
    "data": variant(data=property(lambda self: {"id": self.instance.pk})),
    "__init__": variant(__init__=takes_its_own),
    "__new__": variant(__new__=new),
    "get_fields": variant(get_fields=as_it_is),
    "fields": variant(fields=property(bound_anew)),
    "get_field_names": variant(get_field_names=lambda self, *_: ["price"]),
    "__init__ of a nested one": variant(inner=TakesItsOwnSerializer(source="*"), more=["inner"]),
    "a state that cannot be put back": variant(odd=OddField(source="name"), more=["odd"]),
}


@pytest.mark.parametrize("case", KEPT)
def test_serializer__whose_fields_are_the_same_each_time__kept(case):
    """Whatever code of the project's represents the instance."""
    assert is_kept(KEPT[case], Product(pk=1, name="pen", price=1))


@pytest.mark.parametrize("case", OWN)
def test_serializer__that_may_be_another_each_time__made_for_each_event(case):
    """It has a say in how it is made, or a state of a kind that nothing is known of."""
    assert not is_kept(OWN[case], NotedProduct(pk=1, name="pen", price=1))


@pytest.mark.parametrize("case", [*KEPT, *OWN])
def test_serializer__kept_or_not__gives_what_a_new_one_does(case):
    """For one instance after the other."""
    serializer_class = (KEPT | OWN)[case]
    kept = KeptSerializers(serializer_class)
    for name in ("pen", "ink", "pen"):
        product = NotedProduct(pk=1, name=name, price=1)
        assert json.dumps(kept.represent(product)) == json.dumps(serializer_class(product).data)


def test_shared_cache__of_the_projects__stays_shared():
    """What every new serializer would have in common is not put back, nor emptied under another's hands."""
    cache: dict[str, int] = {}

    class CachingField(serializers.CharField):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.cache = cache

        def to_representation(self, value):
            self.cache[value] = self.cache.get(value, 0) + 1
            return self.cache[value]

    kept = KeptSerializers(variant(cached=CachingField(source="name"), more=["cached"]))
    found = [kept.represent(Product(name="pen", price=1))["cached"] for _ in range(3)]
    assert found == [1, 2, 3]
    assert cache == {"pen": 3}


def test_queryset__of_a_field__read_anew_each_time(db):
    """A field that looks through the choices it has sees those that there are by now."""

    class ChoiceCountingField(serializers.PrimaryKeyRelatedField):
        def to_representation(self, value):
            return len(self.queryset)

    class CommentSerializer(serializers.ModelSerializer):
        article = ChoiceCountingField(queryset=Article.objects.all())

        class Meta:
            model = Comment
            fields = ["article"]

    kept = KeptSerializers(CommentSerializer)
    for number in (1, 2, 3):
        article = Article.objects.create(title="News")
        assert kept.represent(Comment(article=article, text="Ah")) == {"article": number}


def test_serializer__that_saves__gets_another_for_that_event(register, events):
    """Its own code may write an instance whose event it is to make in the middle of another."""

    class SavingSerializer(serializers.ModelSerializer):
        class Meta:
            model = Order
            fields = ["number"]

        def to_representation(self, instance):
            if instance.number == "1":
                Order.objects.create(number="2", customer="Ann", total=1)
            return {**super().to_representation(instance), "of": self.instance.number}

    register(Order, serializer=SavingSerializer)
    for _ in range(2):
        Order.objects.create(number="1", customer="Ann", total=1)
    assert [event.data for event in events] == [{"number": each, "of": each} for each in ("2", "1", "2", "1")]


def test_serializer__in_several_threads__each_its_own():
    """None meets another's instance."""
    kept = KeptSerializers(RememberingSerializer)
    found: dict[int, list[object]] = {}
    barrier = threading.Barrier(4)

    def represent(number):
        product = NotedProduct(name=f"no. {number}", price=number)
        barrier.wait(10)
        found[number] = [outcome(lambda: kept.represent(product)) for _ in range(50)]

    threads = [threading.Thread(target=represent, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for number in range(4):
        product = NotedProduct(name=f"no. {number}", price=number)
        assert found[number] == [outcome(lambda product=product: RememberingSerializer(product).data)] * 50


def test_serializer__that_can_not_be_made__raises_as_ever():
    """With whatever DRF has against it."""
    with pytest.raises(Exception, match="nosuch"):
        KeptSerializers(variant(more=["nosuch"])).represent(Product(name="pen", price=1))


INSTANCES = [
    Product(pk=1, name="pen", price=Decimal("1.50"), weight=0.5, created_at=datetime(2026, 1, 1, tzinfo=UTC)),
    Product(pk=2, name=Kind.NEW, price=1, weight=None),
    Product(pk="3", name=7, price="1.5", weight=1),
    Shipment(pk=1, order_id=4, status=Shipment.Status.STARTED),
    Restaurant(pk=1, name="The Pen", seats=30),
    UUIDThing(name="x"),
    Anything(text="é", char="c", integer=True, float=1, date=DAY, json={"a": [1]}, started=DAY),
    Anything(integer=5, float=1.5, boolean=False, described="x", shout="y", started=DAY),
    Anything(
        decimal=Decimal("1.5"), time=time(3, 4), moment=NOON, duration=timedelta(1), uuid=uuid.UUID(int=1), started=DAY
    ),
    Anything(
        decimal="1.5", time="03:04", moment=NOON.isoformat(), uuid="0" * 32, address="::1", order_id=1, started=DAY
    ),
]


@pytest.mark.parametrize("instance", INSTANCES, ids=lambda instance: type(instance).__name__)
def test_kept_serializer__any_instance__gives_what_a_new_one_does(instance):
    """Whatever stands on it: types that a field leaves as they are, and others; None; what a descriptor makes."""
    serializer_class = default_serializer(type(instance))
    kept = KeptSerializers(serializer_class)
    for _ in range(2):
        found, expected = kept.represent(instance), serializer_class(instance).data
        assert list(found.items()) == list(expected.items())
        assert list(map(type, found.values())) == list(map(type, expected.values()))


@given(
    decimal=st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**8) + 1, max_value=10**8 - 1, places=2)
    | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**7), max_value=10**7),
    moment=st.datetimes(timezones=st.sampled_from([UTC, ZoneInfo("Asia/Kolkata")])) | st.datetimes(),
)
def test_kept_serializer__any_number_and_moment__gives_what_a_new_one_does(decimal, moment):
    """Or raises what a new one does."""
    serializer_class = default_serializer(Anything)
    instance = Anything(decimal=decimal, moment=moment, started=date(2026, 1, 1))
    kept = KeptSerializers(serializer_class)
    try:
        expected = serializer_class(instance).data
    except (ValidationError, InvalidOperation, OverflowError) as exc:
        with pytest.raises(type(exc)):
            kept.represent(instance)
    else:
        assert kept.represent(instance) == expected


@pytest.mark.parametrize("localize", [False, True])
def test_body__whatever_the_language_and_time_zone__is_the_same(localize):
    """Those of the project are in force for each event, not only for the first."""

    class ChoosingSerializer(serializers.ModelSerializer):
        decimal = serializers.DecimalField(max_digits=10, decimal_places=2, localize=localize)
        elsewhere = serializers.DateTimeField(source="moment", default_timezone=ZoneInfo("Asia/Tokyo"))

        class Meta:
            model = Anything
            fields = ["decimal", "moment", "elsewhere"]

    def serialize(instance, registration):
        return registration.draft(instance, "default", "deleted")().body

    kept, new = (Registration(Anything, "here", serializer=ChoosingSerializer) for _ in range(2))
    instance = Anything(decimal=Decimal("1234.50"), moment=NOON, started=DAY)
    expected = serialize(instance, kept)
    with timezone.override("Asia/Kolkata"), translation.override("de"):
        assert serialize(instance, kept) == serialize(instance, new) == expected
    body = json.loads(expected)
    assert (body["moment"], body["elsewhere"]) == ("2026-01-01T06:00:00-06:00", "2026-01-01T21:00:00+09:00")


def test_column__without_code_of_the_projects__is_read_directly():
    kept = KeptSerializers(ProductSerializer)
    kept.represent(Product(name="a", price=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serializers.CharField, "get_attribute", None)
        data = kept.represent(Product(name="b", price=Decimal("1.50")))
    assert data == ProductSerializer(Product(name="b", price=Decimal("1.50"))).data
