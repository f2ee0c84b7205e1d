"""The serializer that nobody wrote: what Django's own fields hold, as the row holds it, and asking for nothing else."""

import json

import django
import pytest
from django.core.files.base import ContentFile
from django.db import connection, models
from django.test.utils import CaptureQueriesContext, isolate_apps

from django_events_sourcing.capture.default_serializer import default_serializer
from django_events_sourcing.capture.stored import StoredForm
from tests.project.models import Article, Badge, Choice, Club, Comment, Document, NaturalThing, Product, Profile


@pytest.fixture
def queries():
    """How many statements a function makes."""

    def count(function):
        with CaptureQueriesContext(connection) as captured:
            function()
        return len(captured)

    return count


def test_file__its_name(register, events):
    """A storage that knows no addresses, or signs them, is not asked for one."""
    register(Document)
    document = Document.objects.create(file=ContentFile(b"x", name="a.pdf"))
    assert events[-1].data["file"] == document.file.name
    Document.objects.create(file="b.pdf")
    assert events[-1].data["file"] == "b.pdf"
    Document.objects.create()
    assert events[-1].data["file"] is None


def test_path__whose_directory_is_not_there__its_text(register, events):
    register(Document)
    Document.objects.create(template="/a directory of another machine/x.html")
    assert events[-1].data["template"] == "/a directory of another machine/x.html"


@pytest.mark.skipif(django.VERSION < (6, 1), reason="a DecimalField needs bounds")
@isolate_apps("tests.project")
@pytest.mark.django_db
def test_decimal__without_bounds__as_after_a_reload():
    class Measure(models.Model):
        length = models.DecimalField()

        class Meta:
            app_label = "project"

    with connection.cursor() as cursor:
        cursor.execute('CREATE TABLE "project_measure" ("id" integer PRIMARY KEY AUTOINCREMENT, "length" decimal)')
    serializer = default_serializer(Measure)
    for given in ("1.50", "100", "1E+3", "0.1234567890123456789", "123456789012345678901234", 2):
        measure = Measure(length=given)
        measure.save()
        written = serializer(StoredForm(Measure).of(measure, "default", action="created")).data
        measure.refresh_from_db()
        assert written == {"id": measure.pk, "length": f"{measure.length:f}"}


def test_relation__by_a_field_that_is_no_primary_key__as_stored(register, events, queries):
    """Also by one that is a relation itself; the related object is not read for it."""
    thing = NaturalThing.objects.create(code="x")
    Badge.objects.create(profile=Profile.objects.create(owner=thing), club=Club.objects.create(code="c"))
    badge = Badge.objects.get()
    plain = queries(badge.save)
    register(Badge)
    assert queries(badge.save) == plain
    assert events[-1].data == {"id": badge.pk, "profile": "x", "club": "c"}


def test_many_to_many__by_a_key_that_is_null__none(register, events):
    register(Club)
    club = Club.objects.create()
    club.save()
    assert [event.data["products"] for event in events] == [[], []]
    club.code = "c"
    club.save()
    product = Product.objects.create(name="pen", price=1)
    Choice.objects.create(club=club, product=product)
    club.save()
    assert [event.data["products"] for event in events][2:] == [[], [product.pk]]


def test_many_to_many__of_what_is_created__not_asked_for(register, events, queries):
    """Nothing can be linked to a row that is new."""
    plain = queries(lambda: Article.objects.create(title="x"))
    register(Article)
    assert queries(lambda: Article.objects.create(title="x")) == plain
    assert events[-1].data["products"] == []
    article = Article.objects.get(title="x", pk=events[-1].data["id"])
    article.products.add(product := Product.objects.create(name="pen", price=1))
    article.save()
    assert events[-1].data["products"] == [product.pk]


def test_many_to_many__of_what_is_created__is_asked_for_afterwards(register, events, receive):
    """What the event was spared, the instance is not: a receiver of post_save may add, and look."""
    register(Article)
    article = Article.objects.create(title="x")
    article.products.add(product := Product.objects.create(name="pen", price=1))
    assert list(article.products.all()) == [product]


def test_default_serializer__has_what_a_model_serializer_has(register, events):
    """But for the fields above."""
    register(Comment)
    article = Article.objects.create(title="x")
    comment = Comment.objects.create(article=article, text="hm")
    assert json.loads(events[-1].body) == {"id": comment.pk, "text": "hm", "article": article.pk}


@isolate_apps("tests.project")
def test_relation__by_several_columns__is_these():
    """As one with a composite key is: it has no column of its own, and no one key."""

    class Visit(models.Model):
        code = models.CharField(max_length=20)
        day = models.DateField()
        other = models.ForeignObject(
            Club, models.CASCADE, from_fields=["code", "day"], to_fields=["code", "id"], related_name="+"
        )

        class Meta:
            app_label = "project"

    assert list(default_serializer(Visit)().fields) == ["id", "code", "day"]
