from django.db import migrations, models


class Migration(migrations.Migration):
    """What is done to the outbox in Django's admin, and who may do it there."""

    dependencies = [("django_events_sourcing", "0004_lock")]

    operations = [
        migrations.CreateModel(
            name="Operation",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("kind", models.CharField(max_length=255)),
                ("what", models.TextField()),
                ("who", models.TextField()),
                ("why", models.TextField()),
                ("asked_at", models.BigIntegerField()),
                ("runner", models.UUIDField(null=True)),
                ("seen_at", models.BigIntegerField(null=True)),
                ("ended_at", models.BigIntegerField(null=True)),
                ("events", models.TextField(default="")),
                ("total", models.IntegerField()),
                ("position", models.IntegerField(default=0)),
                ("done", models.IntegerField(default=0)),
                ("error", models.TextField(default="")),
            ],
            options={"db_table": "django_events_sourcing_operation", "default_permissions": ()},
        ),
        migrations.AlterModelOptions(
            "logentry",
            {
                "verbose_name": "event",
                "default_permissions": ("view",),
                "permissions": [("replay_logentry", "Can replay events"), ("bury_logentry", "Can bury events")],
            },
        ),
        migrations.AlterModelOptions(
            "partition",
            {
                "verbose_name_plural": "dashboard",
                "default_permissions": ("view",),
                "permissions": [("pause_partition", "Can pause and resume publishing")],
            },
        ),
        *(
            migrations.AlterModelOptions(name, {"default_permissions": ()})
            for name in ("failure", "objectlock", "publishedcount", "queueentry", "worker")
        ),
    ]
