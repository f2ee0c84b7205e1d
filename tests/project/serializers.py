"""Serializers that entries of MODELS_CRUD_EVENT name."""

from rest_framework import serializers

from tests.project.models import Order


class OrderSerializer(serializers.ModelSerializer):
    class Meta:
        model = Order
        fields = ["id", "number", "total"]
