"""A model of each kind that the library treats in a way of its own."""

import enum
import functools
import uuid

from django.contrib.postgres import fields as postgres
from django.core.files.storage import InMemoryStorage
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models.query_utils import DeferredAttribute
from django.utils import timezone

from django_events_sourcing import EventManager


class Product(models.Model):
    """Serialized by default, with all fields."""

    name = models.CharField(max_length=100)
    price = models.DecimalField(max_digits=10, decimal_places=2)
    weight = models.FloatField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)


class Order(models.Model):
    """Has a serializer of its own."""

    number = models.CharField(max_length=20)
    customer = models.CharField(max_length=100)
    total = models.DecimalField(max_digits=10, decimal_places=2)


class ExpressOrder(Order):
    """A proxy that is registered for itself."""

    class Meta:
        proxy = True


class ArchivedOrder(Order):
    """A proxy that is not registered."""

    class Meta:
        proxy = True


class Shipment(models.Model):
    """Its status names its events."""

    class Status(models.TextChoices):
        STARTED = "started"
        FINISHED = "finished"

    order = models.ForeignKey(Order, on_delete=models.CASCADE)
    status = models.CharField(max_length=20, choices=Status.choices)


class UUIDThing(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=100)


class NaturalThingManager(models.Manager["NaturalThing"]):
    def get_by_natural_key(self, code):
        return self.get(code=code)


class NaturalThing(models.Model):
    code = models.CharField(max_length=20, primary_key=True)

    objects = NaturalThingManager()

    def natural_key(self):
        return (self.code,)


class Place(models.Model):
    name = models.CharField(max_length=100)


class Restaurant(Place):
    """A child in multi-table inheritance."""

    seats = models.IntegerField()


class Unregistered(models.Model):
    name = models.CharField(max_length=100)


class Kind(str, enum.Enum):  # noqa: UP042 - the very point
    """What people write who don't know TextChoices; its ``str()`` is not its value."""

    NEW = "new"


class ShoutField(models.CharField):
    """A field class of the project's own, which converts what it gives to the database."""

    def get_prep_value(self, value):
        return None if value is None else str(value).upper()


class BlankField(models.CharField):
    """Another, which has no NULL in the database."""

    def get_prep_value(self, value):
        return super().get_prep_value(value) or ""


class PointField(models.CharField):
    """Another, with an object of its own for the text in the database."""

    def get_prep_value(self, value):
        return value if value is None or isinstance(value, str) else f"{value.real:g};{value.imag:g}"

    def from_db_value(self, value, expression, connection):
        return None if value is None else complex(*map(float, value.split(";")))


class Shouted(str):
    """What a DescribedField is on an instance."""

    __slots__ = ()


class ShoutDescriptor(DeferredAttribute):
    def __set__(self, instance, value):
        vars(instance)[self.field.attname] = value if value is None else Shouted(value)


class DescribedField(ShoutField):
    """With a descriptor, as field classes for telephone numbers or countries have."""

    descriptor_class = ShoutDescriptor


class Anything(models.Model):
    """A field of each type."""

    text = models.TextField(null=True)
    char = models.CharField(max_length=50, null=True)
    integer = models.IntegerField(null=True)
    float = models.FloatField(null=True)
    decimal = models.DecimalField(max_digits=10, decimal_places=2, null=True)
    large = models.DecimalField(max_digits=30, decimal_places=2, null=True)
    boolean = models.BooleanField(null=True)
    date = models.DateField(null=True)
    time = models.TimeField(null=True)
    moment = models.DateTimeField(null=True)
    duration = models.DurationField(null=True)
    uuid = models.UUIDField(null=True)
    address = models.GenericIPAddressField(null=True)
    json = models.JSONField(null=True, encoder=DjangoJSONEncoder)
    shout = ShoutField(max_length=50, null=True)
    blank = BlankField(max_length=50, null=True)
    point = PointField(max_length=50, null=True)
    described = DescribedField(max_length=50, null=True)
    order = models.ForeignKey(Order, models.SET_NULL, null=True)
    started = models.DateField(default=timezone.now)

    @functools.cached_property
    def siblings(self):
        return Anything.objects.exclude(pk=self.pk)


class Row(models.Model):
    """Its body is computed by the database."""

    price = models.IntegerField()
    pieces = models.IntegerField()
    total = models.GeneratedField(
        expression=models.F("price") * models.F("pieces"), output_field=models.IntegerField(), db_persist=True
    )


