from rest_framework import serializers

from tests.bench.models import Enqueued, Told

FIELDS = ["id", "number", "customer", "total", "quantity", "is_paid", "created_at", "note"]


class ToldSerializer(serializers.ModelSerializer):
    class Meta:
        model = Told
        fields = FIELDS


class EnqueuedSerializer(serializers.ModelSerializer):
    class Meta:
        model = Enqueued
        fields = FIELDS
