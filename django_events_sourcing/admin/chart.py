"""A bar chart, as a template draws it in SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

from django_events_sourcing.texts import counted

__all__ = ["Bar", "Chart", "chart"]

_WIDTH, _HEIGHT = 600, 100


@dataclass(frozen=True)
class Bar:
    """One bar: where it stands, how high it is, and what it says."""

    x: float
    y: float
    height: float
    label: str


@dataclass(frozen=True)
class Chart:
    """A chart of numbers in the order of time, and what it comes to in words.

    Attributes:
        width: In the units of its bars.
        height: The same.
        bar_width: The same.
        bars: The bars, from the first to the last.
        summary: What it shows, for who can't see it.
        most: The highest number, at the top of the scale.
    """

    width: int
    height: int
    bar_width: float
    bars: list[Bar]
    summary: str
    most: int


def chart(by_minute: Sequence[int]) -> Chart:
    """Of what was published in each of the last minutes.

    Args:
        by_minute: How many events; the last minute, which is not over, is the last one.
    """
    most = max(by_minute)
    step = _WIDTH / len(by_minute)
    bars = []
    for place, count in enumerate(by_minute):
        height = round(_HEIGHT * count / most, 1) if most else 0.0
        label = f"{_ago(len(by_minute) - 1 - place)}: {counted(count, 'event')}"
        bars.append(Bar(x=round(place * step, 1), y=round(_HEIGHT - height, 1), height=height, label=label))
    return Chart(_WIDTH, _HEIGHT, round(step * 0.8, 1), bars, _summary(by_minute, most), most)


def _summary(by_minute: Sequence[int], most: int) -> str:
    if not most:
        return f"No event was published in the last {len(by_minute)} minutes."
    last = next(back for back, count in enumerate(reversed(by_minute)) if count)
    peak = next(back for back, count in enumerate(reversed(by_minute)) if count == most)
    return (
        f"{counted(sum(by_minute), 'event')} in the last {len(by_minute)} minutes; most of them {_ago(peak)}, "
        f"{counted(most, 'event')}; the last {_ago(last)}."
    )


def _ago(minutes: int) -> str:
    return "in this minute" if minutes == 0 else f"{counted(minutes, 'minute')} ago"
