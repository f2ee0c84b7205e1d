"""The switches that keep tests from sending events."""

import asyncio
import re
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor
from urllib.request import urlopen

import pytest
from django.http import HttpResponse
from django.test import LiveServerTestCase, SimpleTestCase, TestCase, override_settings
from django.urls import path

from django_events_sourcing.capture import switches
from django_events_sourcing.testing import disable_dispatcher, disable_model_obj_dispatcher
from tests.project.models import ArchivedOrder, Order, Product


def silent(model=Product, instance=None):
    return switches.is_silenced(model, instance or model())


def run_tests(case):
    """Run the tests of a unittest class as unittest does."""
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    assert result.testsRun
    assert result.wasSuccessful(), [*result.errors, *result.failures]


def test_disable_dispatcher__around_saves__no_events(events):
    """Within it nothing is sent, after it all is as before."""
    with disable_dispatcher():
        product = Product.objects.create(name="pen", price=1)
        product.delete()
    assert events == []
    Product.objects.create(name="pen", price=1)
    assert len(events) == 1


def test_disable_dispatcher__models_list__those_only(events):
    """With a list, other models go on sending; an unregistered proxy counts as the model behind it."""
    with disable_dispatcher(models_list=["project.Order"]):
        order = Order.objects.create(number="A-1", customer="Ann", total=1)
        ArchivedOrder.objects.get(pk=order.pk).save()
        Product.objects.create(name="pen", price=1)
    assert [event.name for event in events] == ["product__created"]


def test_disable_dispatcher__nested__each_ends_its_own():
    """The inner one's end does not end the outer one."""
    with disable_dispatcher():
        with disable_dispatcher([Product]):
            assert silent()
        assert silent()
        assert silent(Order)
    assert not silent()


def test_disable_dispatcher__same_object_twice__ends_at_the_outer_end():
    """One object may be entered again while it is in force."""
    switch = disable_dispatcher()
    with switch:
        with switch:
            pass
        assert silent()
    assert not silent()


def test_disable_dispatcher__error__restored():
    """An error in the block or function ends the switch, and passes."""

    @disable_dispatcher()
    def fails():
        assert silent()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert not silent()


def test_disable_dispatcher__other_threads__not_touched():
    """What one test switches off another, running at the same time, still has on."""
    seen = []
    with disable_dispatcher():
        thread = threading.Thread(target=lambda: seen.append(silent()))
        thread.start()
        thread.join()
        assert silent()
    assert seen == [False]


def test_disable_dispatcher__with_in_a_coroutine__only_its_own_task():
    """Two tasks that run by turns don't share the switch."""

    async def quiet(turn):
        with disable_dispatcher():
            before = silent()
            turn.set()
            await asyncio.sleep(0)
            return before and silent()

    async def loud(turn):
        await turn.wait()
        return silent()

    async def run():
        turn = asyncio.Event()
        return await asyncio.gather(quiet(turn), loud(turn))

    assert asyncio.run(run()) == [True, False]


def in_a_thread(function):
    """What ``function`` returns in a thread of a pool, as code under test may use one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def test_disable_dispatcher__as_a_decorator__for_the_process():
    """Threads that a test starts are silent, too, of functions, coroutines and fixtures; afterwards they are not."""

    @disable_dispatcher([Product])
    def function():
        return in_a_thread(silent), in_a_thread(lambda: silent(Order))

    @disable_dispatcher([Product])
    async def coroutine():
        return await asyncio.to_thread(silent), in_a_thread(silent)

    @disable_dispatcher([Product])
    def fixture():
        yield in_a_thread(silent)

    assert function() == (True, False)
    assert asyncio.run(coroutine()) == (True, True)
    assert list(fixture()) == [True]
    assert not in_a_thread(silent)


def test_disable_dispatcher__live_server__its_threads_too(transactional_db):
    """A decorated LiveServerTestCase whose server's thread saves."""

    @disable_dispatcher()
    class WithServer(LiveServerTestCase):
        def test_it(self):
            with urlopen(f"{self.live_server_url}/silent") as response:
                assert response.read() == b"True"

    with override_settings(ROOT_URLCONF=__name__, STATIC_URL="/static/"):
        run_tests(WithServer)


def answer_whether_silent(request):
    return HttpResponse(str(silent()))


urlpatterns = [path("silent", answer_whether_silent)]


