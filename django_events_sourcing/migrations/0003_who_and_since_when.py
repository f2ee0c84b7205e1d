from django.db import migrations, models


class Migration(migrations.Migration):
    """What ``manage.py events`` tells: who does what, since when, and what no queue took."""

    dependencies = [("django_events_sourcing", "0002_operators")]

    operations = [
        migrations.AddField("failure", "buried_by", models.TextField(null=True)),
        migrations.AddField("failure", "buried_why", models.TextField(null=True)),
        migrations.AddField("queueentry", "queued_at", models.BigIntegerField(null=True)),
        migrations.AddField("partition", "holder", models.TextField(null=True)),
        migrations.AddField("partition", "failing_since", models.BigIntegerField(null=True)),
        migrations.AddField("partition", "paused_by", models.TextField(null=True)),
        migrations.AddField("partition", "paused_why", models.TextField(null=True)),
        migrations.AddField("publishedcount", "unrouted", models.IntegerField(default=0, db_default=0)),
        migrations.AddField("publishedcount", "last_at", models.BigIntegerField(null=True)),
        migrations.CreateModel(
            name="Worker",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=255)),
                ("host", models.CharField(max_length=255)),
                ("pid", models.BigIntegerField()),
                ("version", models.CharField(max_length=255)),
                ("started_at", models.BigIntegerField()),
                ("looked_at", models.BigIntegerField()),
            ],
            options={"db_table": "django_events_sourcing_worker"},
        ),
    ]
