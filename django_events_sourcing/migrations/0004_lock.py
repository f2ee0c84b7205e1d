from django.db import migrations, models


class Migration(migrations.Migration):
    """What ``emit()`` holds on MySQL, for an object that has no row."""

    dependencies = [("django_events_sourcing", "0003_who_and_since_when")]

    operations = [
        migrations.CreateModel(
            name="ObjectLock",
            fields=[("number", models.SmallIntegerField(primary_key=True, serialize=False))],
            options={"db_table": "django_events_sourcing_lock"},
        ),
    ]
