"""What the sampler may know when it proposes trial n: the schedule `reproducible`.

It sees the outcomes of trials up to n - lag; the later ones run, whatever their true state. So the
table does not depend on which worker happened to be faster, as long as there are at most `lag`.
"""

from collections.abc import Sequence

import optuna
from optuna.pruners import NopPruner
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from trimtab.sweep.samplers import Proposal, Sampler
from trimtab.sweep.settings import Direction
from trimtab.sweep.space import Space


class View:
    """A study in memory that lags behind the journal; `show` and `advance` rebuild it from there."""

    def __init__(self, directions: Sequence[Direction], lag: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._lag = lag
        self._told = 0
        self._numbers: dict[int, int] = {}
        self._study = optuna.create_study(storage=InMemoryStorage(), directions=list(directions), pruner=NopPruner())

    def horizon(self, number: int) -> int:
        """Trials below this must have ended before `number` can be proposed."""
        return max(0, number - self._lag + 1)

    def show(self, trial: FrozenTrial) -> None:
        """Adds a trial as running."""
        if "outside" not in trial.user_attrs:
            template = optuna.trial.create_trial(
                state=TrialState.RUNNING,
                params=trial.params,
                distributions=trial.distributions,
                system_attrs=trial.system_attrs,
            )
            self._study.add_trial(template)
            self._numbers[trial.number] = len(self._numbers)

    def advance(self, trials: list[FrozenTrial], number: int) -> None:
        """Reveals the outcomes that trial `number` may see, in order of number."""
        for trial in trials[self._told : self.horizon(number)]:
            if trial.number in self._numbers:
                values = trial.values if trial.state == TrialState.COMPLETE else None
                self._show_last_report(trial)
                self._study.tell(self._numbers[trial.number], values, state=trial.state)
        self._told = max(self._told, self.horizon(number))

    def _show_last_report(self, trial: FrozenTrial) -> None:
        """Of a pruned trial, by which samplers rank it."""
        if trial.state == TrialState.PRUNED and trial.last_step is not None:
            shown = self._study.get_trials(deepcopy=False)[self._numbers[trial.number]]
            value = trial.intermediate_values[trial.last_step]
            self._study._storage.set_trial_intermediate_value(shown._trial_id, trial.last_step, value)

    def propose(self, sampler: Sampler, space: Space, seed: int, number: int, index: int) -> Proposal:
        """Asks the sampler for trial `number`, the `index`-th without the baseline."""
        before = len(self._study.get_trials(deepcopy=False))
        proposal = sampler.propose(space, self._study, seed, index)
        if len(self._study.get_trials(deepcopy=False)) > before:
            self._numbers[number] = before
        return proposal
