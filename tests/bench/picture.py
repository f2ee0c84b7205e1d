"""The picture of a run, and the README's table of it.

    python -m tests.bench.picture docs/bench.json docs/bench.svg

draws the picture, and prints the table.
"""

import sys
from pathlib import Path

import leather

from tests.bench.figures import Figures

ADDED = {
    "bulk_INSERT_added_to_a_save_us": "bare INSERT, of 1,000",
    "INSERT_added_to_a_save_us": "bare INSERT",
    "bulk_ours_added_to_a_save_us": "this library, of 1,000",
    "ours_added_to_a_save_us": "this library",
    "ours_methods_added_to_a_save_us": "… with methods",
    "delay_added_to_a_save_us": ".delay() on commit",
    "delay_methods_added_to_a_save_us": "… with methods ",
}
SERVED = {
    "view_Silent_requests_a_second": "no events",
    "view_Told_requests_a_second": "this library",
    "view_ToldByMethods_requests_a_second": "… with methods",
    "view_Enqueued_requests_a_second": ".delay() on commit",
    "view_EnqueuedByMethods_requests_a_second": "… with methods ",
}
DRAINED = {
    "delay_events_a_second": ".delay(), 2 processes",
    "nameko_loop_events_a_second": "nameko's dispatcher",
    "one_process_1_objects_events_a_second": "library, one object",
    "one_process_5000_objects_events_a_second": "library",
    "two_processes_events_a_second": "library, 2 processes",
    "pipelined_loop_events_a_second": "bare loop, no outbox",
}
LATENCY = {
    "ours_20_a_second_p50_ms": "library, 20/s, p50",
    "ours_20_a_second_p99_ms": "library, 20/s, p99",
    "delay_20_a_second_p50_ms": ".delay(), 20/s, p50",
    "delay_20_a_second_p99_ms": ".delay(), 20/s, p99",
    "ours_200_a_second_p99_ms": "library, 200/s, p99",
}
CHARTS = {
    "Added to a save, microseconds": ADDED,
    "A view that saves, requests/s": SERVED,
    "Published, events/s": DRAINED,
    "Commit to consumer, ms": LATENCY,
}


def draw(figures: Figures, path: Path) -> None:
    """Write the picture, an SVG."""
    leather.theme.title_font_family = leather.theme.tick_font_family = "sans-serif"
    grid = leather.Grid()
    for title, names in CHARTS.items():
        chart = leather.Chart(title)
        chart.add_bars([(figures.values[name].median, label) for name, label in reversed(names.items())])
        chart.add_x_scale(0, 1.1 * max(figures.values[name].median for name in names))
        grid.add_one(chart)
    grid.to_svg(str(path), width=1200, height=560)


if __name__ == "__main__":
    found = Figures.read(Path(sys.argv[1]))
    draw(found, Path(sys.argv[2]))
    print(found.markdown())
