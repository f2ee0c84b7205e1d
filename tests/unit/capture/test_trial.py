"""What ``manage.py check`` finds out about bodies before the first save does: E018 and W007 to W009."""

import enum
import json
from datetime import date
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.functions import Now
from django.db.models.query_utils import DeferredAttribute
from django.test.utils import isolate_apps
from rest_framework import serializers

from tests.project.models import Article, Comment, ExpressOrder, Order, Product, Restaurant


class ChosenField(models.CharField):
    """Has its choices by itself, as many classes have: REST framework looks a value up among them."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{"choices": [(ZoneInfo("UTC"), "Greenwich"), ("r", "red")], **kwargs})


class ZoneField(ChosenField):
    """As that of django-timezone-field."""

    def get_prep_value(self, value):
        return value and str(value)

    def from_db_value(self, value, expression, connection):
        return value and ZoneInfo(value)


class Color(enum.Enum):
    RED = "r"


class ColorField(ChosenField):
    """As that of django-enumfields."""

    def get_prep_value(self, value):
        return value and Color(value).value

    def from_db_value(self, value, expression, connection):
        return value and Color(value)


class Descriptor(DeferredAttribute):
    def __set__(self, instance, value):
        vars(instance)[self.field.attname] = value


class ListDescriptor(Descriptor):
    def __get__(self, instance, cls=None):
        return self if instance is None else [object() for _ in super().__get__(instance, cls).split(",")]


class ListField(ChosenField):
    """As django-countries' with ``multiple=True``: another value is read than was set."""

    descriptor_class = ListDescriptor


class Money:
    def __init__(self, amount):
        self.amount = amount

    def __str__(self):
        return f"{self.amount} EUR"


class MoneyDescriptor(Descriptor):
    def __get__(self, instance, cls=None):
        return self if instance is None else Money(super().__get__(instance, cls))


class MoneyField(models.DecimalField):
    """As django-money's, without its app."""

    descriptor_class = MoneyDescriptor


class UnmadeField(models.CharField):
    """As that of django-hashid-field: REST framework can't make a field for it."""

    @property
    def validators(self):
        raise ImproperlyConfigured("must be explicitly declared")


class OldJSONField(models.TextField):
    """As that of jsonfield."""

    def get_prep_value(self, value):
        return json.dumps(value)

    def from_db_value(self, value, expression, connection):
        return json.loads(value)


class EncryptedTextField(models.TextField):
    """As several packages have it."""


def messages(settings, model, serializer=None):
    entry = {"model": model} if serializer is None else {"model": model, "serializer": serializer}
    settings.MODELS_CRUD_EVENT = [entry]
    return [message for message in run_checks(databases=[]) if "events_sourcing" in str(message.id)]


def make(**fields) -> Any:
    """A model that only a check knows."""
    with isolate_apps("tests.project"):
        return type("Thing", (models.Model,), {"__module__": "tests.project.models", **fields})


def keyed() -> Any:
    """A relation to a model whose key is no JSON."""
    return models.ForeignKey(make(zone=ZoneField(primary_key=True, default="UTC")), models.CASCADE, related_name="+")


