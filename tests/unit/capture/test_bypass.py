"""Writes to a registered model's table that send no event: found, and where they are; and no other is."""

import re
import sys
import unittest
from typing import Any

import pytest
from django.core.checks import Error
from django.core.management import call_command
from django.db import connection, migrations, models, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import ModelState, ProjectState
from django.db.models.signals import post_save
from django.test import TestCase, TransactionTestCase

from django_events_sourcing import EventQuerySet, conf
from django_events_sourcing.capture import bypass
from django_events_sourcing.capture.bypass import Write, writes_in
from django_events_sourcing.checks.options import check_options
from django_events_sourcing.delivery.accounted import accounted, bare_name, is_accounted
from django_events_sourcing.exceptions import BypassError
from django_events_sourcing.testing import disable_dispatcher
from tests.project.models import (
    Anything,
    Article,
    Choice,
    Club,
    Comment,
    Order,
    Pizzeria,
    Place,
    Product,
    Restaurant,
    Seat,
    Shipment,
    Unregistered,
)

STATEMENTS = {
    "INSERT INTO shop_order (x) VALUES (%s), (%s)": ["created"],
    'insert into "shop_order" ("x") values (%(a)s) returning "id"': ["created"],
    "INSERT INTO public.shop_order SELECT * FROM shop_orderline": ["created"],
    "UPDATE shop_order SET x = 1 WHERE name LIKE '%%a'": ["updated"],
    "/* shop_orderline */ UPDATE ONLY shop_order AS o SET x = 1": ["updated"],
    "DELETE FROM shop_order USING shop_orderline l WHERE l.x = 1": ["deleted"],
    "TRUNCATE TABLE shop_orderline, shop_order RESTART IDENTITY CASCADE": ["deleted"],
    "WITH gone AS (DELETE FROM shop_order RETURNING *) SELECT * FROM gone": ["deleted"],
    "UPDATE shop_orderline SET x = 1; DELETE FROM shop_order": ["deleted"],
    "MERGE INTO shop_order o USING t ON o.id = t.id WHEN MATCHED THEN UPDATE SET x = 1": ["updated"],
    "INSERT INTO shop_order VALUES (1) ON CONFLICT (id) DO UPDATE SET x = 1": ["created"],
    "UPDATE SHOP_ORDER SET x = 1": ["updated"],
    "SELECT * FROM shop_order FOR UPDATE OF shop_order": [],
    "SELECT replace(name, 'delete', '') FROM shop_order": [],
    "SELECT 1 -- UPDATE shop_order SET x = 1": [],
    "SELECT 'DELETE FROM shop_order'": [],
    "UPDATE shop_orderline SET x = (SELECT max(x) FROM shop_order)": [],
    "INSERT INTO shop_orderline SELECT * FROM shop_order": [],
    'DELETE FROM "old_shop_order"': [],
    "CREATE TABLE copy AS SELECT * FROM shop_order": [],
    "ALTER TABLE shop_order ADD CONSTRAINT c FOREIGN KEY (x) REFERENCES t ON DELETE CASCADE": [],
}
OF_MYSQL = {
    "REPLACE INTO `shop_order` VALUES (1)": ["created"],
    "INSERT IGNORE INTO shop_order VALUES (1) ON DUPLICATE KEY UPDATE x = 1": ["created"],
    "UPDATE shop_order o JOIN shop_orderline l ON o.id = l.o SET o.x = 1": ["updated"],
    "UPDATE shop_orderline l JOIN shop_order o ON o.id = l.o SET l.x = 1": [],
    "DELETE l FROM shop_orderline l JOIN shop_order o ON o.id = l.o": [],
    "DELETE shop_order FROM shop_order JOIN shop_orderline l ON shop_order.id = l.o": ["deleted"],
}
OF_SQLITE = {
    "UPDATE OR IGNORE shop_order SET x = 1": ["updated"],
    "REPLACE INTO shop_order VALUES (1)": ["created"],
    'INSERT INTO "new__shop_order" SELECT * FROM "shop_order"': [],
}


@pytest.mark.parametrize(
    ("spoken", "statement", "actions"),
    [
        (spoken, statement, actions)
        for spoken, statements in {"postgresql": STATEMENTS, "mysql": OF_MYSQL, "sqlite": OF_SQLITE}.items()
        for statement, actions in statements.items()
    ],
)
def test_statement__is_read_by_a_parser(spoken, statement, actions):
    found = writes_in(statement, spoken, frozenset({"shop_order"}))
    assert [write.action for write in found] == actions
    assert {write.table for write in found} <= {"shop_order"}


def test_long_statement__is_read_at_its_beginning():
    """A hundred thousand rows are told from their first words, and in no time."""
    values = ", ".join(["(%s, %s)"] * 100_000)
    table = frozenset({"shop_order"})
    for beginning, action in (
        ("INSERT INTO shop_order (a, b) VALUES ", "created"),
        ("UPDATE shop_order SET a = CASE WHEN a IN (", "updated"),
        ("DELETE FROM shop_order WHERE (a, b) IN (", "deleted"),
    ):
        assert writes_in(beginning + values, "postgresql", table) == (Write(action, "shop_order"),)


