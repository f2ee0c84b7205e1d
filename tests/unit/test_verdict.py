"""The verdict of the fault tests: it must find what is wrong."""

import pytest

from tests.acceptance.verdict import Arrival, Verdict, judge, read_ledger

CHANGES = {"o:1": [("created", "a"), ("updated", "b"), ("deleted", "b")], "o:2": [("created", "c")]}


def arrivals(text):
    """An arrival for each word ``object/sequence/kind/name@id``; without ``@id`` its event id is the word."""
    found = []
    for word in text.split():
        what, _, event_id = word.partition("@")
        number, sequence, kind, name = what.split("/")
        found.append(Arrival(event_id or what, f"o:{number}", int(sequence), (kind, name)))
    return found


RIGHT = "1/1/created/a 2/2/created/c 1/3/updated/b 1/4/deleted/b"
WRONG = {
    "lost": "1/1/created/a 2/2/created/c 1/4/deleted/b",
    "ghost": f"{RIGHT} 2/5/updated/x",
    "disorder": "2/2/created/c 1/3/updated/b 1/1/created/a 1/4/deleted/b",
    "double": f"{RIGHT} 2/5/created/c@other",
}


def test_verdict__of_what_is_right__finds_nothing():
    """Also when events come again, and when other objects' come in between."""
    assert judge(CHANGES, arrivals(RIGHT)) == Verdict()
    assert judge(CHANGES, arrivals(f"{RIGHT} 1/3/updated/b 1/4/deleted/b 1/1/created/a")) == Verdict()


@pytest.mark.parametrize("fault", WRONG)
def test_verdict__of_what_is_wrong__says_what(fault):
    """Each fault is found, and taken for no other."""
    verdict = judge(CHANGES, arrivals(WRONG[fault]))
    assert [name for name, found in vars(verdict).items() if found] == [fault]


@pytest.mark.parametrize("was_committed", [True, False])
def test_ledger__of_a_killed_writer__asks_for_its_last_change(tmp_path, was_committed):
    """What a killed process had begun is there or not, as the database says."""
    ledger = tmp_path / "ledger"
    lines = [
        '{"changes": [["shop.a:1", "created", "a"]]}',
        '{"done": 0.1, "at": 5}',
        '{"changes": [["shop.a:1", "updated", "b"]]}',
    ]
    ledger.write_text("\n".join(lines))
    changes, took = read_ledger(ledger, lambda *change: change == ("shop.a:1", "updated", "b") and was_committed)
    expected = [("created", "a"), ("updated", "b")] if was_committed else [("created", "a")]
    assert changes == {"shop.a:1": expected}
    assert took == [(5, 0.1)]
