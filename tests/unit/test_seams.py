"""What the library leans on that other libraries don't promise: docs/explanation/seams.md.

Each of these fails when such a name goes, or comes to mean something else. Where there is a way without, it is taken.
"""

import functools
import inspect
import logging
import re
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from amqp import serialization, spec
from amqp.channel import Channel
from amqp.connection import Connection as AMQPConnection
from amqp.transport import TCPTransport
from celery import _state, bootsteps
from celery.app.task import Task
from celery.concurrency import prefork
from django.core.management.base import BaseCommand
from django.db import connection, connections, transaction
from django.db.models import Model, QuerySet
from django.db.models.deletion import Collector
from django.db.models.signals import post_save
from django.db.models.sql.subqueries import UpdateQuery
from django.db.utils import ConnectionHandler
from kombu.transport.redis import QoS
from kombu.utils import functional
from rest_framework import serializers
from rest_framework.fields import Field
from rest_framework.utils.serializer_helpers import BindingDict

from django_events_sourcing.capture import kept_serializers, receivers, saves
from django_events_sourcing.delivery import on_commit, transactions
from django_events_sourcing.tasks import blocking
from tests.project.models import Article, Product

SEAMS = (Path(__file__).parent.parent.parent / "docs/explanation/seams.md").read_text()


def test_page__names_the_test_of_each():
    """And each test is one of these."""
    named = set(re.findall(r"`(test_\w+)`", SEAMS))
    assert named == {name for name in globals() if name.startswith("test_")} - {"test_page__names_the_test_of_each"}


def test_save_table__is_as_known():
    """Its parameters, and that it returns whether the row was there before."""
    assert saves.is_known()
    assert "return updated" in inspect.getsource(Model._save_table)  # type: ignore[attr-defined]


def test_save_table__of_an_unknown_kind__saves_are_recorded_at_post_save(settings, events, monkeypatch, caplog):
    """And it is said what that means."""
    original = Model._save_table  # type: ignore[attr-defined]

    def save_table(self, *args, new=None, **kwargs):
        return original(self, *args, **kwargs)

    settings.MODELS_CRUD_EVENT = []
    with monkeypatch.context() as patch:
        patch.setattr(Model, "_save_table", save_table)
        settings.MODELS_CRUD_EVENT = [{"model": Product}]
        assert "recorded at post_save" in caplog.text
        product = Product.objects.create(name="pen", price=1)
        product.save()
        settings.MODELS_CRUD_EVENT = []
    assert [event.name for event in events] == ["product__created", "product__updated"]


def test_write__of_a_row__names_its_table(db):
    """As the backend quotes it; neither does a SELECT begin otherwise."""
    seen = []

    def note(run, sql, *more):
        seen.append(sql)
        return run(sql, *more)

    with connection.execute_wrapper(note):
        product = Product.objects.create(name="pen", price=1)
        product.save()
        Product.objects.get()
    written = [sql.partition(connection.ops.quote_name("project_product"))[0] for sql in seen]
    assert written[0] == "INSERT INTO "
    assert "UPDATE " in written
    assert seen[-1].startswith("SELECT")


@pytest.mark.django_db(transaction=True)
def test_write__that_names_no_table__is_recorded_all_the_same(events, monkeypatch, caplog):
    """After it, and it is said what that means."""
    unknown = functools.partial(transactions.transaction_from_write, table="elsewhere", runs_own_code=False)
    monkeypatch.setattr(saves, "transaction_from_write", lambda using, table, **_: unknown(using))
    Product.objects.create(name="pen", price=1)
    assert [event.name for event in events] == ["product__created"]
    assert "without its event if the process dies in between" in caplog.text
    assert not connection.in_atomic_block


def test_in_transaction__is_what_drivers_say():
    session = sqlite3.connect(":memory:", isolation_level=None)
    assert session.in_transaction is False
    session.execute("BEGIN")
    assert session.in_transaction is True
    session.close()
    assert hasattr(psycopg.Connection, "info")
    assert psycopg.pq.TransactionStatus.IDLE == 0


def test_prefetched_objects_cache__is_asked_first(db, django_assert_num_queries):
    article = Article.objects.create(title="x")
    vars(article)["_prefetched_objects_cache"] = {"products": Product.objects.none()}
    with django_assert_num_queries(0):
        assert list(article.products.all()) == []


def test_db_converters__of_sqlite__know_decimals(db):
    column = Product._meta.get_field("price").get_col("project_product")
    (convert,) = connection.ops.get_db_converters(column)
    assert convert(0.125, column, connection) == Decimal("0.12")


