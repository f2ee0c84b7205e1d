from rest_framework import serializers

from tests.bench.models import Enqueued, EnqueuedByMethods, Told, ToldByMethods, ToldInBulk

FIELDS = ["id", "number", "customer", "total", "quantity", "is_paid", "created_at", "note"]


class ToldSerializer(serializers.ModelSerializer):
    class Meta:
        model = Told
        fields = FIELDS


class ToldInBulkSerializer(serializers.ModelSerializer):
    class Meta:
        model = ToldInBulk
        fields = FIELDS


class EnqueuedSerializer(serializers.ModelSerializer):
    class Meta:
        model = Enqueued
        fields = FIELDS


class MethodsSerializer(serializers.ModelSerializer):
    """With a method field and a ``to_representation``, as projects have them."""

    state = serializers.SerializerMethodField()

    class Meta:
        fields = [*FIELDS, "state"]

    def get_state(self, order):
        return "paid" if order.is_paid else "open"

    def to_representation(self, instance):
        return {**super().to_representation(instance), "version": 2}


class ToldByMethodsSerializer(MethodsSerializer):
    class Meta(MethodsSerializer.Meta):
        model = ToldByMethods


class EnqueuedByMethodsSerializer(MethodsSerializer):
    class Meta(MethodsSerializer.Meta):
        model = EnqueuedByMethods
