"""The ledger of looks: numbered, idempotent per champion, safe under concurrency."""

import multiprocessing
from pathlib import Path

import pytest

from trimtab.data.ledger import looks, take_look
from trimtab.errors import TrimtabError


def test_first_look_is_the_verdict_and_later_ones_are_exploratory(tmp_path: Path) -> None:
    ledger = tmp_path / "runs" / "ledger.jsonl"
    assert looks(ledger, "test", "file") == []
    first = take_look(ledger, "test", "file", "a", "digits")
    second = take_look(ledger, "test", "file", "b", "digits")
    assert [(look.number, look.verdict) for look in (first, second)] == [(1, "first"), (2, "exploratory")]


def test_a_champion_keeps_its_number(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    first = take_look(ledger, "test", "file", "a", "digits")
    take_look(ledger, "test", "file", "b", "digits")
    assert take_look(ledger, "test", "file", "a", "digits") == first
    assert len(ledger.read_text().splitlines()) == 2


def test_each_test_set_is_counted_by_itself(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    take_look(ledger, "one", "first file", "a", "digits")
    assert take_look(ledger, "two", "second file", "a", "digits").number == 1


def test_another_split_of_the_same_source_is_no_fresh_test_set(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    take_look(ledger, "one split", "file", "a", "digits")
    assert take_look(ledger, "another split", "file", "b", "digits").verdict == "exploratory"


def test_no_look_without_a_record(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where the folder should be")
    with pytest.raises(TrimtabError, match=r"cannot write .*ledger.jsonl"):
        take_look(tmp_path / "runs" / "ledger.jsonl", "test", "file", "a", "digits")


def test_damage_is_named_not_repaired(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    take_look(ledger, "test", "file", "a", "digits")
    with ledger.open("a") as file:
        file.write('{"test": "te\n')
    with pytest.raises(TrimtabError, match="line 2"):
        take_look(ledger, "test", "file", "b", "digits")


def _look(ledger: Path, champion: str) -> int:
    return take_look(ledger, "test", "file", champion, "digits").number


def test_simultaneous_looks_have_different_numbers(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        numbers = pool.starmap(_look, [(ledger, str(i)) for i in range(20)])
    assert sorted(numbers) == list(range(1, 21))
