"""How relays share the partitions."""

import pytest

from django_events_sourcing.outbox.partitioning import PARTITIONS, share_of_partitions


@pytest.mark.parametrize("others", range(PARTITIONS - 1))
def test_share__of_relays_that_are_behind__leaves_something_for_a_helper(others):
    """Up to the sixteenth, whoever is woken to help finds a partition that is free."""
    assert (others + 1) * share_of_partitions(others, is_behind=True) < PARTITIONS


@pytest.mark.parametrize("others", range(PARTITIONS + 4))
@pytest.mark.parametrize("is_behind", [True, False])
def test_share__whoever_is_at_work__is_at_least_one(others, is_behind):
    assert share_of_partitions(others, is_behind=is_behind) >= 1


@pytest.mark.parametrize("others", range(PARTITIONS + 4))
def test_share__of_relays_that_keep_up__leaves_no_partition_out(others):
    assert (others + 1) * share_of_partitions(others, is_behind=False) >= PARTITIONS
