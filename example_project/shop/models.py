from typing import Any

from django.core.validators import MinValueValidator
from django.db import models


class Product(models.Model):
    name = models.CharField(max_length=100)
    price = models.DecimalField(max_digits=10, decimal_places=2)
    stock = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    customer = models.CharField(max_length=100)
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="orders")
    quantity = models.PositiveIntegerField(default=1, validators=[MinValueValidator(1)])
    total = models.DecimalField(max_digits=12, decimal_places=2, editable=False)
    note = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"order {self.pk} of {self.customer}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.total = self.product.price * self.quantity
        super().save(*args, **kwargs)


class Shipment(models.Model):
    class Status(models.TextChoices):
        STARTED = "started", "Started"
        FINISHED = "finished", "Finished"

    order = models.OneToOneField(Order, on_delete=models.CASCADE, related_name="shipment")
    carrier = models.CharField(max_length=100)
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.STARTED)

    def __str__(self) -> str:
        return f"shipment of {self.order}: {self.status}"
