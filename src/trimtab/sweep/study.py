"""A study as stages, reports and callbacks see it: read only."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from trimtab.errors import SweepError
from trimtab.sweep.journal import FILE, Journal, JournalFile
from trimtab.sweep.pareto import excess, layers, losses
from trimtab.sweep.settings import Direction

Value = None | bool | int | float | str


class Study:
    """What a sweep has found so far.

    Attributes:
        directory: where journal, tables and the trials' folders lie.
        name: the study's name, by default its fingerprint.
        directions: whether small or large values are good, one per objective.
        direction: the first of them, for studies of one objective.
        attributes: `fingerprint`, `pieces`, `knobs` (kind, range, role, condition by name), `seed`.
    """

    def __init__(self, directory: Path, storage: JournalStorage, study_id: int) -> None:
        self._storage = storage
        self._id = study_id
        self.directory = directory
        self.name: str = storage.get_study_name_from_id(study_id)
        self.directions: tuple[Direction, ...] = tuple(
            "maximize" if d == StudyDirection.MAXIMIZE else "minimize" for d in storage.get_study_directions(study_id)
        )
        self.direction: Direction = self.directions[0]
        self.attributes: Mapping[str, Any] = storage.get_study_user_attrs(study_id)

    @classmethod
    def of(cls, journal: Journal, directory: Path) -> "Study":
        """The live view of a study that is being swept."""
        return cls(directory, journal.storage, journal.study_id)

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials in order of number; not to be changed."""
        return self._storage.get_all_trials(self._id, deepcopy=False)

    @property
    def finished(self) -> list[FrozenTrial]:
        """Those that have ended, failed ones included."""
        return [t for t in self.trials if t.state.is_finished()]

    @property
    def ranked(self) -> list[FrozenTrial]:
        """The completed trials, the best first; of equal ones the lower number first.

        Those that break a constraint come last. Several objectives: by layers, the Pareto front first.
        """
        completed = [t for t in self.trials if t.state == TrialState.COMPLETE]
        if len(self.directions) == 1:
            return sorted(completed, key=self.rank)
        ranks = layers(completed, self.directions)
        return [t for _, t in sorted(zip(ranks, completed, strict=True), key=lambda pair: (pair[0], pair[1].number))]

    @property
    def best(self) -> FrozenTrial | None:
        """The first of `ranked`; None too with several objectives, or if every trial breaks a constraint."""
        first = next(iter(self.ranked), None)
        return first if first is not None and len(self.directions) == 1 and not excess(first) else None

    @property
    def front(self) -> list[FrozenTrial]:
        """The completed trials that keep their constraints and that no other beats in every objective."""
        completed = [t for t in self.trials if t.state == TrialState.COMPLETE and not excess(t)]
        return [t for t, rank in zip(completed, layers(completed, self.directions), strict=True) if rank == 0]

    def rank(self, trial: FrozenTrial) -> tuple[float, float, int]:
        """What sorts a completed trial of a study with one objective: less is better."""
        return (excess(trial), *losses(trial, self.directions), trial.number)  # type: ignore[return-value]

    @property
    def baseline(self) -> FrozenTrial | None:
        """Trial 0 if it ran without swept overrides."""
        first = self.trials[:1]
        return first[0] if first and first[0].user_attrs.get("baseline") else None

    @property
    def failures(self) -> dict[str, int]:
        """How many trials failed, by reason, the commonest first."""
        counts: dict[str, int] = {}
        for trial in self.trials:
            if trial.state == TrialState.FAIL:
                counts[reason(trial)] = counts.get(reason(trial), 0) + 1
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

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
    raise SweepError(f"{directory} holds no study ({FILE}); run the sweep first")


def params(trial: FrozenTrial) -> dict[str, Value]:
    """The values of the knobs, also those of a baseline outside the space."""
    outside: dict[str, Value] = trial.user_attrs.get("outside", trial.params)
    return outside


def facts(trial: FrozenTrial) -> dict[str, Value]:
    """What the task recorded."""
    return dict(trial.user_attrs.get("facts", {}))


def reason(trial: FrozenTrial) -> str:
    """Why a trial failed; empty for others."""
    return str(trial.user_attrs.get("reason", ""))
