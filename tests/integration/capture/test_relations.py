"""Many-to-many relations on each database: what is put on an object's list, or taken off it, is an update of it."""

import json
from functools import partial
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core import serializers
from django.db import connections, transaction
from django.db.models.signals import m2m_changed
from django.test.utils import CaptureQueriesContext

from django_events_sourcing.capture import rows
from django_events_sourcing.testing import disable_dispatcher, disable_model_obj_dispatcher
from tests.integration.capture.conftest import in_thread, take_entries
from tests.project.models import Article, Club, Hotel, Magazine, Person, Product


@pytest.fixture
def register(register_in_outbox):
    """Register models, with all many-to-many fields."""
    return partial(register_in_outbox, m2m=True)


@pytest.fixture
def shop(database, register):
    """Three articles and three products, without relations and events."""
    register(Article)
    with disable_dispatcher():
        articles = [Article.objects.using(database).create(title=title) for title in "abc"]
        products = [Product.objects.using(database).create(name=name, price=1) for name in "xyz"]
    return articles, products


def told(using):
    """What was told since the last time, of whom, and the headers."""
    return [(entry.name, json.loads(entry.body), json.loads(entry.headers)) for entry in take_entries(using)]


def lists(using, field="products"):
    """The name of each event, its object, and the list that it has."""
    return [(name.partition("__")[2], body["id"], sorted(body[field])) for name, body, _ in told(using)]


def test_each_change__from_its_own_side__is_one_update(database, shop):
    """With the list as it is after it; what changes nothing tells nothing."""
    (article, *_), (x, y, z) = shop
    of_it = article.products
    for change, expected in [
        (lambda: of_it.add(x, y), [x, y]),
        (lambda: of_it.add(y), None),
        (lambda: of_it.add(y.pk, z.pk), [x, y, z]),
        (lambda: of_it.remove(x), [y, z]),
        (lambda: of_it.remove(x), None),
        (lambda: of_it.set([x, y]), [x, y]),
        (lambda: of_it.set([y, x]), None),
        (lambda: of_it.set([z], clear=True), [z]),
        (of_it.clear, []),
        (of_it.clear, None),
        (of_it.add, None),
        (lambda: async_to_sync(of_it.aset)([y]), [y]),
    ]:
        change()
        assert lists(database) == ([] if expected is None else [("updated", article.pk, [one.pk for one in expected])])


def test_each_change__from_the_other_side__is_an_update_of_each_object(database, shop):
    (a, b, c), (x, y, _) = shop
    of_it = x.article_set
    with disable_dispatcher():
        a.products.add(y)
    for change, expected in [
        (lambda: of_it.add(a, b), [(a, [x, y]), (b, [x])]),
        (lambda: of_it.add(b, c.pk), [(c, [x])]),
        (lambda: of_it.remove(b), [(b, [])]),
        (lambda: of_it.remove(b), []),
        (lambda: of_it.set([b, c]), [(a, [y]), (b, [x])]),
        (of_it.clear, [(b, []), (c, [])]),
        (of_it.clear, []),
    ]:
        change()
        assert lists(database) == [("updated", article.pk, [one.pk for one in them]) for article, them in expected]


def test_object_that_is_created_for_it__is_on_the_list(database, shop):
    article = shop[0][0]
    product = article.products.create(name="new", price=1)
    assert lists(database) == [("updated", article.pk, [product.pk])]
    created = product.article_set.create(title="new")
    assert lists(database) == [("created", created.pk, []), ("updated", created.pk, [product.pk])]


def test_key__that_is_a_text_on_an_instance__is_the_rows(database, shop):
    """As it comes from a URL."""
    article, product = shop[0][0], shop[1][0]
    from_url = Article(pk=str(article.pk), title="a")
    from_url._state.db = database
    from_url.products.add(str(product.pk))  # type: ignore[arg-type]
    product.article_set.remove(from_url)
    assert lists(database) == [("updated", article.pk, [product.pk]), ("updated", article.pk, [])]


def test_body__has_what_the_row_holds(database, shop):
    """Not what stands on the instance, and was not saved."""
    article, product = shop[0][0], shop[1][0]
    article.title = "not saved"
    article.products.add(product)
    assert [body["title"] for _, body, _ in told(database)] == ["a"]


