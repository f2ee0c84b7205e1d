"""What people look for, as they write it."""

from django.apps import apps

from django_events_sourcing.capture.stored import concrete_model

__all__ = ["model_label", "object_key"]


def model_label(given: str) -> str:
    """The label by which the log has a model's objects.

    Raises:
        ValueError: No installed app has such a model.
    """
    try:
        return str(concrete_model(apps.get_model(given))._meta.label_lower)
    except (LookupError, ValueError):
        raise ValueError(f"no installed app has a model {given!r}") from None


def object_key(given: str) -> str:
    """An object as the log has it: a model's label is in lower case there, and a tenant's schema comes before it.

    A model that is installed no more may be named, too: its events are still there.

    Raises:
        ValueError: It is no object.
    """
    prefix, slash, rest = given.rpartition("/") if "/" in given.partition(":")[0] else ("", "", given)
    label, _, key = rest.partition(":")
    app, _, name = label.partition(".")
    if not (app and name and key):
        raise ValueError(f"{given!r} is no object like app.Model:1")
    try:
        label = model_label(label)
    except ValueError:
        label = label.lower()
    return f"{prefix}{slash}{label}:{key}"