@pytest.fixture
def looking(settings, register, db):
    """Have every bypass raise, of models that are registered."""

    def looking(*models, mode="raise", **options):
        settings.EVENTS_SOURCING = {"BYPASS": mode}
        register(*models, **options)

    return looking


def bypasses():
    """What bypasses the library, of the models that are registered for it: by the end of what is reported."""
    order = Order.objects.create(number="1", customer="Eva", total=1)
    table = Order._meta.db_table

    def execute(sql, params=None):
        with connection.cursor() as cursor:
            cursor.execute(sql, params)

    def execute_many():
        with connection.cursor() as cursor:
            cursor.executemany(f"UPDATE {table} SET number = %s WHERE id = %s", [("2", order.pk)])

    return {
        "updated": [
            lambda: Order.objects.update(total=2),
            lambda: Order.objects.filter(pk=order.pk).update(total=2),
            lambda: Order.objects.bulk_update([order], ["total"]),
            lambda: execute(f"UPDATE {table} SET total = 1"),
            lambda: execute(f'update "{table}" set total = %s', [1]),
            execute_many,
        ],
        "created": [
            lambda: Order.objects.bulk_create([Order(number="2", customer="Eva", total=1)]),
            lambda: execute(f"INSERT INTO {table} (number, customer, total) VALUES ('3', 'Eva', 1)"),
        ],
        "deleted": [
            lambda: Order.objects.all()._raw_delete("default"),
            lambda: execute(f"DELETE FROM {table}"),
        ],
    }


def test_bypass__raises_before_it_writes(looking):
    """Each of them, with what it would have done, the place, and what to do."""
    looking(Order)
    for action, ways in bypasses().items():
        for way in ways:
            with pytest.raises(BypassError) as error, transaction.atomic():
                way()
            assert f"project.Order is {action} by SQL" in str(error.value)
            assert f"{__file__}:{way.__code__.co_firstlineno}"[:-2] in str(error.value)
            assert "'bulk': True in MODELS_CRUD_EVENT[0]" in str(error.value)
    assert [(order.number, int(order.total)) for order in Order.objects.all()] == [("1", 1)]


def test_bypass__warned_of__is_done_and_logged_once_for_each_place(looking, caplog):
    looking(Order, mode="warn")
    for ways in bypasses().values():
        for way in ways:
            way()
            way()
    places = [re.findall(rf"{__file__}:\d+", record.getMessage()) for record in caplog.records]
    assert len(places) == len(set(map(tuple, places))) == 7  # of ten ways, four go by one line
    assert not Order.objects.exists()


def test_bypass__in_a_test_case_of_djangos__is_found(looking):
    """There ``raise`` is of most use."""

    class Inside(TestCase):
        def test_it(self):
            Order.objects.update(total=2)

    looking(Order)
    result = unittest.TestResult()
    Inside("test_it").run(result)
    ((_, error),) = result.errors
    assert "BypassError: project.Order is updated by SQL" in error
    assert f"{__file__}:" in error


def told_ways():
    """What sends events, or is not to."""
    order = Order(number="1", customer="Eva", total=1)
    order.save()
    order.save(update_fields=["total"])
    Order.objects.update_or_create(number="1", defaults={"total": 2})
    Order.objects.get_or_create(number="2", defaults={"customer": "Eva", "total": 1})
    Shipment.objects.create(order=order, status="started")
    Shipment.objects.all().delete()
    Order.objects.filter(number="2").delete()
    order.delete()
    pizzeria = Pizzeria.objects.create(name="a", seats=1)
    pizzeria.name = "b"
    pizzeria.save()
    pizzeria.delete()
    Pizzeria.objects.create(name="c", seats=1)
    Place.objects.all().delete()
    article = Article.objects.create(title="a")
    article.products.add(Product.objects.create(name="a", price=1))
    Comment.objects.create(article=article, text="a")
    article.delete()
    told: EventQuerySet[Seat] = EventQuerySet(Seat)
    told.all().delete()
    told.bulk_create([Seat(hall="A", number=1)])
    told.update(guest="Eva")
    told.bulk_update(told.all(), ["guest"])
    told.bulk_create(
        [Seat(hall="A", number=1)], update_conflicts=True, unique_fields=["hall", "number"], update_fields=["guest"]
    )
    list(Order.objects.filter(number="delete"))
    Unregistered.objects.create(name="a")
    Unregistered.objects.update(name="update project_order set")
    Unregistered.objects.all()._raw_delete("default")


def test_what_is_told__is_no_bypass(looking):
    """Nor what is about other tables."""
    looking(Order, Shipment, Place, Restaurant, Article, Comment, Product, Seat)
    told_ways()
    assert not Order.objects.filter(number="DELETE FROM project_order").exists()
    looking(Order, Shipment, Place, Restaurant, Article, Comment, Product, Seat, track_changes=True)
    told_ways()
    with transaction.atomic():
        told_ways()


