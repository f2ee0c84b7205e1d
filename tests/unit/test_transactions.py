"""A save and its signals in one transaction."""

import pytest
from django.db.models import Model

from django_events_sourcing.transactions import join, part
from tests.project.models import Place, Restaurant, Unregistered


@pytest.mark.parametrize("order", [[Place, Restaurant], [Restaurant, Place]])
def test_part__after_join__as_before(order, settings):
    """Whatever the order in which a parent and its child are joined and parted, nothing is left of it."""
    settings.MODELS_CRUD_EVENT = []
    assert Place.save_base is Restaurant.save_base is Model.save_base
    for model in order:
        join(model)
    for model in order:
        part(model)
    assert Place.save_base is Restaurant.save_base is Model.save_base


def test_part__of_a_model_with_its_own_save_base__restores_it(monkeypatch):
    """A model that overrides the method has its own again."""

    def own(self, **kwargs):
        return None

    monkeypatch.setattr(Unregistered, "save_base", own, raising=False)
    join(Unregistered)
    part(Unregistered)
    assert Unregistered.save_base is own


def test_save__within_a_transaction__no_savepoint(db, events, settings, django_assert_num_queries):
    """Within a transaction, being joined adds no statement to a save."""
    settings.MODELS_CRUD_EVENT = [{"model": "project.Unregistered"}]
    with django_assert_num_queries(1):
        Unregistered(name="y").save()
    assert [event.name for event in events] == ["unregistered__created"]