def test_signal_receivers__are_a_list_with_a_lock_and_a_cache(monkeypatch):
    """In which ours are moved to the front."""
    assert isinstance(post_save.receivers, list)
    with post_save.lock:
        assert hasattr(post_save.sender_receivers_cache, "clear")
    receivers._move_to_front(object(), 1)  # type: ignore[arg-type]  # without them they stay where they are


def test_run_on_commit__holds_what_was_registered(transactional_db, monkeypatch):
    """As tuples, whose second is what is called."""

    def hook():
        """Nothing."""

    with transaction.atomic():
        transaction.on_commit(hook)
        assert connection.run_on_commit[-1][1] is hook
    woken: list[str] = []
    monkeypatch.setattr(on_commit, "wake", lambda using, _partitions: woken.append(using))
    monkeypatch.setattr(on_commit, "_CALLBACKS", "gone")
    with transaction.atomic():
        for partition in range(3):
            on_commit.wake_on_commit(connection, {partition})
    assert woken == ["default"]


@pytest.mark.django_db(transaction=True)
def test_run_on_commit__is_another_list_after_each_end():
    """Of a transaction, or of a part that is rolled back; the end of another part leaves it."""
    with transaction.atomic():
        first = connection.run_on_commit
        with transaction.atomic():
            pass
        assert connection.run_on_commit is first
        with transaction.atomic():
            transaction.set_rollback(True)
        second = connection.run_on_commit
    third = connection.run_on_commit
    with transaction.atomic():
        transaction.set_rollback(True)
    lists = [first, second, third, connection.run_on_commit]
    assert len({id(each) for each in lists}) == 4


def test_query__says_what_it_asks_for():
    everything = Product.objects.all()
    plain = everything.query
    assert (plain.is_sliced, plain.combinator, plain.distinct_fields, plain.select_for_update) == (
        False,
        None,
        (),
        False,
    )
    assert everything[:1].query.is_sliced
    assert everything.union(everything).query.combinator
    assert everything.distinct("name").query.distinct_fields == ("name",)
    assert everything.select_for_update().query.select_for_update


def test_result_cache__is_what_an_update_forgets(db):
    products = Product.objects.all()
    assert list(products) == products._result_cache == []
    products.update(name="a")
    assert products._result_cache is None


def test_many_to_many_parts__are_where_they_were(db):
    relation: Any = Article._meta.get_field("products")
    for descriptor in (Article.products, Product.article_set):
        assert {"add", "clear", "remove", "set"} <= vars(descriptor.related_manager_cls).keys()
    article = Article.objects.create(title="a")
    manager: Any = article.products
    assert (manager.through, manager.instance) == (relation.remote_field.through, article)
    assert type(manager) is Article.products.related_manager_cls
    assert (relation.m2m_field_name(), relation.m2m_reverse_field_name()) == ("article", "product")


def test_update_batch__is_what_a_delete_sets_values_by():
    parameters = list(inspect.signature(UpdateQuery.update_batch).parameters)
    assert parameters == ["self", "pk_list", "values", "using"]
    assert "query.update_batch(" in inspect.getsource(Collector.delete)


def test_execute_wrappers__see_each_statement(db):
    seen = []

    def see(execute, sql, params, many, context):
        seen.append((sql, context["connection"]))
        return execute(sql, params, many, context)

    connection.execute_wrappers.append(see)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.execute_wrappers.remove(see)
    assert seen == [("SELECT 1", connections["default"])]


def test_commit_on_exit__says_how_a_block_began(transactional_db):
    """In autocommit mode, or not."""
    with transaction.atomic():
        assert connection.commit_on_exit is True
    transaction.set_autocommit(False)
    with transaction.atomic():
        assert connection.commit_on_exit is False
    transaction.rollback()
    transaction.set_autocommit(True)


def test_atomic_blocks__ends_with_the_innermost(transactional_db, events, monkeypatch):
    """Of a delete, that is the block which Django opened for it. Without them, deletes are recorded one by one."""
    with transaction.atomic(), transaction.atomic() as _:
        assert len(connection.atomic_blocks) == 2
        assert vars(connection.atomic_blocks[-1]) is not vars(connection.atomic_blocks[0])
    assert connection.atomic_blocks == []
    Product.objects.create(name="pen", price=1)
    Product.objects.create(name="ink", price=1)
    monkeypatch.setattr("django_events_sourcing.capture.deletions._BLOCKS", "gone")
    Product.objects.all().delete()
    assert [event.name for event in events][2:] == ["product__deleted"] * 2


