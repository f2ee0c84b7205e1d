from django.db import models


class Model1(models.Model):
    name = models.CharField(max_length=200)
    secret = models.CharField(max_length=200)


class Model2(models.Model):
    name = models.CharField(max_length=200)


class ModelWithStatus(models.Model):
    STATUS_CHOICES = (("started", "Started"), ("finished", "Finished"))
    status = models.CharField(max_length=200, choices=STATUS_CHOICES)
