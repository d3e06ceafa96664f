"""The study on disk: an Optuna journal file with one writer, whose every write is whole or not there.

Optuna's own file backend takes 30 s over the lock of a killed process, and a line cut in its middle
plus one append make it unreadable; hence a lock that dies with its process, and a repaired tail.
"""

import fcntl
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from trimtab.errors import DiskError, SweepError
from trimtab.sweep.outcome import Completed, Failed, Outcome, Pruned
from trimtab.sweep.settings import Direction
from trimtab.sweep.store.database import Claims, connect, outages
from trimtab.sweep.store.index import Index
from trimtab.sweep.turns import LEFT, as_left, due

log = logging.getLogger(__name__)
FILE = "study.journal"
LOCK = "study.lock"


class JournalFile(BaseJournalBackend):
    """Lines of JSON in Optuna's format. Writers must hold the lock; readers skip a cut last line.

    Attributes:
        broken: a write has failed: what Optuna has in memory is no longer what is on disk.
    """

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
        self.broken = False

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
            self.broken = True
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
    """Reads and writes one study: a file that only the sweeper's process writes, or a database.

    Args:
        directory: the study's; `lock` must be held.
        name: the study's name, used when it is new.
        directions: of its objectives.
        attributes: kept with a new study; those of an old one stay as they are.
        url: of a database.
        claims: the sweep's locks in that.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        directions: Sequence[Direction],
        attributes: Mapping[str, Any],
        url: str | None = None,
        claims: Claims | None = None,
    ) -> None:
        self._url, self._claims = url, claims
        self._file = JournalFile(directory / FILE, repair=True) if url is None else None
        with claims.opening() if claims is not None else nullcontext():
            self._open(name, directions, attributes)

    def _open(self, name: str, directions: Sequence[Direction], attributes: Mapping[str, Any]) -> None:
        self.storage: BaseStorage = JournalStorage(self._file) if self._file else connect(self._url or "", keep=True)
        with self._whole():
            self.study_id = self._study(name, directions)
            known = self.storage.get_study_user_attrs(self.study_id)
            for key in attributes.keys() - known.keys():
                self.storage.set_study_user_attr(self.study_id, key, attributes[key])
            self._mend()
            self.index = Index(directions, self.storage.get_all_trials(self.study_id, deepcopy=False))

    def _mend(self) -> None:
        """A write that was torn after what a pause or its end is made of, and before the state that follows from it."""
        for trial in self.storage.get_all_trials(self.study_id, deepcopy=False):
            if (state := due(trial)) != trial.state and not self.theirs(trial):
                self.storage.set_trial_state_values(trial._trial_id, state)

    def _study(self, name: str, directions: Sequence[Direction]) -> int:
        """The only one of a file; of a database, that of the name."""
        there = {s.study_name: s._study_id for s in self.storage.get_all_studies()}
        if there and self._file is not None:
            return next(iter(there.values()))
        if name in there:
            return there[name]
        return self.storage.create_new_study([StudyDirection[d.upper()] for d in directions], name)

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Makes the writes inside one, in a file; in a database the last of them, the trial's state, is what counts."""
        with self._file.batch() if self._file is not None else outages(self._url or ""):
            yield

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials in order of number; not to be changed."""
        return self.index.trials

    def refresh(self) -> None:
        """Takes over what other processes have written to a shared study."""
        if self._claims is not None and self._claims.shared:
            with self._whole():
                for trial in self.storage.get_all_trials(self.study_id, deepcopy=False):
                    self.index.put(trial)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Nobody else adds a trial to a shared study inside, and all of them are known."""
        with self._claims.asking() if self._claims is not None else nullcontext():
            self.refresh()
            yield

    @property
    def broken(self) -> bool:
        """Whether the file lacks what was written last: nothing may follow it."""
        return self._file is not None and self._file.broken

    def mine(self) -> dict[str, int]:
        """Attributes of a trial that say which sweep runs it, where there may be several."""
        return {"owner": self._claims.owner} if self._claims is not None else {}

    def theirs(self, trial: FrozenTrial) -> bool:
        """Whether another sweep runs this trial at this moment."""
        return self._claims is not None and self._claims.alive(trial.user_attrs.get("owner"))

    def ask(self, templates: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Adds running trials, each with all its parameters in one line, all in one write."""
        with self._whole():
            keys = [self.storage.create_new_trial(self.study_id, template_trial=t) for t in templates]
            trials = [self.storage.get_trial(key) for key in keys]
        return [self.index.put(trial) for trial in trials]

    def start(self, trial: FrozenTrial, by: int = 1) -> FrozenTrial:
        """Counts one more start of a running trial; -1 takes back one that was cut off from outside."""
        with self._whole():
            starts = self.storage.get_trial(trial._trial_id).user_attrs["starts"] + by
            for name, value in {**self.mine(), "starts": starts}.items():
                self.storage.set_trial_user_attr(trial._trial_id, name, value)
            trial = self.storage.get_trial(trial._trial_id)
        return self.index.put(trial)

    def spend(self, seconds: float) -> None:
        """Adds to the time that the study has been swept for."""
        with self._whole():
            self.storage.set_study_user_attr(self.study_id, "spent_s", round(self.spent_s + seconds, 3))

    @property
    def spent_s(self) -> float:
        """How long the study has been swept, as far as `spend` was told."""
        return float(self.storage.get_study_user_attrs(self.study_id).get("spent_s", 0.0))

    def tell(self, ended: Sequence[tuple[FrozenTrial, Outcome]]) -> list[FrozenTrial]:
        """Ends trials, or puts them aside at their last report: reports, facts and states in one write."""
        with self._whole():
            for trial, outcome in ended:
                if isinstance(outcome, Pruned) and outcome.paused:
                    self._pause(trial._trial_id, outcome)
                else:
                    self._tell(trial._trial_id, outcome)
            told = [self.storage.get_trial(trial._trial_id) for trial, _ in ended]
        return [self.index.put(trial) for trial in told]

    def _tell(self, key: int, outcome: Outcome) -> None:
        self._note(key, outcome)
        if not isinstance(outcome, Failed):
            for name, excess in sorted(outcome.constraints.items()):
                self.storage.set_trial_system_attr(key, f"constraints:{name}", excess)
            if outcome.by_seed:
                self.storage.set_trial_user_attr(key, "by_seed", outcome.by_seed)
        if not isinstance(outcome, Completed):
            self.storage.set_trial_user_attr(key, "reason", outcome.reason)
        self.storage.set_trial_state_values(key, *_end(outcome))

    def _pause(self, key: int, outcome: Pruned) -> None:
        self._note(key, outcome)
        steps = [*self.storage.get_trial(key).user_attrs.get("pauses", ()), max(outcome.reports)]
        self.storage.set_trial_user_attr(key, "pauses", steps)
        self.storage.set_trial_state_values(key, TrialState.WAITING)

    def leave(self, paused: Sequence[tuple[FrozenTrial, str]]) -> list[FrozenTrial]:
        """Notes why paused trials go no further for now; they count as pruned until a sweep sends them on."""
        with self._whole():
            for trial, why in paused:
                self.storage.set_trial_user_attr(trial._trial_id, LEFT, why)
            left = [self.storage.get_trial(trial._trial_id) for trial, _ in paused]
        return [self.index.put(as_left(trial)) for trial in left]

    def send_on(self, paused: Sequence[tuple[FrozenTrial, Sequence[Any]]]) -> list[FrozenTrial]:
        """Makes paused trials run again, each with all its turns so far."""
        with self._whole():
            for trial, turns in paused:
                for name, value in {**self.mine(), "turns": list(turns), "starts": 1, LEFT: ""}.items():
                    self.storage.set_trial_user_attr(trial._trial_id, name, value)
                self.storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
            sent = [self.storage.get_trial(trial._trial_id) for trial, _ in paused]
        return [self.index.put(trial) for trial in sent]

    def _note(self, key: int, outcome: Outcome) -> None:
        """Reports, facts and time of a trial, added to those from before a pause."""
        known = self.storage.get_trial(key).user_attrs
        for step, value in outcome.reports.items():
            self.storage.set_trial_intermediate_value(key, step, value)
        self.storage.set_trial_user_attr(key, "facts", {**known.get("facts", {}), **outcome.facts})
        self.storage.set_trial_user_attr(key, "seconds", round(known.get("seconds", 0.0) + outcome.seconds, 3))


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
