"""What the code around a change puts into the headers of its events."""

import asyncio
import threading
import timeit
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from asgiref.sync import iscoroutinefunction, sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError
from django.http import HttpResponse
from django.test import AsyncRequestFactory, RequestFactory
from rest_framework.request import Request

from django_events_sourcing import Event, emit, event_context
from django_events_sourcing.conf import get_settings
from django_events_sourcing.context import context_headers
from django_events_sourcing.exceptions import InvalidEvent
from django_events_sourcing.middleware import EventContextMiddleware
from django_events_sourcing.tasks.messages import Messages
from tests.project.models import Product


def headers_of(event):
    """As nameko has them in a worker context."""
    arguments = Messages(get_settings()).arguments(event)
    return {key.removeprefix("nameko."): value for key, value in arguments["headers"].items()}


def test_changes_and_events__within_a_context__carry_it(events):
    """Each that of its moment."""
    with event_context(user_id=7, correlation_id=UUID(int=1)):
        product = Product.objects.create(name="a", price=1)
        emit("product__praised", {}, instance=product, headers={"user_id": 8, "why": "x"})
    product.save()
    with event_context(user_id=9):
        product.delete()
    assert [event.headers for event in events] == [
        {"user_id": 7, "correlation_id": str(UUID(int=1))},
        {"user_id": 8, "correlation_id": str(UUID(int=1)), "why": "x"},
        {},
        {"user_id": 9},
    ]


def test_contexts__within_each_other__add_up_and_the_inner_one_wins():
    """None takes a value away; after an error all is as before."""
    with event_context(a=1, b=1) as outer:
        with pytest.raises(ZeroDivisionError), event_context(b=2, a=None, c=[3]):
            assert context_headers() == {"b": 2, "c": [3]}
            with outer:
                assert context_headers() == {"a": 1, "b": 1, "c": [3]}
            raise ZeroDivisionError
        assert context_headers() == {"a": 1, "b": 1}
    assert context_headers() == {}


def test_thread__of_its_own__has_none_of_it():
    """What it does is nobody's."""
    with event_context(a=1), ThreadPoolExecutor(1) as executor:
        assert executor.submit(context_headers).result() == {}


def test_threads__at_the_same_time__have_their_own():
    """With one context of both, too."""
    both, barrier, found = event_context(a=1), threading.Barrier(2), {}

    def run(number):
        with both, event_context(b=number):
            barrier.wait(10)
            found[number] = context_headers()
            barrier.wait(10)

    threads = [threading.Thread(target=run, args=[number]) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {0: {"a": 1, "b": 0}, 1: {"a": 1, "b": 1}}


def test_async_tasks__at_the_same_time__have_their_own():
    """In what they await, in tasks that they start, and in Django's threads."""

    async def inner():
        await asyncio.sleep(0)
        return await sync_to_async(context_headers)()

    async def outer(number):
        with event_context(a=number):
            started = asyncio.create_task(inner())
            await asyncio.sleep(0)
            return [context_headers(), await inner(), await started]

    async def both():
        return await asyncio.gather(outer(1), outer(2))

    assert asyncio.run(both()) == [[{"a": 1}] * 3, [{"a": 2}] * 3]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"a": object()}, "event_context: the header 'a' is no JSON that AMQP has a type for. Object of type object"),
        ({"event_id": 1}, "event_context: the header 'event_id' is written by the library itself"),
        ({"tracestate": "x"}, "event_context: the header 'tracestate' is written by the library itself"),
        ({"a\n": 1}, r"event_context: 'a\n' is no name of a header"),
        ({"call_id_stack": "a"}, "event_context: 'call_id_stack' is 'a', no list of texts"),
        ({"call_id_stack": [1]}, "event_context: 'call_id_stack' is [1], no list of texts"),
    ],
)
def test_value__that_no_header_has__is_refused_at_once(values, message):
    """Not when something is saved."""
    with pytest.raises(InvalidEvent) as caught:
        event_context(**values)
    assert str(caught.value).startswith(message)


def test_values__that_are_too_many_for_a_header__are_refused():
    """Together with those around them."""
    with event_context(a="x" * 20_000):
        with (
            pytest.raises(InvalidEvent, match="the headers have 40,018 bytes, of at most 32,768"),
            event_context(b="x" * 20_000),
        ):
            pass
        with pytest.raises(InvalidEvent, match=r"emit\('b__c'\): the headers have"):
            emit("b__c", {}, key="b:1", headers={"b": "x" * 20_000})
        assert context_headers() == {"a": "x" * 20_000}


def test_function__as_a_value__is_called_for_each_event(events):
    """And not without one."""
    calls = iter(range(7, 100))
    with event_context(user_id=lambda: next(calls)):
        product = Product.objects.create(name="a", price=1)
        product.save()
    assert [event.headers for event in events] == [{"user_id": 7}, {"user_id": 8}]
    assert next(calls) == 9


def test_function__that_fails__costs_its_value_only(events, caplog):
    """What it is about is said once."""
    with event_context(user_id={}.popitem, a=1, b=object, c=lambda: None):
        Product.objects.create(name="a", price=1).save()
    assert [event.headers for event in events] == [{"a": 1}, {"a": 1}]
    first, second = caplog.messages
    assert first.startswith("Events lack the header 'user_id': its function in event_context() failed. KeyError")
    assert second.startswith("Events lack the header 'b': its function in event_context() failed. InvalidEvent")


