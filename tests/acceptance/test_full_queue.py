"""A full queue that rejects what comes, and is drained: its consumer has what to do all the time."""

import time
from collections import defaultdict

import pytest

PLACES, RATE = 100, 50

SAVES = """
products = [Product.objects.create(name=number, price=1) for number in range(20)]
for _ in range({number} // 20 - 1):
    with transaction.atomic():
        for product in products:
            product.save()
"""


@pytest.mark.parametrize("number", [500, pytest.param(3000, marks=pytest.mark.soak)])
def test_full_queue__that_is_drained__its_consumer_hardly_waits(shop, number):
    """What is rejected comes again as soon as there is room; in order, and nothing dies of it."""
    taken: dict[str, list[int]] = defaultdict(list)
    waits = 0
    with shop.queue("-full", **{"x-max-length": PLACES, "x-overflow": "reject-publish"}) as queue, shop.system.worker():
        queue.declare()
        shop.system.django(SAVES.format(number=number))
        began, turn = time.monotonic(), 0
        while sum(map(len, taken.values())) < number:
            turn += 1
            time.sleep(max(0, began + turn / RATE - time.monotonic()))
            message = queue.get(no_ack=True)
            if message is None:
                waits += 1
                assert turn < 4 * number, f"{taken}, {shop.system.log('worker').read_text()}"
                continue
            sequence = message.headers["nameko.event_sequence"]
            sequences = taken[message.headers["nameko.event_object"]]
            if sequence not in sequences:
                assert not sequences or sequence > sequences[-1]
                sequences.append(sequence)
        queue.delete()
    print(f"{number} events, {turn} turns, {waits} of them in vain")
    assert waits <= 0.2 * turn
    assert shop.system.status()["dead"] == 0
