"""The trials of a study in memory, with what would otherwise cost a pass over all of them whenever one ends."""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Sequence

from optuna.trial import FrozenTrial, TrialState

from trimtab.sweep.settings import Direction
from trimtab.sweep.store.pareto import excess, losses

Rank = tuple[float | int, ...]


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
        self._ranks: list[Rank] = []
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

    def rank(self, trial: FrozenTrial) -> Rank:
        """What sorts a completed trial of a study with one objective: less is better."""
        return (excess(trial), *losses(trial, self.directions), trial.number)

    def _end(self, trial: FrozenTrial) -> None:
        self.ended.append(trial)
        insort(self.finished, trial, key=_number)
        if trial.state == TrialState.COMPLETE:
            insort(self.completed, trial, key=_number)
            if len(self.directions) == 1:
                self._place(trial)
        elif trial.state == TrialState.FAIL:
            self.failures[str(trial.user_attrs.get("reason", ""))] += 1

    def _place(self, trial: FrozenTrial) -> None:
        rank = self.rank(trial)
        place = bisect_left(self._ranks, rank)
        self._ranks.insert(place, rank)
        self.ranked.insert(place, trial)


def _number(trial: FrozenTrial) -> int:
    return trial.number
