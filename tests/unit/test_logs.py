"""Lines of the log."""

import pytest

from django_events_sourcing.logs import Numbers


@pytest.mark.parametrize(
    "numbers, text",
    [([], "none"), ([3], "3"), ({5, 3}, "3, 5"), ([7, 6, 5, 1], "1, 5 to 7"), (frozenset(range(16)), "0 to 15")],
)
def test_numbers__in_a_line_of_the_log__short(numbers, text):
    """Sixteen partitions, or a thousand events, fill no line; and it reads the same in each handler's."""
    line = Numbers(numbers)
    assert f"{line}" == f"{line}" == text
