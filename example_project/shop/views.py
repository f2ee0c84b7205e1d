from rest_framework import viewsets

from shop import models, serializers


class ProductViewSet(viewsets.ModelViewSet):
    queryset = models.Product.objects.order_by("pk")
    serializer_class = serializers.ProductSerializer


class OrderViewSet(viewsets.ModelViewSet):
    queryset = models.Order.objects.select_related("product").order_by("pk")
    serializer_class = serializers.OrderSerializer


class ShipmentViewSet(viewsets.ModelViewSet):
    queryset = models.Shipment.objects.order_by("pk")
    serializer_class = serializers.ShipmentSerializer
