from django.db import migrations, models


class Migration(migrations.Migration):
    """What operators' commands leave behind."""

    dependencies = [("django_events_sourcing", "0001_initial")]

    operations = [
        migrations.AddField("failure", "buried_at", models.BigIntegerField(null=True)),
        migrations.AddField("failure", "replay_to", models.CharField(max_length=255, null=True)),
        migrations.AddField("queueentry", "replay_to", models.CharField(max_length=255, null=True)),
        migrations.AddField("partition", "paused_at", models.BigIntegerField(null=True)),
    ]
