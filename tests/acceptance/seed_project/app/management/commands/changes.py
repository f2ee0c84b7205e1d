from django.core.management.base import BaseCommand

from app.models import Model1, Model2, ModelWithStatus


class Command(BaseCommand):
    def handle(self, **options):
        one = Model1.objects.create(name="one", secret="s3cret")
        one.name = "two"
        one.save()
        one.delete()
        Model2.objects.create(name="all fields")
        thing = ModelWithStatus.objects.create(status="started")
        thing.status = "finished"
        thing.save()
        thing.delete()
