"""A delete's event has the state before it, and is recorded when the row is gone."""

from datetime import date

import pytest
from django.db import connection, models, transaction
from django.db.models.deletion import Collector
from django.db.models.signals import post_delete, post_save, pre_delete
from django.test.utils import CaptureQueriesContext
from rest_framework import serializers

from django_events_sourcing.testing import disable_dispatcher
from tests.project.models import Anything, Article, Comment, Hidden, Place, Product, Restaurant, Row


class CommentSerializer(serializers.ModelSerializer):
    """Reads a related row, which a cascade takes away."""

    title = serializers.SerializerMethodField()

    class Meta:
        model = Comment
        fields = ["text", "title"]

    def get_title(self, comment):
        return Article.objects.get(pk=comment.article_id).title


class ArticleSerializer(serializers.ModelSerializer):
    comments = serializers.SerializerMethodField()

    class Meta:
        model = Article
        fields = ["title", "products", "comments"]

    def get_comments(self, article):
        return [comment.text for comment in article.comment_set.all()]


@pytest.fixture
def article(settings, events):
    """An article with a product and a comment; events of both models are registered."""
    settings.MODELS_CRUD_EVENT = []
    article = Article.objects.create(title="News")
    article.products.add(Product.objects.create(name="pen", price=1))
    Comment.objects.create(article=article, text="Ah")
    settings.MODELS_CRUD_EVENT = [
        {"model": Article, "serializer": ArticleSerializer},
        {"model": Comment, "serializer": CommentSerializer},
    ]
    return article


def bodies(events):
    return {event.name: event.data for event in events}


@pytest.mark.parametrize("how", ["instance", "queryset"])
def test_relations__in_the_body_as_before_the_delete(article, events, how):
    """Many-to-many lists, rows that go along and rows they point to are all there when the event is made."""
    pk = article.products.get().pk
    article.delete() if how == "instance" else Article.objects.all().delete()
    assert bodies(events) == {
        "article__deleted": {"title": "News", "products": [pk], "comments": ["Ah"]},
        "comment__deleted": {"text": "Ah", "title": "News"},
    }


def test_receiver_of_pre_delete__that_takes_relations_away__comes_later(article, events, receive):
    """A project that cleans up in a receiver of its own, however early connected, changes nothing in the body."""
    receive(pre_delete, Article, lambda instance, **_: instance.products.clear())
    pk = article.products.get().pk
    article.delete()
    assert bodies(events)["article__deleted"]["products"] == [pk]


def test_receiver_of_pre_delete__that_saves__is_in_the_body(article, events, receive):
    """What is written between is the last state before the delete."""

    def close(instance, **_):
        instance.title = "Closed"
        instance.save()

    receive(pre_delete, Article, close)
    article.delete()
    recorded = [(event.name, event.data["title"]) for event in events if event.name.startswith("article")]
    assert recorded == [("article__updated", "Closed"), ("article__deleted", "Closed")]


def test_receiver_of_post_delete__that_writes_the_row_anew__comes_later(article, events, receive):
    """Events are in the order of writes: the last one has what is there."""
    receive(post_delete, Article, lambda instance, **_: Article(pk=instance.pk, title="Phoenix").save())
    article.delete()
    recorded = [event.name for event in events if event.name.startswith("article")]
    assert recorded == ["article__deleted", "article__created"]
    assert events[-1].time >= events[-2].time
    assert events[-1].id > events[-2].id


def test_receiver_of_post_delete__that_writes_another_row_anew__comes_later(register, events, receive):
    """The rows of a queryset go together, and are recorded together, before anything else."""

    def revive(instance, **_):
        if not Product.objects.exists():
            Product(pk=other.pk, name="Phoenix", price=1).save()

    register(Product)
    other, _ = Product.objects.create(name="pen", price=1), Product.objects.create(name="pencil", price=1)
    receive(post_delete, Product, revive)
    Product.objects.all().delete()
    assert [event.name for event in events][2:] == ["product__deleted"] * 2 + ["product__created"]


def test_receiver_of_post_delete__that_saves_what_goes_along__records_no_second_delete(register, events, receive):
    """Its delete has been recorded with the first one's: what is written after that is what is there."""
    going: list[Product] = []
    register(Product)
    for name in ("pen", "ink"):
        Product.objects.create(name=name, price=1)

    def save_the_others(instance, **_):
        for each in [one for one in going if one is not instance]:
            each.save()

    receive(pre_delete, Product, lambda instance, **_: going.append(instance))
    receive(post_delete, Product, save_the_others)
    receive(post_save, Product, lambda **_: going.clear())
    Product.objects.all().delete()
    assert [event.name for event in events][2:] == ["product__deleted"] * 2 + ["product__created"]


def test_delete__broken_off__leaves_nothing_for_the_next(article, events, receive):
    """A receiver may refuse it; the rows that go later are recorded, as they are then, and no others."""
    refusals = [ValueError]
    first = article.comment_set.get()

    def refuse(instance, **_):
        if refusals:
            raise refusals.pop()

    receive(pre_delete, Article, refuse)
    with pytest.raises(ValueError), transaction.atomic():
        article.delete()
    Comment.objects.filter(pk=first.pk)._raw_delete("default")
    Comment.objects.create(article=article, text="Oh")
    events.clear()
    article.delete()
    assert [(event.name, event.data["text"]) for event in events if "comment" in event.name] == [
        ("comment__deleted", "Oh")
    ]
    assert len(events) == 2