def test_bulk_writes_of_an_entry__are_no_bypass(looking):
    looking(Order, Anything, bulk=True)
    order = Order.objects.bulk_create([Order(number="1", customer="Eva", total=1)])[0]
    Order.objects.update(total=2)
    Order.objects.bulk_update([order], ["total"])
    Anything.objects.create(order=order)
    order.delete()  # which sets a NULL
    with pytest.raises(BypassError), transaction.atomic():
        Order.objects.all()._raw_delete("default")


def test_relation_through_a_model_of_its_own__is_a_bypass_of_that(looking):
    looking(Choice)
    club, product = Club.objects.create(code="a"), Product.objects.create(name="a", price=1)
    with pytest.raises(BypassError, match=r"project\.Choice is created"), transaction.atomic():
        club.products.add(product)
    looking(Choice, bulk=True)
    club.products.add(product)
    club.products.clear()


def test_what_is_to_be_silent__is_no_bypass(looking):
    """By a switch, by the entry's actions, and with muted signals."""
    looking(Order)
    with disable_dispatcher(["project.Order"]):
        Order.objects.bulk_create([Order(number="1", customer="Eva", total=1)])
        Order.objects.update(total=2)
        Order.objects.all()._raw_delete("default")
    receivers, post_save.receivers = post_save.receivers, []
    post_save.sender_receivers_cache.clear()
    try:
        Order.objects.update(total=2)
    finally:
        post_save.receivers = receivers
        post_save.sender_receivers_cache.clear()
    looking(Order, actions=["created"])
    Order.objects.update(total=2)
    Order.objects.all().delete()
    with pytest.raises(BypassError):
        Order.objects.bulk_create([Order(number="1", customer="Eva", total=1)])


def test_fixture__loaded__is_no_bypass(looking, tmp_path):
    (file := tmp_path / "orders.json").write_text(
        '[{"model": "project.order", "pk": 1, "fields": {"number": "1", "customer": "Eva", "total": 1}}]'
    )
    looking(Order)
    call_command("loaddata", str(file), verbosity=0)
    assert Order.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_tables__emptied_by_a_test__are_no_bypass(looking, transactional_db):
    looking(Order)
    call_command("flush", interactive=False, verbosity=0)
    TransactionTestCase()._fixture_teardown()  # type: ignore[attr-defined]


class Migration(migrations.Migration):
    """What migrations do: SQL, and the historical models."""

    @staticmethod
    def fill(apps, schema_editor):
        apps.get_model("history", "Order").objects.update(total=5)

    operations = [
        migrations.RunSQL(f"UPDATE {Order._meta.db_table} SET total = 4"),
        migrations.RunPython(fill),
    ]


def test_migration__is_no_bypass(looking):
    """Also one that a test runs by itself."""
    looking(Order)
    Order.objects.create(number="1", customer="Eva", total=1)
    fields: Any = [
        ("id", models.BigAutoField(primary_key=True)),
        ("total", models.DecimalField(max_digits=9, decimal_places=2)),
    ]
    state = ProjectState()
    state.add_model(ModelState("history", "Order", fields, {"db_table": Order._meta.db_table}))
    with BaseDatabaseSchemaEditor(connection) as editor:  # SQLite's own wants no transaction around it
        Migration("0001_fill", "history").apply(state, editor)
    assert Order.objects.get().total == 5


def test_ignored__costs_nothing(settings, register, db):
    """No connection is instrumented, and no save does anything for it."""
    register(Order)
    assert bypass._look not in connection.execute_wrappers
    settings.EVENTS_SOURCING = {"BYPASS": "warn"}
    assert bypass._look in connection.execute_wrappers
    settings.EVENTS_SOURCING = {}
    assert bypass._look not in connection.execute_wrappers
    Order.objects.update(total=1)


def test_without_sqlglot__the_log_says_so(settings, register, db, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "sqlglot", None)
    settings.EVENTS_SOURCING = {"BYPASS": "raise"}
    register(Order)
    assert "needs sqlglot" in caplog.text
    assert [problem.id for problem in check_options() if isinstance(problem, Error)] == ["django_events_sourcing.E028"]
    Order.objects.update(total=1)


def test_wrong_value__is_reported(settings):
    settings.EVENTS_SOURCING = {"BYPASS": "shout"}
    (problem,) = conf.option_problems()
    assert (problem.id, problem.hint) == ("django_events_sourcing.E009", "It must be 'ignore', 'warn' or 'raise'.")


def test_table__named_with_its_schema__is_known(looking):
    """As projects trick Django into one; to accounts and parser it is the same."""
    looking(Order)
    with accounted('"public"."Orders"'):
        assert is_accounted("orders")
    assert bare_name("`Orders`") == bare_name("orders") == "orders"
    assert writes_in('DELETE FROM "public"."Orders"', "postgresql", frozenset({"orders"})) == (
        Write("deleted", "orders"),
    )
