"""What each tenant has for itself."""

from django.db import models


class Note(models.Model):
    """A note."""

    text = models.CharField(max_length=20)