class VisibleManager(models.Manager["Hidden"]):
    def get_queryset(self):
        return super().get_queryset().filter(hidden=False)


class Hidden(models.Model):
    """Django itself reads it through a manager that leaves rows out."""

    name = models.CharField(max_length=100)
    hidden = models.BooleanField(default=False)
    stock = models.IntegerField(default=0)

    everything = models.Manager()
    visible = VisibleManager()

    class Meta:
        base_manager_name = "visible"
        default_manager_name = "everything"


class Article(models.Model):
    """Has tags, and comments that go with it."""

    title = models.CharField(max_length=100)
    products = models.ManyToManyField(Product)


class Comment(models.Model):
    article = models.ForeignKey(Article, models.CASCADE)
    text = models.CharField(max_length=100)


class ProjectStorage(InMemoryStorage):
    """Its files have no address; what it does beside keeping them, a test says."""

    on_save = None

    def _save(self, name, content):
        if self.on_save:
            self.on_save()
        return super()._save(name, content)  # type: ignore[misc]

    def url(self, name):
        raise NotImplementedError


class Document(models.Model):
    file = models.FileField(storage=ProjectStorage(), null=True)
    template = models.FilePathField(path="/a directory of another machine", null=True)


class Signed(models.Model):
    """A document whose key is not the database's to give."""

    name = models.CharField(max_length=20, primary_key=True)
    file = models.FileField(storage=ProjectStorage(), null=True)


class Profile(models.Model):
    owner = models.OneToOneField(NaturalThing, models.CASCADE)


class Badge(models.Model):
    """Its relations lead to what is itself one, and to what is no key."""

    profile = models.ForeignKey(Profile, models.CASCADE, to_field="owner")
    club = models.ForeignKey("Club", models.CASCADE, to_field="code", null=True)


class Club(models.Model):
    """Without a code, nothing can be related by it."""

    code = models.CharField(max_length=20, unique=True, null=True)
    products = models.ManyToManyField(Product, through="Choice")


class Choice(models.Model):
    club = models.ForeignKey(Club, models.CASCADE, to_field="code")
    product = models.ForeignKey(Product, models.CASCADE)


class Ticket(models.Model):
    kind = models.CharField(max_length=20)

    @property
    def stage(self):
        return Kind.NEW

    def state(self):
        return "new"


class Parcel(models.Model):
    """One of its states is what an event of a delete is named by."""

    status = models.CharField(max_length=20, choices=[("Gone", [("lost", "Lost"), ("deleted", "Deleted")])])


class Business(models.Model):
    business_id = models.BigAutoField(primary_key=True)
    tax_number = models.CharField(max_length=20)
    partners = models.ManyToManyField(Club, related_name="+")


class Pizzeria(Restaurant):
    """A grandchild."""

    ovens = models.IntegerField(default=1)


class Hotel(Place, Business):
    """Has two parents that know nothing of each other."""

    beds = models.IntegerField(default=1)


class Abstract(models.Model):
    class Meta:
        abstract = True


class Swapped(models.Model):
    class Meta:
        swappable = "SWAPPED_MODEL"


class Booking(models.Model):
    """What only PostgreSQL has."""

    period = postgres.DateRangeField(null=True)
    numbers = postgres.IntegerRangeField(null=True)
    hours = postgres.DateTimeRangeField(null=True)
    dates = postgres.ArrayField(models.DateField(), null=True)
    duration = models.DurationField(null=True)

    class Meta:
        required_db_vendor = "postgresql"


class Seat(models.Model):
    """Known by two columns; the database knows its price. Its bulk writes are told, as its manager says."""

    pk = models.CompositePrimaryKey("hall", "number")
    hall = models.CharField(max_length=20)
    number = models.IntegerField()
    guest = models.CharField(max_length=100, blank=True)
    price = models.IntegerField(db_default=5)

    objects = EventManager()


class Magazine(Article):
    """A child whose list is its parent's."""

    issue = models.IntegerField()


class Person(models.Model):
    """Related to others of the kind: mutually, or not."""

    name = models.CharField(max_length=100)
    friends = models.ManyToManyField("self")
    follows = models.ManyToManyField("self", symmetrical=False, related_name="followers")


class Loan(models.Model):
    """Django reads it before it sets what a delete leaves there."""

    order = models.ForeignKey(Order, models.SET_DEFAULT, null=True, default=None)