def test_function__whose_query_fails__fails_the_save(events):
    """As the transaction may be broken by then: a deadlock must be seen by who tries again."""

    def fail():
        raise DatabaseError("deadlock detected")

    with event_context(user_id=fail), pytest.raises(DatabaseError, match="deadlock"):
        Product.objects.create(name="a", price=1)
    assert not events


def test_function__that_saves_by_itself__is_not_asked_in_turn(events):
    """A user's last visit, say."""

    def user_id():
        Product.objects.create(name="visit", price=1)
        return 7

    with event_context(user_id=user_id):
        Product.objects.create(name="a", price=1)
    assert [(event.data["name"], event.headers) for event in events] == [("visit", {}), ("a", {"user_id": 7})]


def test_call_id_stack__of_a_context__goes_on(events):
    """As nameko's own dispatcher would go on with it; an event without one begins its own."""
    with event_context(call_id_stack=["shop.pay.1", "money.take.2"]):
        Product.objects.create(name="a", price=1)
    Product.objects.create(name="b", price=1)
    first, second = events
    own = f"shop.product__created.{first.id}"
    assert headers_of(first)["call_id_stack"] == ["shop.pay.1", "money.take.2", own]
    assert headers_of(second)["call_id_stack"] == [f"shop.product__created.{second.id}"]


def test_context__that_there_is_none__costs_next_to_nothing():
    """Less than the event itself, as plain types."""
    event = Event(name="order__created", service="shop", object="shop.order:1", body="{}")
    cost = min(timeit.repeat(context_headers, number=10_000, repeat=5))
    assert cost < min(timeit.repeat(event.to_message, number=10_000, repeat=5)) / 2


# The middleware


def save(_request):
    Product.objects.create(name="a", price=1)
    return HttpResponse()


SANE = "01a2-b3.c4:d5_E@f/=+"


@pytest.mark.parametrize("request_id", [SANE, "x" * 128])
def test_request__with_an_id__gives_it_to_its_events(events, request_id):
    """And to nothing that comes after it."""
    EventContextMiddleware(save)(RequestFactory().get("/", headers={"X-Request-ID": request_id}))
    Product.objects.create(name="b", price=1)
    assert [event.headers for event in events] == [{"correlation_id": request_id}, {}]


@pytest.mark.parametrize("request_id", [None, "", "x" * 129, "a b", "a\nb", "<script>", "ä", "a;b", "\u202e", "a,a"])
def test_request__without_a_sane_id__gets_one(events, request_id):
    """A new one for each."""
    headers = {} if request_id is None else {"X-Request-ID": request_id}
    for _ in range(2):
        EventContextMiddleware(save)(RequestFactory().get("/", headers=headers))
    first, second = (UUID(event.headers["correlation_id"]) for event in events)
    assert first != second


class User:
    def __init__(self, pk):
        self.pk = pk


@pytest.mark.parametrize(
    ("user", "user_id"),
    [
        (User(7), 7),
        (User(UUID(int=7)), str(UUID(int=7))),
        (User("eva@example.com"), "eva@example.com"),
        (User("eva\r\n"), None),
        (User("e" * 129), None),
        (AnonymousUser(), None),
        (None, None),
    ],
)
def test_user__of_the_request__is_told_by_his_key(events, user, user_id):
    """Unless there is none, or the key is one that somebody had fun with."""
    request = RequestFactory().get("/")
    if user is not None:
        request.user = user
    EventContextMiddleware(save)(request)
    assert events[0].headers.get("user_id") == user_id


def test_user__who_logs_in_during_the_request__is_told(events):
    """By a view, or by REST framework's authentication: it is who the user is when something is saved."""

    def view(request):
        Request(request).user = get_user_model()(pk=7)
        return save(request)

    EventContextMiddleware(view)(RequestFactory().get("/"))
    assert events[0].headers["user_id"] == 7


def test_request__without_events__asks_for_no_user(db):
    """A session would have to be read for that."""

    class LazyRequest(type(RequestFactory().get("/"))):  # type: ignore[misc]
        @property
        def user(self):
            raise AssertionError

    request = RequestFactory().get("/")
    request.__class__ = LazyRequest
    assert EventContextMiddleware(lambda _request: HttpResponse("fine"))(request).content == b"fine"  # type: ignore[union-attr]


@pytest.mark.django_db(transaction=True)
def test_middleware__in_async_django__carries_the_same(handed_over):
    """It is an async one there, in front of an async view."""

    async def view(_request):
        await Product.objects.acreate(name="a", price=1)
        return HttpResponse()

    middleware = EventContextMiddleware(view)
    assert iscoroutinefunction(middleware)
    request = AsyncRequestFactory().get("/", headers={"X-Request-ID": SANE})
    request.user = User(7)  # type: ignore[assignment]

    async def respond():
        return await middleware(request)

    assert asyncio.run(respond()).status_code == 200
    assert handed_over[0].headers == {"correlation_id": SANE, "user_id": 7}


@pytest.mark.django_db(transaction=True)
def test_middleware__in_a_project__runs_with_both_kinds_of_views(client, async_client, handed_over, settings):
    """As Django adapts it."""
    settings.MIDDLEWARE = ["django_events_sourcing.middleware.EventContextMiddleware"]
    assert client.get("/save/a", headers={"X-Request-ID": "r-1"}).status_code == 200

    async def respond():
        return await async_client.get("/asave/b", headers={"X-Request-ID": "r-2"})

    assert asyncio.run(respond()).status_code == 200
    assert [event.headers for event in handed_over] == [{"correlation_id": "r-1"}, {"correlation_id": "r-2"}]
