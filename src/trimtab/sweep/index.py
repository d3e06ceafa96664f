"""The trials of a study in memory, with what would otherwise cost a pass over all of them whenever one ends."""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from trimtab.sweep.pareto import excess, losses
from trimtab.sweep.settings import Direction


class Index:
    """Every list is kept in order and must not be changed by others.

    Attributes:
        trials: all, by number.
        ended: those that have ended, in the order in which this process learnt of it.
        finished: the same, by number.
        completed: the completed ones, by number.
        ranked: the completed ones of a study with one objective, the best first.
        failures: failed trials by reason.
    """

    def __init__(self, directions: Sequence[Direction], trials: Iterable[FrozenTrial] = ()) -> None:
        self.directions = tuple(directions)
        self.trials: list[FrozenTrial] = []
        self.ended: list[FrozenTrial] = []
        self.finished: list[FrozenTrial] = []
        self.completed: list[FrozenTrial] = []
        self.ranked: list[FrozenTrial] = []
        self.failures: Counter[str] = Counter()
        for trial in trials:
            self.put(trial)

    def put(self, trial: FrozenTrial) -> FrozenTrial:
        """Adds a trial, or takes its newer state."""
        if trial.number == len(self.trials):
            self.trials.append(trial)
        elif self.trials[trial.number].state.is_finished():
            return trial
        else:
            self.trials[trial.number] = trial
        if trial.state.is_finished():
            self._end(trial)
        return trial

    def rank(self, trial: FrozenTrial) -> tuple[float | int, ...]:
        """What sorts a completed trial of a study with one objective: less is better."""
        return (excess(trial), *losses(trial, self.directions), trial.number)

    def _end(self, trial: FrozenTrial) -> None:
        self.ended.append(trial)
        _insert(self.finished, trial, _number)
        if trial.state == TrialState.COMPLETE:
            _insert(self.completed, trial, _number)
            if len(self.directions) == 1:
                _insert(self.ranked, trial, self.rank)
        elif trial.state == TrialState.FAIL:
            self.failures[str(trial.user_attrs.get("reason", ""))] += 1


def _number(trial: FrozenTrial) -> int:
    return trial.number


def _insert(trials: list[FrozenTrial], trial: FrozenTrial, key: Callable[[FrozenTrial], Any]) -> None:
    if trials and key(trials[-1]) < key(trial):
        trials.append(trial)
    else:
        insort(trials, trial, key=key)


def below(trials: Sequence[FrozenTrial], number: int) -> int:
    """How many of these trials, sorted by number, have a lower one."""
    return bisect_left(trials, number, key=_number)
