"""One model with eight fields, once for each way to have its changes known."""

from django.db import models


class Order(models.Model):
    number = models.CharField(max_length=40)
    customer = models.CharField(max_length=100)
    total = models.DecimalField(max_digits=10, decimal_places=2)
    quantity = models.IntegerField()
    is_paid = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)
    note = models.TextField(blank=True)

    class Meta:
        abstract = True


class Silent(Order):
    """(a): nobody hears of them."""


class Inserted(Order):
    """(b): a bare INSERT for each save."""


class Enqueued(Order):
    """(c): a Celery task for each save."""


class Told(Order):
    """The library's."""


class EnqueuedByMethods(Order):
    """(c), with a serializer that has code of its own."""


class ToldByMethods(Order):
    """The library's, with such a serializer."""


class ToldInBulk(Order):
    """The library's, of bulk writes."""


class Body(models.Model):
    """Where (b) inserts."""

    body = models.TextField()
