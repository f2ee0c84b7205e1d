"""What was measured: figures, their table, and the file they are kept in."""

import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

__all__ = ["BOUNDS", "Bound", "Figures", "Spread"]


@dataclass(frozen=True)
class Bound:
    """What a ratio is to be.

    Attributes:
        what: Two things, the first divided by the second.
        must: What it must reach; None if that is not said.
        is_upper: Whether it is to stay below that.
    """

    what: str
    must: float | None
    is_upper: bool

    def holds(self, ratio: float) -> bool:
        """Whether the ratio is as it must be."""
        return self.must is None or (ratio <= self.must if self.is_upper else ratio >= self.must)


#: By name, in the order in which they are shown.
BOUNDS = {
    "save_insert": Bound("added to each of 1,000 saves in a transaction / by one bare INSERT", 4, is_upper=True),
    "save_alone": Bound("added to a save in a transaction of its own / by one bare INSERT", None, is_upper=True),
    "save_delay": Bound("added to a save / by a signal with .delay() on commit", 0.4, is_upper=True),
    "save_delay_methods": Bound("… serializer with a method field and a to_representation", 0.4, is_upper=True),
    "bulk": Bound("added to each of 1,000 saves in one transaction / to one save", 1.0, is_upper=True),
    "bulk_create": Bound("bulk_create() of 100,000 rows / without events", 2.5, is_upper=True),
    "bulk_update": Bound("update() of 100,000 rows / without events", None, is_upper=True),
    "bulk_memory": Bound("MiB that both take more memory with events", 50, is_upper=True),
    "view_silent": Bound("requests/s of a view that saves, under gunicorn / without events", 0.65, is_upper=False),
    "view_silent_methods": Bound("… serializer with a method field and a to_representation", 0.6, is_upper=False),
    "view_delay": Bound("requests/s of that view / with a signal with .delay() on commit", 1.35, is_upper=False),
    "view_delay_methods": Bound("… serializer with a method field and a to_representation", 1.3, is_upper=False),
    "view_p99_silent": Bound("p99 of that view / without events", None, is_upper=True),
    "view_p99_delay": Bound("p99 of that view / with a signal with .delay() on commit", None, is_upper=True),
    "drain_delay": Bound("events/s of two processes / of signal with .delay(), two processes", 8, is_upper=False),
    "drain_nameko": Bound("events/s of one process / of a loop over nameko's dispatcher", 1, is_upper=False),
    "drain_5000": Bound("events/s of one process, 5,000 objects / of a bare loop, pipelined", 0.5, is_upper=False),
    "drain_100": Bound("… 100 objects", 0.3, is_upper=False),
    "drain_1": Bound("… one object", 0.1, is_upper=False),
    "drain_held": Bound("events/s with a transaction held open / without", 0.8, is_upper=False),
    "latency_p50": Bound("commit to consumer, 20 events/s, p50 / signal with .delay() on commit", 1.15, is_upper=True),
    "latency_p99": Bound("commit to consumer, 20 events/s, p99 / signal with .delay() on commit", 1.15, is_upper=True),
    "latency_200": Bound("commit to consumer, p99 at 200 events/s / at 20", 4, is_upper=True),
    "rabbitmq_down": Bound("p99 of a save, RabbitMQ down / all up", 1.3, is_upper=True),
    "redis_down": Bound("p99 of a save, Redis down / all up", 1.3, is_upper=True),
    "redis_suspended": Bound("p99 of a save, Redis suspended / all up", 1.3, is_upper=True),
    "pages": Bound("seconds of the admin's slowest page, 1,000,000 events, 200,000 pending", 0.2, is_upper=True),
    "memory": Bound("MiB that a process grows by, draining 200,000 events", 20, is_upper=True),
}


@dataclass(frozen=True)
class Spread:
    """Several measurements of one thing."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Median and quartiles; of one value, itself."""
        low, _, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
        return cls(median(values), low, high)


def _about() -> dict[str, Any]:
    packages = ["Django", "djangorestframework", "celery", "kombu", "amqp", "nameko", "redis", "psycopg"]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": cpu.partition(": ")[2] or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "GiB": round(memory),
        "Python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


@dataclass
class Figures:
    """All that one run has measured.

    Attributes:
        ratios: By the names of ``BOUNDS``.
        values: What they were made from, by name, in units that the name ends with.
        about: The machine and the versions.
    """

    ratios: dict[str, Spread] = field(default_factory=dict)
    values: dict[str, Spread] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=_about)

    def add(self, name: str, ratios: Iterable[float], **values: Sequence[float]) -> None:
        """Keep the ratios of several rounds, and what each was made from."""
        self.ratios[name] = Spread.of(list(ratios))
        self.values.update({key: Spread.of(found) for key, found in values.items()})

    def write(self, path: Path) -> None:
        """As JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Figures":
        """What ``write`` wrote."""
        found = json.loads(path.read_text())
        spreads = {key: {name: Spread(**value) for name, value in found[key].items()} for key in ("ratios", "values")}
        return cls(about=found["about"], **spreads)

    def markdown(self) -> str:
        """The ratios, as docs/explanation/cost.md has them."""
        rows = [
            f"| {bound.what} | {ratio.median:.2g} | {ratio.low:.2g} … {ratio.high:.2g} |"
            for name, bound in BOUNDS.items()
            if (ratio := self.ratios.get(name))
        ]
        return "\n".join(["| figure | median | quartiles |", "|---|---|---|", *rows])

    def print(self, to: TextIO = sys.stdout) -> None:
        """As tables."""
        console = Console(file=to, width=130)
        table = Table("figure", "median", "quartiles", "must be", "", title="Ratios")
        for name, bound in BOUNDS.items():
            if ratio := self.ratios.get(name):
                must = "" if bound.must is None else f"{'≤' if bound.is_upper else '≥'} {bound.must:g}"
                verdict = "" if bound.holds(ratio.median) else "✗"
                table.add_row(bound.what, f"{ratio.median:.3g}", f"{ratio.low:.3g} … {ratio.high:.3g}", must, verdict)
        console.print(table)
        values = Table("measured", "median", "quartiles", title="What they were made from")
        for name, value in self.values.items():
            values.add_row(name.replace("_", " "), f"{value.median:.4g}", f"{value.low:.4g} … {value.high:.4g}")
        console.print(values)
        console.print(", ".join(f"{key} {value}" for key, value in self.about.items()))
