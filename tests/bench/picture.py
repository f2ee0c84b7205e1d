"""The picture of a run, and the table of docs/explanation/cost.md.

    python -m tests.bench.picture docs/bench.json docs/bench.svg

draws the picture, and prints the table.
"""

import sys
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.bench.figures import Figures

# Each with a contrast of 3 or more on white and on GitHub's dark background.
TEXT, OURS, OTHERS = "#7d8590", "#2f81f7", "#8b949e"

LIBRARY, DELAY = "this library", ".delay() on commit"
CHARTS = {
    "added to a save, µs": {
        "INSERT_added_to_a_save_us": "a bare INSERT",
        "ours_added_to_a_save_us": LIBRARY,
        "delay_added_to_a_save_us": DELAY,
    },
    "a view that saves, requests/s": {
        "view_Silent_requests_a_second": "without events",
        "view_Told_requests_a_second": LIBRARY,
        "view_Enqueued_requests_a_second": DELAY,
    },
    "published, events/s": {
        "nameko_loop_events_a_second": "nameko's dispatcher",
        "one_process_5000_objects_events_a_second": LIBRARY,
        "delay_events_a_second": ".delay(), 2 processes",
    },
    "commit to consumer, ms": {
        "ours_20_a_second_p50_ms": LIBRARY,
        "delay_20_a_second_p50_ms": DELAY,
    },
    "bulk_create() of 100,000 rows, s": {
        "bulk_create_silent_s": "without events",
        "bulk_create_told_s": LIBRARY,
    },
    "update() of 100,000 rows, s": {
        "bulk_update_silent_s": "without events",
        "bulk_update_told_s": LIBRARY,
    },
}


def draw(figures: Figures, path: Path) -> None:
    """Write the picture, an SVG without a background, the same for the same figures."""
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "django-events-sourcing", "font.size": 9})
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(3, 2).flat, CHARTS.items(), strict=True):
        _bars(axes, title, {label: figures.values[name].median for name, label in names.items()})
    figure.savefig(path, transparent=True, metadata={"Date": None})


def _bars(axes: Axes, title: str, values: dict[str, float]) -> None:
    bars = axes.barh(
        list(values), list(values.values()), color=[OURS if label == LIBRARY else OTHERS for label in values]
    )
    labels = [f"{value:,.3g}" if value < 100 else f"{value:,.0f}" for value in values.values()]
    axes.bar_label(bars, labels, padding=3, color=TEXT)
    axes.set_title(title, color=TEXT, loc="left", fontsize=10)
    axes.invert_yaxis()
    axes.set_xlim(right=1.2 * max(values.values()))
    axes.xaxis.set_visible(False)
    axes.tick_params(axis="y", length=0, labelcolor=TEXT)
    axes.spines[:].set_visible(False)


if __name__ == "__main__":
    found = Figures.read(Path(sys.argv[1]))
    draw(found, Path(sys.argv[2]))
    print(found.markdown())
