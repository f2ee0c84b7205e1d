"""One save or delete is one event: of the nearest registered class, and of the most derived one that goes."""

import pytest
from django.db.models.signals import post_delete, post_save, pre_delete
from rest_framework import serializers

from django_events_sourcing.testing import disable_model_obj_dispatcher
from tests.project.models import ArchivedOrder, Business, Hotel, Order, Pizzeria, Place, Restaurant


class PlaceSerializer(serializers.ModelSerializer):
    """Has what it was given."""

    kind = serializers.SerializerMethodField()

    class Meta:
        model = Place
        fields = ["id", "name", "kind"]

    def get_kind(self, place):
        return f"{type(place).__name__} {place.pk} in {place._state.db}"


def taken(events):
    """The names of the events since it was last asked."""
    names = [event.name for event in events]
    events.clear()
    return names


# Which of Place > Restaurant > Pizzeria are registered, and what a change of a pizzeria is recorded as.
NEAREST = {
    "parent": ([Place], "place"),
    "child": ([Restaurant], "restaurant"),
    "parent and child": ([Place, Restaurant], "restaurant"),
    "parent and grandchild": ([Place, Pizzeria], "pizzeria"),
    "all": ([Pizzeria, Place, Restaurant], "pizzeria"),
}

DELETES = {
    "itself": lambda pizzeria: pizzeria.delete(),
    "its parent": lambda pizzeria: pizzeria.restaurant_ptr.delete(),
    "its grandparent": lambda pizzeria: Place.objects.get().delete(),
    "queryset": lambda pizzeria: Pizzeria.objects.all().delete(),
    "queryset of parents": lambda pizzeria: Restaurant.objects.all().delete(),
    "queryset of grandparents": lambda pizzeria: Place.objects.all().delete(),
    "deferred": lambda pizzeria: Pizzeria.objects.only("ovens").get().delete(),
}


@pytest.mark.parametrize("registered", NEAREST)
@pytest.mark.parametrize("delete", DELETES)
def test_grandchild__saved_and_deleted__nearest_registered_class(register, events, registered, delete):
    """However it is deleted, it is one event, with the same object and name as its saves."""
    models, name = NEAREST[registered]
    register(*models)  # type: ignore[misc]
    pizzeria = Pizzeria.objects.create(name="Roma", seats=12)
    pizzeria.seats = 13
    pizzeria.save()
    DELETES[delete](pizzeria)
    assert not Place.objects.exists()
    assert len({event.object for event in events}) == 1
    assert [event.data["name"] for event in events] == ["Roma"] * 3
    assert taken(events) == [f"{name}__created", f"{name}__updated", f"{name}__deleted"]


def test_unregistered_child__recorded_as_a_parent__body_is_the_parents(register, events):
    """The serializer gets an instance of the class it is for, as when the parent is saved itself."""
    register(Place, serializer=PlaceSerializer)
    restaurant = Restaurant.objects.create(name="Roma", seats=12)
    Place.objects.get().save()
    Restaurant.objects.only("seats").get().save()
    restaurant.delete()
    pk = events[0].data["id"]
    assert [event.data for event in events] == [{"id": pk, "name": "Roma", "kind": f"Place {pk} in default"}] * 4


def test_unregistered_proxy__recorded_as_the_model_behind_it__body_is_its(register, events):
    """What a proxy makes of the row is not in the body."""

    class OrderSerializer(serializers.BaseSerializer):
        def to_representation(self, instance):
            return type(instance).__name__

    register(Order, serializer=OrderSerializer)
    order = ArchivedOrder.objects.create(number="A-1", customer="Ann", total=1)
    order.delete()
    assert [event.data for event in events] == ["Order", "Order"]


def test_unregistered_child__deleted_without_its_parent__nothing(register, events):
    """The parent's row stays as it was; its own delete is recorded later."""
    register(Place)
    restaurant = Restaurant.objects.create(name="Roma", seats=12)
    place = Place.objects.get()
    restaurant.delete(keep_parents=True)
    assert taken(events) == ["place__created"]
    place.delete()
    assert taken(events) == ["place__deleted"]


def test_registered_child__deleted_without_its_parent__each_has_its_delete(register, events):
    """The child's delete is recorded, and the parent's when it comes, by whatever instance."""
    register(Place, Restaurant)
    for delete in (lambda place: place.delete(), lambda place: Place.objects.all().delete()):
        restaurant = Restaurant.objects.create(name="Roma", seats=12)
        place = restaurant.place_ptr  # type: ignore[attr-defined]
        restaurant.delete(keep_parents=True)
        delete(place)
        assert taken(events) == ["restaurant__created", "restaurant__deleted", "place__deleted"]


def test_queryset__deletes_again__records_again(register, events):
    """One queryset object may be used twice: what it deleted before counts for nothing now."""
    register(Place, Restaurant)
    everything = Place.objects.all()
    Restaurant.objects.create(pk=1, name="Roma", seats=12)
    everything.delete()
    Place.objects.create(pk=1, name="Park")
    everything.delete()
    assert taken(events) == ["restaurant__created", "restaurant__deleted", "place__created", "place__deleted"]


def test_child_of_two_parents__each_registered_parent_is_recorded(register, events):
    """A row of each has changed; if the child is registered itself, it speaks for both."""
    register(Place, Business)
    hotel = Hotel.objects.create(name="Ritz", tax_number="7")
    hotel.delete()
    assert sorted(taken(events)) == ["business__created", "business__deleted", "place__created", "place__deleted"]
    register(Place, Business, Hotel)
    hotel = Hotel.objects.create(name="Ritz", tax_number="7")
    Business.objects.get().delete()
    assert taken(events) == ["hotel__created", "hotel__deleted"]


def test_child__not_registered__no_receivers_for_its_deletes(register):
    """Nothing is connected that would say nothing."""
    register(Place)
    assert post_save.has_listeners(Restaurant)
    assert not pre_delete.has_listeners(Restaurant)
    assert not post_delete.has_listeners(Restaurant)


def test_disable_model_obj_dispatcher__parent_or_child__the_same_row(register, events):
    """One instance that is switched off is so through every class that stands for its row."""
    register(Place)
    restaurant = Restaurant.objects.create(name="Roma", seats=12)
    events.clear()
    with disable_model_obj_dispatcher(restaurant):
        Place.objects.get().save()
    with disable_model_obj_dispatcher(Place.objects.get()):
        restaurant.save()
        restaurant.delete()
    assert events == []
