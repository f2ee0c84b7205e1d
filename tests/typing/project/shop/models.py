from django.db import models

from django_events_sourcing import EventManager, EventQuerySet


class OrderQuerySet(EventQuerySet["Order"]):
    def unpaid(self) -> "OrderQuerySet":
        return self.filter(is_paid=False)


class Order(models.Model):
    number = models.CharField(max_length=20)
    is_paid = models.BooleanField(default=False)

    objects = OrderQuerySet.as_manager()
    told = EventManager["Order"]()
