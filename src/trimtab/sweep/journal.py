"""The study on disk: an Optuna journal file with one writer, whose every write is whole or not there.

Optuna's own file backend takes 30 s over the lock of a killed process, and a line cut in its middle
plus one append make it unreadable; hence a lock that dies with its process, and a repaired tail.
"""

import fcntl
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from trimtab.errors import DiskError, SweepError
from trimtab.sweep.outcome import Completed, Failed, Outcome, Pruned
from trimtab.sweep.settings import Direction

log = logging.getLogger(__name__)
FILE = "study.journal"
LOCK = "study.lock"


class JournalFile(BaseJournalBackend):
    """Lines of JSON in Optuna's format. Writers must hold the lock; readers skip a cut last line."""

    def __init__(self, path: Path, *, repair: bool) -> None:
        self._path = path
        data = path.read_bytes() if path.exists() else b""
        whole = _whole_lines(data)
        if repair and len(whole) < len(data):
            log.warning("%s ended in the middle of a line; the rest of it was cut off", path)
            os.truncate(path, len(whole))
        self._size = len(whole)
        self._unread: list[dict[str, Any]] = _decode(whole, path)
        self._batch: list[dict[str, Any]] | None = None

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """What was written since the last call: this process is the only writer."""
        unread, self._unread = self._unread, []
        return unread

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Writes through, or collects within `batch`."""
        if self._batch is None:
            self._write(logs)
        else:
            self._batch.extend(logs)
        # Optuna sees what a reader of the file will see.
        self._unread.extend(json.loads(json.dumps(logs)))

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Makes everything appended inside one write and one fsync, unless the block raises."""
        self._batch = []
        try:
            yield
            self._write(self._batch)
        finally:
            self._batch = None

    def _write(self, logs: Sequence[dict[str, Any]]) -> None:
        text = "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in logs)
        try:
            with self._path.open("ab", buffering=0) as file:
                _write_whole(file.fileno(), text.encode(), self._size)
        except OSError as e:
            raise DiskError.of(self._path, e) from e
        self._size += len(text.encode())


def _write_whole(fd: int, data: bytes, start: int) -> None:
    """Appends all of `data`, or leaves the file as it was."""
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    except OSError:
        os.ftruncate(fd, start)
        raise


def _whole_lines(data: bytes) -> bytes:
    """The data up to the last line that is complete JSON."""
    end = data.rfind(b"\n") + 1
    while end:
        start = data.rfind(b"\n", 0, end - 1) + 1
        if _is_json(data[start:end]):
            break
        end = start
    return data[:end]


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _decode(data: bytes, path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in data.splitlines()]
    except ValueError as e:
        raise SweepError(f"{path} is damaged before its end ({e}); restore it, or sweep in another directory") from e


@contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Holds the study for this process; the lock goes with the process, however that ends.

    Raises:
        SweepError: another sweep holds it; names its process.
        DiskError: the directory cannot be made or written.
    """
    path = directory / LOCK
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = path.open("ab+", buffering=0)  # a buffer that a full disk refused would be written again on closing
    except OSError as e:
        raise DiskError.of(path, e) from e
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(0)
            file.write(str(os.getpid()).encode())
        except BlockingIOError as e:
            file.seek(0)
            raise SweepError(
                f"{directory} is being swept by process {file.read().decode().strip() or 'unknown'}; wait for "
                "it or stop it, or sweep in another directory"
            ) from e
        except OSError as e:
            raise DiskError.of(path, e) from e
        yield


class Journal:
    """Reads and writes one study. Only the sweeper's process writes.

    Args:
        directory: the study's; `lock` must be held.
        name: the study's name, used when it is new.
        directions: of its objectives.
        attributes: kept with a new study; those of an old one stay as they are.
    """

    def __init__(
        self, directory: Path, name: str, directions: Sequence[Direction], attributes: Mapping[str, Any]
    ) -> None:
        self._file = JournalFile(directory / FILE, repair=True)
        self.storage = JournalStorage(self._file)
        studies = self.storage.get_all_studies()
        with self._file.batch():
            self.study_id = (
                studies[0]._study_id
                if studies
                else self.storage.create_new_study([StudyDirection[d.upper()] for d in directions], name)
            )
            known = self.storage.get_study_user_attrs(self.study_id)
            for key in attributes.keys() - known.keys():
                self.storage.set_study_user_attr(self.study_id, key, attributes[key])

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials in order of number; not to be changed."""
        return self.storage.get_all_trials(self.study_id, deepcopy=False)

    def ask(self, template: FrozenTrial) -> FrozenTrial:
        """Adds a running trial with all its parameters in one line."""
        number = self.storage.create_new_trial(self.study_id, template_trial=template)
        return self.storage.get_trial(number)

    def start(self, trial: FrozenTrial, by: int = 1) -> FrozenTrial:
        """Counts one more start of a running trial; -1 takes back one that was cut off from outside."""
        starts = self.storage.get_trial(trial._trial_id).user_attrs["starts"] + by
        self.storage.set_trial_user_attr(trial._trial_id, "starts", starts)
        return self.storage.get_trial(trial._trial_id)

    def tell(self, trial: FrozenTrial, outcome: Outcome) -> FrozenTrial:
        """Ends a trial: its reports, facts and state in one write."""
        key = trial._trial_id
        with self._file.batch():
            for step, value in outcome.reports.items():
                self.storage.set_trial_intermediate_value(key, step, value)
            self.storage.set_trial_user_attr(key, "facts", dict(outcome.facts))
            self.storage.set_trial_user_attr(key, "seconds", round(outcome.seconds, 3))
            if not isinstance(outcome, Failed):
                for name, excess in sorted(outcome.constraints.items()):
                    self.storage.set_trial_system_attr(key, f"constraints:{name}", excess)
            if not isinstance(outcome, Completed):
                self.storage.set_trial_user_attr(key, "reason", outcome.reason)
            self.storage.set_trial_state_values(key, *_end(outcome))
        return self.storage.get_trial(key)


def _end(outcome: Outcome) -> tuple[TrialState, tuple[float, ...] | None]:
    """State and values of a trial that ended so; a pruned one has its last report, as in Optuna."""
    match outcome:
        case Completed(values=values):
            return TrialState.COMPLETE, values
        case Pruned(value=value):
            return TrialState.PRUNED, None if value is None else (value,)
        case Failed():
            return TrialState.FAIL, None


optuna.logging.set_verbosity(optuna.logging.WARNING)
