"""From a model's save to a nameko handler, every part a process of its own."""

from datetime import UTC, datetime
from uuid import UUID

from tests.processes import wait_until

CHANGES = """
order = Order.objects.create(number="A-1", customer="Ann", total="9.50")
product = Product.objects.create(name="pen", price="1.20")
product.name = "red pen"
product.save()
shipment = Shipment.objects.create(order=order, status="started")
shipment.status = "finished"
shipment.save()
print(order.pk, product.pk)
product.delete()
"""

ROLLED_BACK = """
class RollBack(Exception): pass
try:
    with transaction.atomic():
        Product.objects.create(name="whole", price=1)
        raise RollBack
except RollBack: pass
with transaction.atomic():
    try:
        with transaction.atomic():
            Product.objects.create(name="savepoint", price=1)
            raise RollBack
    except RollBack: pass
    Product.objects.create(name="kept", price=1)
"""


def test_changes__of_registered_models__handled_by_an_unmodified_service(running_system):
    """Each create, update, status change and delete reaches its handler, with the state of that moment."""
    before = datetime.now(UTC)
    order, product = running_system.django(CHANGES).split()
    handled = {entry["event"]: entry for entry in running_system.wait_for(6)}

    assert handled["order__created"]["data"] == {"id": int(order), "number": "A-1", "total": "9.50"}
    assert handled["product__created"]["data"]["name"] == "pen"
    assert handled["product__updated"]["data"]["name"] == "red pen"
    assert handled["product__deleted"]["data"]["id"] == int(product)
    assert handled["shipment__started"]["data"]["order"] == handled["shipment__finished"]["data"]["order"] == int(order)

    assert len({UUID(entry["event_id"]) for entry in handled.values()}) == 6
    assert handled["product__deleted"]["event_object"] == f"project.product:{product}"
    for name, entry in handled.items():
        assert before < datetime.fromisoformat(entry["event_time"]) < datetime.now(UTC)
        assert entry["call_id_stack"][0] == f"{running_system.env['SERVICE_NAME']}.{name}.{entry['event_id']}"


def test_rollback__of_transaction_or_savepoint__no_event(running_system):
    """What did not happen is not reported; the event of what was kept shows that there was time to."""
    running_system.django(ROLLED_BACK)
    assert [entry["data"]["name"] for entry in running_system.wait_for(1)] == ["kept"]
    assert "whole" not in running_system.log("worker").read_text()


def test_service_without_queue_yet__first_event_of_all__exchange_is_declared(system):
    """The very first event, to an exchange that nobody has declared, is published; the log says who gets it: nobody."""
    with system.worker():
        system.django("Product.objects.create(name='pen', price=1)")
        worker = system.log("worker")
        wait_until(lambda: "succeeded" in worker.read_text(), "the task has succeeded")
    lines = worker.read_text().partition(" ready.")[2].splitlines()
    (line,) = [line for line in lines if "WARNING" in line or "ERROR" in line]
    assert "RabbitMQ has no queue bound for events product__created of" in line


PLACED = """
from django_events_sourcing import emit, event_context
order = Order.objects.create(number="A-1", customer="Ann", total="9.50")
with event_context(user_id=7, correlation_id="r-1"):
    emit("order__placed", {"id": order.pk}, instance=order, headers={"channel": "web"})
print(order.pk)
"""


def test_event__emitted_while_another_is_handled__goes_on_with_its_context(running_system):
    """From a project through a service that runs Django's code to the next service."""
    with running_system.service("tests.acceptance.billing", name="billing"):
        order = running_system.django(PLACED).strip()
        billed = next(entry for entry in running_system.wait_for(2) if entry["event"] == "order__billed")
    assert billed["data"] == {"id": int(order)}
    assert billed["event_object"] == f"project.order:{order}"
    assert (billed["user_id"], billed["correlation_id"], billed["channel"]) == (7, "r-1", "web")
    shop = running_system.env["SERVICE_NAME"]
    calls = [f"{shop}.order__placed.", "billing.bill.", f"{shop}.order__billed.{billed['event_id']}", "recorder."]
    stack = billed["call_id_stack"]
    assert [call.startswith(expected) for call, expected in zip(stack, calls, strict=True)] == [True] * 4, stack