def test_disable_model_obj_dispatcher__as_a_decorator__own_thread_only():
    """It is for running code, too, in which another thread goes on."""
    product = Product(pk=1)

    @disable_model_obj_dispatcher(product)
    def function():
        return silent(instance=product), in_a_thread(lambda: silent(instance=product))

    assert function() == (True, False)


def test_disable_dispatcher__generator__while_it_is_open():
    """A fixture that yields is silent until its end."""

    @disable_dispatcher()
    def fixture():
        yield silent()

    generator = fixture()
    assert next(generator)
    assert list(generator) == []
    assert not silent()


def test_disable_dispatcher__pytest_class__each_test():
    """A class that only pytest knows, with its set-up methods; the name and docstring of a test stay."""

    @disable_dispatcher()
    class TestSomething:
        at_set_up = False

        @classmethod
        def setup_class(cls):
            cls.at_set_up = silent()

        def test_it(self):
            """It."""
            return silent()

        async def test_async(self):
            return silent()

        def helper(self):
            return silent()

    TestSomething.setup_class()
    assert TestSomething.at_set_up
    assert TestSomething().test_it()
    assert asyncio.run(TestSomething().test_async())
    assert not TestSomething().helper()
    assert TestSomething.test_it.__doc__ == "It."


def test_disable_dispatcher__unittest_class__set_up_and_subclasses(db):
    """A TestCase is silent from setUpClass on, and so are the tests that a subclass adds."""

    @disable_dispatcher()
    class Base(TestCase):
        @classmethod
        def setUpTestData(cls):
            assert silent()

        def setUp(self):
            assert silent()

        def test_inherited(self):
            assert silent()

    class Derived(Base):
        def test_added(self):
            assert silent()

        async def test_async(self):
            assert silent()

    run_tests(Derived)
    assert not silent()


def test_disable_dispatcher__isolated_asyncio_class__each_test():
    """Its tests run in a context of their own."""

    @disable_dispatcher()
    class Isolated(unittest.IsolatedAsyncioTestCase):
        async def asyncSetUp(self):
            assert silent()

        async def test_it(self):
            assert silent()

    run_tests(Isolated)


def test_disable_dispatcher__set_up_class_fails__restored():
    """A class that can't be set up leaves nothing switched off."""

    @disable_dispatcher()
    class Broken(SimpleTestCase):
        @classmethod
        def setUpClass(cls):
            raise ZeroDivisionError

        def test_it(self):
            raise AssertionError("not reached")

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Broken).run(result)
    assert len(result.errors) == 1
    assert not silent()


def test_disable_dispatcher__on_class_and_method__method_only_adds():
    """A method's own list adds to its class's."""

    @disable_dispatcher(models_list=["project.Product"])
    class Something(SimpleTestCase):
        def test_class(self):
            assert silent()
            assert not silent(Order)

        @disable_dispatcher(models_list=["project.Order"])
        def test_method(self):
            assert silent()
            assert silent(Order)

    run_tests(Something)


@pytest.mark.parametrize("wrong", ["project.Product", lambda: None, 3])
def test_disable_dispatcher__no_list__error_says_how(wrong):
    """A name alone, or the parentheses forgotten."""
    with pytest.raises(TypeError, match=r"@disable_dispatcher\(\)"):
        disable_dispatcher(wrong)


def test_disable_dispatcher__unknown_model__error():
    """A mistyped model must not pass as switched off; the error says what was meant, without a chain of others."""
    for name, mend in {
        "project.Prodct": "Did you mean 'project.Product'?",
        "x.Y": "Write 'app_label.ModelName'.",
        "Product": "Did you mean 'project.Product'?",
    }.items():
        with pytest.raises(LookupError, match=re.escape(f"[{name!r}]")) as caught, disable_dispatcher([name]):
            pass
        assert str(caught.value).endswith(mend)
        assert caught.value.__context__ is None


def test_disable_model_obj_dispatcher__one_instance(events):
    """Saves of this instance send nothing, of others they do; other objects for the same row are the same instance."""
    quiet = Product(name="pen", price=1)
    with disable_model_obj_dispatcher(quiet):
        quiet.save()
        Product.objects.get(pk=quiet.pk).save()
        Product.objects.create(name="ink", price=1)
    quiet.save()
    assert [(event.name, event.data["name"]) for event in events] == [
        ("product__created", "ink"),
        ("product__updated", "pen"),
    ]
