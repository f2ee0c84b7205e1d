"""The serializer of the models that name none: all fields of the row, as the row has them."""

from typing import Any

from django.db import models
from rest_framework.fields import CharField, DecimalField, FileField, FilePathField, ImageField
from rest_framework.relations import MANY_RELATION_KWARGS, ManyRelatedField, PrimaryKeyRelatedField, SlugRelatedField
from rest_framework.serializers import ModelSerializer

__all__ = ["DefaultSerializer", "default_serializer"]


def default_serializer(model: type[models.Model]) -> type[ModelSerializer[Any]]:
    """A ModelSerializer with all fields of ``model``."""
    meta = type("Meta", (), {"model": model, "fields": "__all__"})
    return type(f"{model.__name__}Serializer", (DefaultSerializer,), {"Meta": meta})


class _FileName(FileField):
    """A URL would be another each time where it is signed, and let whoever reads the event have the file."""

    use_url = False


class _Key(SlugRelatedField[Any]):
    """The key by which a relation with a ``to_field`` is stored; DRF would read the related object for it."""

    def get_attribute(self, instance: models.Model) -> Any:
        return instance.serializable_value(str(self.source))

    def to_representation(self, obj: Any) -> Any:
        return obj


class _ManyKeys(ManyRelatedField):
    def get_attribute(self, instance: models.Model) -> Any:
        field: Any = instance._meta.get_field(str(self.source))
        own_key = field.remote_field.through._meta.get_field(field.m2m_field_name())
        if None in own_key.get_foreign_related_value(instance):  # a to_field that is NULL: nothing is related by it
            return []
        return super().get_attribute(instance)


class _PrimaryKey(PrimaryKeyRelatedField[Any]):
    @classmethod
    def many_init(cls, *args: Any, **kwargs: Any) -> _ManyKeys:
        of_many = {key: value for key, value in kwargs.items() if key in MANY_RELATION_KWARGS}
        return _ManyKeys(child_relation=cls(*args, **kwargs), **of_many)


class DefaultSerializer(ModelSerializer[Any]):
    """DRF's ModelSerializer, but for what it would read from elsewhere than the row."""

    serializer_related_field = _PrimaryKey
    serializer_related_to_field = _Key

    def get_default_field_names(self, declared_fields: Any, model_info: Any) -> list[str]:
        """As DRF's, without what has no column of its own: a relation by several columns, which are fields, too."""
        options = self.Meta.model._meta  # type: ignore[attr-defined]
        stored = {field.name for field in (*options.concrete_fields, *options.many_to_many)}
        return [name for name in super().get_default_field_names(declared_fields, model_info) if name in stored]

    def build_standard_field(self, field_name: str, model_field: Any) -> Any:
        """As DRF's, where a project has not put another class into its ``serializer_field_mapping``."""
        field_class, options = super().build_standard_field(field_name, model_field)
        if field_class in {FileField, ImageField}:
            return _FileName, options
        if field_class is DecimalField:  # of which Django 6.1 has some that set no bounds
            return field_class, {"max_digits": None, "decimal_places": None} | options
        if field_class is FilePathField:  # which reads its directory, that may be another machine's
            for option in ("path", "match", "recursive", "allow_files", "allow_folders"):
                options.pop(option, None)
            return CharField, options
        return field_class, options