UNUSABLE = {
    "its default": lambda: ZoneField(default="UTC"),
    "one of its choices": lambda: ColorField(choices=[(Color.RED, "red")]),
    "a list": ListField,
    "a key": keyed,
    "an amount": lambda: MoneyField(max_digits=5, decimal_places=2),
    "not to be made": UnmadeField,
    "not a number": lambda: models.FloatField(default=float("nan")),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_field__that_is_no_json__error_names_it(settings, case):
    """So does one without a default or choices, if it makes such a value of a plain one."""
    (message,) = messages(settings, make(thing=UNUSABLE[case]()))
    assert message.id == "django_events_sourcing.E018"
    assert "[0]: the serializer with all fields of project.Thing fails at its field 'thing'" in message.msg
    assert message.hint.startswith("Give 'thing' a serializer field")


USABLE = {
    "choices": lambda: models.CharField(max_length=1, choices=[("a", "A")]),
    "grouped choices": lambda: models.CharField(max_length=1, choices=[("group", [("a", "A")])]),
    "null": lambda: models.UUIDField(null=True),
    "not there": lambda: models.FilePathField(path="/a directory of another machine"),
    "today": lambda: models.DateField(default=date.today),
    "now, by the database": lambda: models.DateTimeField(default=Now()),
    "own JSON": lambda: models.JSONField(default=dict),
    "key": lambda: models.ForeignKey(Product, models.CASCADE),
    "many": lambda: models.ManyToManyField(Product),
    "file": models.FileField,
}


@pytest.mark.parametrize("case", USABLE)
def test_field__of_djangos_own__nothing_to_say(settings, case):
    assert messages(settings, make(thing=USABLE[case]())) == []


def test_default__that_asks_the_database__is_not_had(settings, monkeypatch, django_db_blocker):
    """No connection is made; nor is it an error, as a save may well ask."""
    connected = []
    monkeypatch.setattr(BaseDatabaseWrapper, "connect", lambda self: connected.append(self.alias))

    def first():
        return Product.objects.values_list("name", flat=True).first() or Color.RED

    model = make(thing=models.CharField(max_length=9, default=first), zone=ZoneField(default="UTC"))
    with django_db_blocker.unblock():
        (message,) = messages(settings, model)
    assert "'zone'" in message.msg
    assert connected == []


class ThingSerializer(serializers.ModelSerializer):
    class Meta:
        fields = "__all__"


def serializer_for(its_model, **declared):
    meta = type("Meta", (ThingSerializer.Meta,), {"model": its_model})
    return type("Own", (ThingSerializer,), {"Meta": meta, **declared})


def test_serializer_of_ones_own__that_gives_no_json__error_names_it(settings):
    model = make(zone=ZoneField(default="UTC"))
    (message,) = messages(settings, model, serializer_for(model))
    assert "MODELS_CRUD_EVENT[0]['serializer'], Own fails at its field 'zone'" in message.msg
    assert message.hint == "Mend the serializer."
    assert messages(settings, model, serializer_for(model, zone=serializers.CharField())) == []


def test_representation_of_ones_own__that_is_no_json__error_names_where(settings):
    def to_representation(self, instance):
        return {"sums": [Decimal(1), {"one": object()}]}

    model = make()
    (message,) = messages(settings, model, serializer_for(model, to_representation=to_representation))
    assert "fails at its field 'sums.1.one'" in message.msg


def test_serializer_of_ones_own__that_can_not_be_made__error(settings):
    (message,) = messages(settings, Product, serializer_for(Product, name=serializers.CharField(source="name")))
    assert "Own cannot be used, and a save of project.Product with it. AssertionError" in message.msg


@pytest.mark.parametrize("how", ["to_representation", "a method"])
def test_serializer_of_ones_own__that_wants_more_than_a_trial_has__nothing_to_say(settings, how):
    """A real instance has an article, and a row."""

    def look(self, comment):
        return {"title": comment.article.title, "others": comment.article.comment_set.count()}

    declared: dict[str, Any] = {"to_representation": look}
    if how == "a method":
        declared = {"title": serializers.SerializerMethodField(), "get_title": look}
    assert messages(settings, Comment, serializer_for(Comment, **declared)) == []


def test_serializer__for_another_model__warning(settings):
    """Its proxy, child or parent has the same rows."""
    (message,) = messages(settings, Product, serializer_for(Article))
    assert message.id == "django_events_sourcing.W007"
    assert "Own is for project.Article, not for project.Product" in message.msg
    for model, its_model in ((Order, ExpressOrder), (ExpressOrder, Order), (Restaurant, Restaurant.__base__)):
        assert messages(settings, model, serializer_for(its_model)) == []


def test_json__in_a_text_of_pythons__warning(settings):
    model = make(data=OldJSONField())
    (message,) = messages(settings, model)
    assert message.id == "django_events_sourcing.W008"
    assert "writes 'data' as Python does" in message.msg
    assert messages(settings, model, serializer_for(model, data=serializers.JSONField())) == []


SECRETS = {
    "password": models.CharField,
    "api_key": models.TextField,
    "reset_token": models.CharField,
    "secret": models.BinaryField,
    "note": EncryptedTextField,
}


@pytest.mark.parametrize("name", SECRETS)
def test_secret__that_nobody_chose_to_send__warning(settings, name):
    """A serializer of one's own says that it is meant; and what is no text is no secret."""
    model = make(**{name: SECRETS[name](default="")})
    (message,) = [each for each in messages(settings, model) if each.id == "django_events_sourcing.W009"]
    assert f"sends {name!r} to whoever listens" in message.msg
    assert not [each for each in messages(settings, model, serializer_for(model)) if "W009" in each.id]
    assert messages(settings, make(**{f"{name}_at": models.DateTimeField(null=True)})) == []
