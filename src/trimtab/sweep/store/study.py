"""A study as stages, reports and callbacks see it: read only."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage, JournalStorage
from optuna.trial import FrozenTrial

from trimtab.errors import SweepError
from trimtab.paths import read_json
from trimtab.sweep.settings import Direction, named
from trimtab.sweep.space.knobs import Value
from trimtab.sweep.space.knobs import params as params
from trimtab.sweep.store import database
from trimtab.sweep.store.index import Index
from trimtab.sweep.store.journal import FILE, Journal, JournalFile
from trimtab.sweep.store.pareto import excess, layers
from trimtab.sweep.turns import as_left


class Study:
    """What a sweep has found so far.

    Attributes:
        directory: where journal, tables and the trials' folders lie.
        name: the study's name, by default its fingerprint.
        directions: whether small or large values are good, one per objective.
        direction: the first of them, for studies of one objective.
        attributes: `fingerprint`, `pieces`, `knobs` (kind, range, role, condition by name), `seed`.
    """

    def __init__(self, directory: Path, storage: BaseStorage, study_id: int, index: Index | None = None) -> None:
        self._storage = storage
        self._id = study_id
        self.directory = directory
        self.name: str = storage.get_study_name_from_id(study_id)
        self.directions = named(storage.get_study_directions(study_id))
        self.direction: Direction = self.directions[0]
        self._index = index or Index(self.directions, map(as_left, storage.get_all_trials(study_id, deepcopy=False)))

    @classmethod
    def of(cls, journal: Journal, directory: Path) -> "Study":
        """The live view of a study that is being swept."""
        return cls(directory, journal.storage, journal.study_id, journal.index)

    @property
    def attributes(self) -> Mapping[str, Any]:
        """What is kept of the study as a whole."""
        attributes: Mapping[str, Any] = self._storage.get_study_user_attrs(self._id)
        return attributes

    @property
    def repeated(self) -> str:
        """What configurations run on several of, if they do: seed or fold."""
        return "fold" if "folds" in self.attributes.get("pieces", {}).get("study", {}) else "seed"

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials in order of number; not to be changed, as all lists here."""
        return self._index.trials

    @property
    def finished(self) -> list[FrozenTrial]:
        """Those that have ended, failed ones included."""
        return self._index.finished

    @property
    def ranked(self) -> list[FrozenTrial]:
        """The completed trials, the best first; of equal ones the lower number first.

        Those that break a constraint come last. Several objectives: by layers, the Pareto front first.
        """
        completed = self._index.completed
        if len(self.directions) == 1:
            return self._index.ranked
        ranks = layers(completed, self.directions)
        return [t for _, t in sorted(zip(ranks, completed, strict=True), key=lambda pair: (pair[0], pair[1].number))]

    @property
    def best(self) -> FrozenTrial | None:
        """The first of `ranked`; None too with several objectives, or if every trial breaks a constraint."""
        first = next(iter(self._index.ranked), None)
        return first if first is not None and not excess(first) else None

    @property
    def front(self) -> list[FrozenTrial]:
        """The completed trials that keep their constraints and that no other beats in every objective."""
        completed = [t for t in self._index.completed if not excess(t)]
        return [t for t, rank in zip(completed, layers(completed, self.directions), strict=True) if rank == 0]

    def rank(self, trial: FrozenTrial) -> tuple[float | int, ...]:
        """What sorts a completed trial of a study with one objective: less is better."""
        return self._index.rank(trial)

    @property
    def baseline(self) -> FrozenTrial | None:
        """Trial 0 if it ran without swept overrides."""
        first = self.trials[:1]
        return first[0] if first and first[0].user_attrs.get("baseline") else None

    @property
    def failures(self) -> dict[str, int]:
        """How many trials failed, by reason, the commonest first."""
        return dict(self._index.failures.most_common())

    def folder(self, trial: FrozenTrial) -> Path:
        """The trial's own directory, where `hydra.sweep.subdir` is left at its default."""
        return self.directory / str(trial.number)


def open_study(directory: Path) -> Study:
    """Reads a study, also one that is being swept at this moment.

    Raises:
        SweepError: there is none.
    """
    path = directory / FILE
    if path.is_file():
        storage = JournalStorage(JournalFile(path, repair=False))
        studies = storage.get_all_studies()
        if studies:
            return Study(directory, storage, studies[0]._study_id)
    if (directory / database.FILE).is_file():
        place = read_json(directory / database.FILE)
        return open_stored(place["url"], place["study"], directory)
    raise SweepError(f"{directory} holds no study ({FILE}); run the sweep first")


def open_stored(url: str, name: str, directory: Path) -> Study:
    """Reads a study in a database; libpq finds a password that the address lacks (PGPASSWORD, ~/.pgpass).

    Raises:
        SweepError: there is none of that name, or the database does not answer.
    """
    storage = database.connect(url)
    studies = {s.study_name: s._study_id for s in storage.get_all_studies()}
    if name not in studies:
        raise SweepError(f"{url} holds no study {name}; it has {', '.join(sorted(studies)) or 'none'}")
    return Study(directory, storage, studies[name])


def facts(trial: FrozenTrial) -> dict[str, Value]:
    """What the task recorded."""
    return dict(trial.user_attrs.get("facts", {}))


def by_seed(trial: FrozenTrial) -> tuple[float, ...]:
    """The values whose mean the trial has, where configurations run on several seeds or folds."""
    return tuple(trial.user_attrs.get("by_seed", ()))


def reason(trial: FrozenTrial) -> str:
    """Why a trial failed; empty for others."""
    return str(trial.user_attrs.get("reason", ""))
