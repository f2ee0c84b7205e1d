from django.contrib import admin

from shop import models


@admin.register(models.Product)
class ProductAdmin(admin.ModelAdmin):
    list_display = ("name", "price", "stock")
    search_fields = ("name",)


@admin.register(models.Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ("id", "customer", "product", "quantity", "total", "created_at")
    list_select_related = ("product",)
    search_fields = ("customer",)
    readonly_fields = ("total", "created_at")


@admin.register(models.Shipment)
class ShipmentAdmin(admin.ModelAdmin):
    list_display = ("id", "order", "carrier", "status")
    list_filter = ("status",)
    list_select_related = ("order",)
