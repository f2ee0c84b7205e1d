"""A model of each kind that the library has to tell apart."""

import uuid

from django.db import models


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