def test_tracked__names_the_list(database, shop, settings, register):
    article, product = shop[0][0], shop[1][0]
    register(Article, track_changes=True)
    article.products.add(product)
    article.save()
    assert [headers for _, _, headers in told(database)] == [{"event_changed": ["products"]}]
    register(Article, track_changes=True, serializer="tests.project.serializers.TitleSerializer")
    article.products.clear()
    assert told(database) == []
    article.title = "new"
    article.save()
    assert [headers for _, _, headers in told(database)] == [{"event_changed": ["title"]}]


def test_relation_to_itself__changes_both_lists(database, register):
    """Of a mirrored one, and not of another."""
    register(Person)
    eva, ida, pia = (Person.objects.using(database).create(name=name) for name in ("Eva", "Ida", "Pia"))
    told(database)
    eva.friends.add(ida, pia)
    assert lists(database, "friends") == [
        ("updated", eva.pk, [ida.pk, pia.pk]),
        ("updated", ida.pk, [eva.pk]),
        ("updated", pia.pk, [eva.pk]),
    ]
    ida.friends.remove(eva)
    assert lists(database, "friends") == [("updated", eva.pk, [pia.pk]), ("updated", ida.pk, [])]
    eva.friends.set([ida])
    assert lists(database, "friends") == [
        ("updated", eva.pk, [ida.pk]),
        ("updated", ida.pk, [eva.pk]),
        ("updated", pia.pk, []),
    ]
    eva.friends.clear()
    assert lists(database, "friends") == [("updated", eva.pk, []), ("updated", ida.pk, [])]
    eva.follows.add(ida)
    assert lists(database, "follows") == [("updated", eva.pk, [ida.pk])]
    ida.followers.add(pia)
    assert lists(database, "follows") == [("updated", pia.pk, [ida.pk])]


def test_child_and_proxy__are_told_by_the_nearest_entry(database, register, shop):
    register(Article, Magazine)
    product = shop[1][0]
    magazine = Magazine.objects.using(database).create(title="m", issue=1)
    told(database)
    magazine.products.add(product)
    assert [(name, body["issue"], body["products"]) for name, body, _ in told(database)] == [
        ("magazine__updated", 1, [product.pk])
    ]
    product.article_set.remove(magazine.pk)
    assert [(name, body["products"]) for name, body, _ in told(database)] == [("article__updated", [])]


def test_child_of_two_parents__has_a_list_of_the_second(database, register):
    """Whose key is not its own."""
    register(Hotel)
    hotel = Hotel.objects.using(database).create(pk=77, name="h", tax_number="1", beds=1)
    club = Club.objects.using(database).create(code="a")
    told(database)
    hotel.partners.add(club)
    assert [(body["name"], body["partners"]) for _, body, _ in told(database)] == [("h", [club.pk])]
    hotel.partners.clear()
    assert [(body["name"], body["partners"]) for _, body, _ in told(database)] == [("h", [])]


def test_only_the_named_ones__are_told(database, register, shop):
    register(Person, m2m=["follows"])
    eva = Person.objects.using(database).create(name="Eva")
    told(database)
    eva.friends.add(Person.objects.using(database).create(name="Ida"))
    told(database)
    eva.friends.clear()
    assert told(database) == []
    eva.follows.add(eva)
    assert [name for name, _, _ in told(database)] == ["person__updated"]
    register(Article, m2m=False)
    shop[0][0].products.add(shop[1][0])
    assert told(database) == []


def test_two_relations__changed_in_one_call__are_told_apart(database, register):
    """Whoever changes another list while one is changed."""
    register(Person)
    eva, ida = (Person.objects.using(database).create(name=name) for name in ("Eva", "Ida"))
    told(database)

    def follow(action, instance, pk_set, **_):
        if action == "post_add":
            instance.follows.add(*pk_set)

    m2m_changed.connect(follow, sender=Person.friends.through)
    try:
        eva.friends.add(ida)
    finally:
        m2m_changed.disconnect(follow, sender=Person.friends.through)
    assert [(body["id"], body["friends"], body["follows"]) for _, body, _ in told(database)] == [
        (eva.pk, [ida.pk], [ida.pk]),
        (ida.pk, [eva.pk], []),
    ]


