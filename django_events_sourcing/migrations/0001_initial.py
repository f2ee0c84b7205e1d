from django.db import migrations, models


class Migration(migrations.Migration):
    """The outbox's tables."""

    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="LogEntry",
            fields=[
                ("sequence", models.BigAutoField(primary_key=True, serialize=False)),
                ("event_id", models.UUIDField(unique=True)),
                ("service", models.CharField(max_length=255)),
                ("name", models.CharField(max_length=255)),
                ("object", models.TextField()),
                ("body", models.TextField()),
                ("headers", models.TextField()),
                ("time", models.BigIntegerField()),
            ],
            options={"db_table": "django_events_sourcing_log", "verbose_name": "event"},
        ),
        migrations.CreateModel(
            name="QueueEntry",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "partition", "sequence", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("partition", models.SmallIntegerField()),
                ("sequence", models.BigIntegerField()),
                ("object_hash", models.BigIntegerField()),
            ],
            options={"db_table": "django_events_sourcing_queue"},
        ),
        migrations.CreateModel(
            name="Failure",
            fields=[
                ("sequence", models.BigIntegerField(primary_key=True, serialize=False)),
                ("partition", models.SmallIntegerField()),
                ("object_hash", models.BigIntegerField()),
                ("attempts", models.IntegerField()),
                ("retry_at", models.BigIntegerField(null=True)),
                ("dead_at", models.BigIntegerField(null=True)),
                ("error", models.TextField()),
            ],
            options={
                "db_table": "django_events_sourcing_failure",
                "indexes": [models.Index(fields=["partition", "object_hash"], name="events_failure_object")],
            },
        ),
        migrations.CreateModel(
            name="Partition",
            fields=[
                ("number", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("owner", models.UUIDField(null=True)),
                ("leased_until", models.BigIntegerField(null=True)),
                ("failures", models.IntegerField(default=0)),
                ("retry_at", models.BigIntegerField(null=True)),
                ("error", models.TextField(default="")),
                ("lost", models.IntegerField(default=0)),
            ],
            options={"db_table": "django_events_sourcing_partition"},
        ),
        migrations.CreateModel(
            name="PublishedCount",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "minute", "partition", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("minute", models.BigIntegerField()),
                ("partition", models.SmallIntegerField()),
                ("count", models.IntegerField()),
            ],
            options={"db_table": "django_events_sourcing_published"},
        ),
    ]
