"""What all tenants share."""

from django.db import models
from django_tenants.models import DomainMixin, TenantMixin


class Client(TenantMixin):  # type: ignore[misc]
    """A tenant."""


class Domain(DomainMixin):  # type: ignore[misc]
    """Where one is served."""


class Plan(models.Model):
    """What a tenant may have."""

    name = models.CharField(max_length=20)
