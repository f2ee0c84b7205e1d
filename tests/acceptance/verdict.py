"""The one verdict on all faults: what was changed, against what arrived."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Arrival", "Changes", "Verdict", "judge", "read_ledger"]

#: Of each object what became of it, in order: the end of the event's name and the object's own name then.
Changes = dict[str, list[tuple[str, str]]]


@dataclass(frozen=True)
class Arrival:
    """One message."""

    event_id: str
    object: str
    sequence: int
    what: tuple[str, str]


@dataclass
class Verdict:
    """What is wrong; nothing is, when all lists are empty.

    Attributes:
        lost: Changes that were committed and have no event.
        ghost: Events of what was not committed.
        disorder: Objects whose events arrived, each for the first time, in another order than that of their changes.
        double: Changes that came under more than one event id.
    """

    lost: list[str] = field(default_factory=list)
    ghost: list[str] = field(default_factory=list)
    disorder: list[str] = field(default_factory=list)
    double: list[str] = field(default_factory=list)


def judge(changes: Changes, arrivals: Iterable[Arrival]) -> Verdict:
    """Compare what was changed with what arrived. The same event may arrive again, under its id."""
    verdict = Verdict()
    firsts: dict[str, list[Arrival]] = {}
    known: set[tuple[str, str]] = set()
    for arrival in arrivals:
        if (arrival.object, arrival.event_id) not in known:
            known.add((arrival.object, arrival.event_id))
            firsts.setdefault(arrival.object, []).append(arrival)
    for key in changes.keys() | firsts.keys():
        expected = changes.get(key, [])
        arrived = [arrival.what for arrival in firsts.get(key, [])]
        verdict.lost += [f"{key} {what}" for what in expected if what not in arrived]
        verdict.ghost += [f"{key} {what}" for what in arrived if what not in expected]
        verdict.double += [f"{key} {what}" for what in set(arrived) if arrived.count(what) > 1]
        sequences = [arrival.sequence for arrival in firsts.get(key, [])]
        in_order = [what for what in expected if what in arrived]
        if sequences != sorted(sequences) or [what for what in dict.fromkeys(arrived) if what in expected] != in_order:
            verdict.disorder.append(key)
    return verdict


def read_ledger(
    ledger: Path, was_committed: Callable[[str, str, str], bool]
) -> tuple[Changes, list[tuple[float, float]]]:
    """What a writer did.

    Args:
        ledger: The writer's file.
        was_committed: Called with key, kind and name of the last change, if the writer was killed during it.

    Returns:
        The changes, and of each that ended when that was and how long it took, in seconds.
    """
    changes: Changes = {}
    took: list[tuple[float, float]] = []
    open_change: list[tuple[str, str, str]] = []
    for line in ledger.read_text().splitlines():
        entry = json.loads(line)
        if "changes" in entry:
            open_change = [tuple(change) for change in entry["changes"]]
            continue
        took.append((entry["at"], entry["done"]))
        _add(changes, open_change)
        open_change = []
    if open_change and was_committed(*open_change[-1]):
        _add(changes, open_change)
    return changes, took


def _add(changes: Changes, committed: list[tuple[str, str, str]]) -> None:
    for key, kind, name in committed:
        changes.setdefault(key, []).append((kind, name))
