"""The journal: one writer, whole writes, a tail that is repaired."""

import errno
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial
from sweep_app import App, objective

from trimtab.errors import DiskError, SweepError
from trimtab.sweep.outcome import Completed
from trimtab.sweep.store.journal import FILE, Journal, lock
from trimtab.sweep.store.study import open_study

PIECES = {"fingerprint": "f", "pieces": {}, "knobs": {}}


def opened(folder: Path) -> Journal:
    return Journal(folder, "name", ["minimize"], PIECES)


def asked(journal: Journal) -> FrozenTrial:
    template = create_trial(
        state=TrialState.RUNNING,
        params={"x": 0.1},
        distributions={"x": FloatDistribution(0, 1)},
        user_attrs={"seed": 1, "starts": 1},
    )
    (trial,) = journal.ask([template])
    return trial


def test_what_is_told_is_read_again(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    (told,) = journal.tell([(asked(journal), Completed((0.1 + 0.2,), {1: 0.5, 2: 0.4}, {"epochs": 2}, 1.5))])
    read = open_study(tmp_path).trials[0]
    assert (read.value, read.intermediate_values, read.user_attrs) == (0.1 + 0.2, {1: 0.5, 2: 0.4}, told.user_attrs)
    assert read.params == {"x": 0.1}


def test_optuna_reads_it_too(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.tell([(asked(journal), Completed((0.5,)))])
    storage = JournalStorage(JournalFileBackend(str(tmp_path / FILE)))
    assert storage.get_all_trials(0)[0].value == 0.5


def test_an_outcome_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = opened(tmp_path)
    trial = asked(journal)
    writes: list[int] = []
    real = os.fsync

    def counted(fd: int) -> None:
        writes.append(fd)
        real(fd)

    monkeypatch.setattr(os, "fsync", counted)
    journal.tell([(trial, Completed((0.5,), dict.fromkeys(range(20), 0.5), {"epochs": 20}))])
    assert len(writes) == 1


def test_a_journal_cut_at_any_byte_of_its_last_line_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = opened(tmp_path)
    asked(journal)
    path = tmp_path / FILE
    before = len(path.read_bytes())
    asked(journal)
    whole = path.read_bytes()
    for end in range(before + 1, len(whole)):
        path.write_bytes(whole[:end])
        caplog.clear()
        assert len(open_study(tmp_path).trials) == 1
        with caplog.at_level(logging.WARNING):
            again = opened(tmp_path)
        assert len(again.trials) == 1
        assert [r.message for r in caplog.records if "middle of a line" in r.message]
        asked(again)
        assert len(open_study(tmp_path).trials) == 2


def test_damage_before_the_end_is_refused(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    asked(journal)
    path = tmp_path / FILE
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "{", *lines[1:]]) + "\n")
    with pytest.raises(SweepError, match="is damaged before its end"):
        opened(tmp_path)


def test_a_full_disk_leaves_the_journal_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = opened(tmp_path)
    trial = asked(journal)
    real = os.write

    def half(fd: int, data: bytes) -> int:
        if len(data) < 30:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(DiskError, match="No space left on device; free some space, then run the same command"):
        journal.tell([(trial, Completed((0.5,)))])
    monkeypatch.undo()
    assert open_study(tmp_path).trials[0].state == TrialState.RUNNING
    assert (tmp_path / FILE).read_bytes().endswith(b"\n")


def test_a_second_sweep_is_refused_by_the_first_ones_process(tmp_path: Path) -> None:
    with lock(tmp_path), pytest.raises(SweepError, match=f"process {os.getpid()}"), lock(tmp_path):
        pass
    with lock(tmp_path):
        pass


@pytest.mark.slow
def test_a_study_cut_after_any_line_resumes_to_the_same_table(app: App, sweep: Callable[..., None]) -> None:
    """Every kill between two writes: whatever has been asked or told, the rest follows."""
    few = ["hydra.sweeper.n_trials=5", "hydra.sweeper.lag=2", "hydra.sweeper.sampler.n_startup_trials=1"]
    sweep(objective, *few)
    table, lines = app.table(), (app.out / FILE).read_text().splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines)
    for kept in range(len(lines)):
        (app.out / FILE).write_text("".join(f"{line}\n" for line in lines[:kept]))
        sweep(objective, *few)
        assert app.table() == table, kept