def test_delete__by_a_collector_of_ones_own__recorded(article, events):
    """It names no origin."""
    collector = Collector(using="default")
    collector.collect([article])
    collector.delete()
    assert sorted(event.name for event in events) == ["article__deleted", "comment__deleted"]


def test_delete__protected__records_nothing(register, events):
    """Nor has one that Django refuses beforehand."""
    register(Product)
    product = Product.objects.create(name="pen", price=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Article.products.through._meta.get_field("product").remote_field, "on_delete", models.PROTECT)
        Article.objects.create(title="News").products.add(product)
        with pytest.raises(models.ProtectedError):
            product.delete()
    assert [event.name for event in events] == ["product__created"]


def test_deferred_instance__whose_row_is_gone__deleted_as_ever(register, events):
    """Somebody else was quicker, and has recorded it."""
    register(Product)
    Product.objects.create(name="pen", price=1)
    deferred = Product.objects.only("name").get()
    Product.objects.get().delete()
    assert deferred.delete() == (0, {})
    assert [event.name for event in events] == ["product__created", "product__deleted"]


@pytest.mark.parametrize("model, fields", [(Row, {"price": 2, "pieces": 3}), (Hidden, {"name": "x", "hidden": True})])
def test_instance__that_the_database_must_be_asked_for__gone__deleted_as_ever(register, events, model, fields):
    """The same for generated fields, and for a row that a filtered base manager would hide."""
    register(model)
    manager = model._default_manager
    manager.create(**fields)
    twin = manager.only("pk").get() if model is Hidden else manager.get()
    manager.get().delete()
    assert twin.delete() == (0, {})
    assert len(events) == 2


def _statements(queries):
    return [query["sql"].split()[0] for query in queries if "SAVEPOINT" not in query["sql"]]


def test_delete__of_an_instance__asks_only_whether_it_is_there(register, events):
    """On SQLite with the lock of a writer, which a statement takes that deletes nothing."""
    register(Anything)
    instance = Anything.objects.create(started=date(2026, 1, 2))
    with CaptureQueriesContext(connection) as queries:
        instance.delete()
    assert _statements(queries) == ["DELETE", "SELECT", "DELETE"]
    assert queries[-3]["sql"].endswith("WHERE 0")


def test_delete__of_a_queryset__asks_nothing_more(register, events):
    """Django itself has just read the rows."""
    register(Anything)
    for _ in range(3):
        Anything.objects.create(started=date(2026, 1, 2))
    with CaptureQueriesContext(connection) as queries:
        Anything.objects.all().delete()
    assert _statements(queries) == ["SELECT", "DELETE"]
    assert len(events) == 6


@pytest.mark.parametrize("model, fields", [(Product, {"price": 1}), (Restaurant, {"seats": 1}), (Place, {})])
def test_delete__of_a_row_that_is_gone__no_event(register, events, model, fields):
    """Two requests delete the same object: one of them did."""
    register(model)
    model.objects.create(name="x", **fields)
    one, other = model.objects.get(), model.objects.get()
    one.delete()
    other.delete()
    assert [event.name.partition("__")[2] for event in events] == ["created", "deleted"]


def test_delete__silenced__asks_nothing(register, events):
    register(Anything)
    instance = Anything.objects.create(started=date(2026, 1, 2))
    with disable_dispatcher(), CaptureQueriesContext(connection) as queries:
        instance.delete()
    assert _statements(queries) == ["DELETE"]


def test_delete__signals_sent_by_hand__recorded(register, events):
    """Soft deletes and raw deletes that send the signals themselves have their event, with or without pre_delete."""
    register(Product)
    product = Product.objects.create(name="pen", price=1)
    post_delete.send(Product, instance=product, using="default")
    pre_delete.send(Product, instance=product, using="default")
    post_delete.send(Product, instance=product, using="default")
    assert [event.name for event in events][1:] == ["product__deleted"] * 2


@pytest.mark.parametrize("using", ["default", "other"])
@pytest.mark.django_db(databases=["default", "other"])
def test_signal__sent_by_hand_with_nothing_but_the_instance__recorded(register, events, using, receive):
    """As most receivers take it; in the database that the instance is of."""
    register(Product)
    called = []
    receive(post_save, Product, lambda **_: called.append("post_save"))
    receive(post_delete, Product, lambda **_: called.append("post_delete"))
    (product,) = Product.objects.using(using).bulk_create([Product(name="pen", price=1)])
    for signal in (post_save, pre_delete, post_delete, post_delete):
        signal.send(sender=Product, instance=product)
    post_save.send(sender=Product, instance=product, created=True)
    names = [event.name.partition("__")[2] for event in events]
    assert names == ["updated", "deleted", "deleted", "created"]
    assert called == ["post_save", "post_delete", "post_delete", "post_save"]
