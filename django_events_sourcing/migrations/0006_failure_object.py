from typing import Any

from django.db import migrations, models
from django.db.models import OuterRef, Subquery


def fill(apps: Any, schema_editor: Any) -> None:
    """Those that are there have it from the log."""
    using = schema_editor.connection.alias
    log = apps.get_model("django_events_sourcing", "LogEntry").objects.using(using)
    failures = apps.get_model("django_events_sourcing", "Failure").objects.using(using)
    failures.update(object=Subquery(log.filter(sequence=OuterRef("sequence")).values("object")[:1]))


class Migration(migrations.Migration):
    """Whose later events wait, beside the hash of it, which others may have."""

    dependencies = [("django_events_sourcing", "0005_operations")]

    operations = [
        migrations.AddField("failure", "object", models.TextField(null=True)),
        migrations.RunPython(fill, migrations.RunPython.noop, elidable=True),
    ]
