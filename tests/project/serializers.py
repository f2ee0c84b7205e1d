"""Serializers that entries of MODELS_CRUD_EVENT name."""

from rest_framework import serializers

from tests.project.models import Article, Order


class OrderSerializer(serializers.ModelSerializer):
    class Meta:
        model = Order
        fields = ["id", "number", "total"]


class TitleSerializer(serializers.ModelSerializer):
    """Shows nothing but the title of an article."""

    class Meta:
        model = Article
        fields = ["title"]