def test_raw_delete__is_one_statement(db, django_assert_num_queries):
    """Without signals."""
    with django_assert_num_queries(1):
        QuerySet(Product)._raw_delete("default")


def test_create_connection__makes_another_of_the_same_settings():
    """Which a thread may use in place of its own."""
    made = ConnectionHandler.create_connection(connections, "default")
    ours = connections["default"]
    assert type(made) is type(ours)
    assert made is not ours
    assert made.settings_dict["NAME"] == ours.settings_dict["NAME"]


def test_called_from_command_line__recognizes_a_command():
    """How to end over an error of its arguments."""
    assert "_called_from_command_line" in inspect.getsource(BaseCommand)


def test_celery_state__knows_the_app_of_a_thread():
    """Without making one."""
    assert hasattr(_state._tls, "current_app")
    assert hasattr(_state, "default_app")


def test_celery_router__knows_the_queue_of_a_task(make_celery_app):
    """By name, by the project's routes, or the default one."""
    app = make_celery_app(broker="memory://", task_routes={"shop.*": {"queue": "routed"}})
    routes = [({"queue": "named"}, "shop.pay"), ({"queue": None}, "shop.pay"), ({"queue": None}, "other")]
    found = [app.amqp.router.route(options, name)["queue"].name for options, name in routes]
    assert found == ["named", "routed", "celery"]


def test_celery_parts__are_where_they_were():
    """A task's annotations, a worker's steps, and the pool that forks."""
    assert inspect.ismethod(Task.annotate)
    assert issubclass(prefork.TaskPool, object)
    assert {"start", "stop", "terminate"} <= set(dir(bootsteps.StartStopStep))


def test_kombu_parts__are_where_they_were():
    """What is mended of it in a worker: what restores messages, and what waits before it tries again."""
    assert list(inspect.signature(inspect.unwrap(QoS.restore_unacked)).parameters) == ["self", "client"]
    assert callable(functional.sleep)  # type: ignore[attr-defined]
    assert "sleep(" in inspect.getsource(functional.retry_over_time)


def test_amqp_parts__are_where_they_were():
    """By which many messages are written at once; test_frames.py compares the bytes."""
    assert list(inspect.signature(serialization.dumps).parameters) == ["format", "values"]
    assert callable(TCPTransport.write)
    assert {"frame_max", "channel_id"} <= _words(Channel) | _words(AMQPConnection)
    assert "self.events" in inspect.getsource(Channel)


def test_amqp_parts__tell_why_a_connection_is_blocked():
    """And without them that it is; test_errors.py has RabbitMQ say it."""
    blocked, reason = spec.Connection.Blocked, b"\0\x0a\0\x3c\x0dlow on memory"
    connection: Any = AMQPConnection()
    blocking.listen_for_blocking(connection)
    connection.dispatch_method(blocked, reason, None)
    assert blocking.why_blocked(connection) == "low on memory"
    connection.dispatch_method(spec.Connection.Unblocked, b"\0\x0a\0\x3d", None)
    assert blocking.why_blocked(connection) == ""

    connection = AMQPConnection()
    del connection._callbacks
    blocking.listen_for_blocking(connection)
    connection._on_blocked()
    assert "blocked" in blocking.why_blocked(connection)


def _words(cls: type) -> set[str]:
    return set(re.findall(r"\w+", "".join(inspect.getsource(each) for each in cls.__mro__ if each is not object)))


def test_drf_parts__are_where_they_were():
    """What a serializer is made of: the names by which a project may have a say in it, and those that are kept."""
    names = {name for name in kept_serializers._MAKING if not name.startswith("__")}
    assert names <= set(dir(serializers.ModelSerializer))
    field = serializers.CharField(max_length=3)
    assert {"_args", "_kwargs"} <= vars(field).keys()
    assert "fields" in vars(BindingDict(serializers.Serializer()))
    assert isinstance(field, Field)


def test_drf_parts__context__is_where_a_kept_serializer_gets_it():
    """Else it would have that of its first event for ever."""
    serializer: Any = serializers.Serializer(context={"a": 1})
    assert vars(serializer)["_context"] == {"a": 1}
    vars(serializer)["_context"] = {"a": 2}
    assert serializer.context == {"a": 2}


def test_drf_parts__readable_fields__name_the_culprit(caplog):
    """Of an error; without them it names the serializer alone."""
    caplog.set_level(logging.DEBUG)
    serializer: Any = serializers.Serializer()
    assert list(serializer._readable_fields) == []