def test_other_manager__is_told_by_the_signal(database, shop):
    """``article.products(manager=…)`` is a class that Django makes for the moment."""
    article, (x, y, _) = shop[0][0], shop[1]
    others = article.products(manager="objects")
    others.add(x, y)
    assert lists(database) == [("updated", article.pk, [x.pk, y.pk])]
    others.remove(x)
    assert lists(database) == [("updated", article.pk, [y.pk])]
    others.clear()
    assert lists(database) == [("updated", article.pk, [])]


def test_rolled_back__tells_nothing(database, shop):
    article, product = shop[0][0], shop[1][0]
    with transaction.atomic(using=database):
        article.products.add(product)
        transaction.set_rollback(True, using=database)
    with transaction.atomic(using=database):
        with transaction.atomic(using=database):
            article.products.add(product)
            transaction.set_rollback(True, using=database)
        article.products.set([product])
    assert lists(database) == [("updated", article.pk, [product.pk])]


def test_error_of_djangos__leaves_the_transaction_as_it_does(database, shop):
    """Whoever catches it goes on."""
    article, product = shop[0][0], shop[1][0]
    with transaction.atomic(using=database):
        with pytest.raises(TypeError):
            article.products.set(None)
        article.products.add(product)
    assert lists(database) == [("updated", article.pk, [product.pk])]


def test_switches_actions_and_when__hold(database, shop, register):
    article, (x, y, z) = shop[0][0], shop[1]
    with disable_dispatcher(["project.Article"]):
        article.products.add(x)
    with disable_model_obj_dispatcher(article):
        y.article_set.set(shop[0])
    assert {body["title"] for _, body, _ in told(database)} == {"b", "c"}
    register(Article, actions=["created", "deleted"])
    article.products.clear()
    register(Article, when=lambda instance, action: instance.title != "a")
    article.products.add(z)
    assert told(database) == []


def test_fixture__tells_nothing(database, shop):
    """Neither of the object nor of its list; what is done to it later is told."""
    article, product = shop[0][0], shop[1][0]
    text = json.dumps(
        [{"model": "project.article", "pk": article.pk, "fields": {"title": "a", "products": [product.pk]}}]
    )
    loaded: Any
    (loaded,) = serializers.deserialize("json", text, using=database)
    loaded.save(using=database)
    assert article.products.count() == 1
    assert told(database) == []
    loaded.object.save()
    loaded.object.products.clear()
    assert lists(database) == [("updated", article.pk, [product.pk]), ("updated", article.pk, [])]


def test_many__are_told_in_chunks(database, shop, monkeypatch):
    monkeypatch.setattr(rows, "CHUNK", 2)
    (a, b, c), (x, *_) = shop
    with CaptureQueriesContext(connections[database]) as queries:
        x.article_set.set([a, b, c])
    assert lists(database) == [("updated", each.pk, [x.pk]) for each in (a, b, c)]
    assert len(queries) < 35


def test_two__who_change_one_list__see_each_others(concurrent, register):
    """The second reads the list that the first has left, and is told after it."""
    register(Article)
    with disable_dispatcher():
        article = Article.objects.using(concurrent).create(title="a")
        x, y = (Product.objects.using(concurrent).create(name=name, price=1) for name in "xy")

    def add():
        Article.objects.using(concurrent).get().products.add(y)

    with transaction.atomic(using=concurrent):
        article.products.add(x)
        thread = in_thread(concurrent, add)
        assert thread.is_alive()
    thread.join()
    assert lists(concurrent) == [("updated", article.pk, [x.pk]), ("updated", article.pk, [x.pk, y.pk])]


def test_through_model_of_its_own__sends_its_own(database, settings):
    """With ``bulk``, of ``add()``, too."""
    settings.EVENTS_SOURCING = {"DELIVERY": "outbox"}
    settings.MODELS_CRUD_EVENT = [{"model": "project.Choice", "bulk": True}, {"model": "project.Club", "m2m": True}]
    club = Club.objects.using(database).create(code="a")
    club.products.add(Product.objects.using(database).create(name="x", price=1))
    club.products.clear()
    assert [name for name, _, _ in told(database)] == ["club__created", "choice__created", "choice__deleted"]
