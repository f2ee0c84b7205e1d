from rest_framework import serializers

from shop.models import Order, Product, Shipment


class ProductSerializer(serializers.ModelSerializer):
    class Meta:
        model = Product
        fields = "__all__"


class OrderSerializer(serializers.ModelSerializer):
    """An order as the API shows it and as its events have it."""

    product_name = serializers.CharField(source="product.name", read_only=True)

    class Meta:
        model = Order
        fields = ("id", "customer", "product", "product_name", "quantity", "total", "note", "created_at")
        read_only_fields = ("total",)


class ShipmentSerializer(serializers.ModelSerializer):
    class Meta:
        model = Shipment
        fields = "__all__"
