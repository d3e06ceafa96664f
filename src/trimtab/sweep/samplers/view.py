"""What the sampler may know when it proposes a trial: the outcomes that it was told, all later trials as running.

Under the schedule `reproducible` it is told those below a horizon that follows from the trial's number (`Units` in
together.py), whatever the true state of the others. So the table does not depend on which worker happened to be faster.
"""

from collections.abc import Sequence
from copy import copy

import optuna
from optuna.pruners import NopPruner
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from trimtab.sweep.samplers.sampler import OF_STUDY, Proposal, Sampler
from trimtab.sweep.settings import Direction
from trimtab.sweep.space.knobs import Space


class View:
    """A study in memory that lags behind the journal; `show` and `tell` rebuild it from there."""

    def __init__(self, directions: Sequence[Direction]) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._numbers: dict[int, int] = {}
        self._limits: set[str] = set()
        self._memory = InMemoryStorage()
        self._study = optuna.create_study(storage=self._memory, directions=list(directions), pruner=NopPruner())

    def warm(self, trials: Sequence[FrozenTrial]) -> None:
        """Adds completed trials of an earlier study; must come before all others."""
        for trial in trials:
            self._study.add_trial(trial)
            self._limits.update(trial.constraints)

    def show(self, trial: FrozenTrial) -> None:
        """Adds a trial as running."""
        if "outside" in trial.user_attrs:
            return
        attributes = {k: v for k, v in trial.system_attrs.items() if not k.startswith((OF_STUDY, "constraints:"))}
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=trial.params,
            distributions=trial.distributions,
            system_attrs=attributes,
        )
        self._numbers[trial.number] = self._count()
        self._study.add_trial(template)
        for key, value in trial.system_attrs.items():
            if key.startswith(OF_STUDY):
                self._study._storage.set_study_system_attr(self._study._study_id, key.removeprefix(OF_STUDY), value)

    def tell(self, trial: FrozenTrial) -> None:
        """Reveals the outcome of a trial that has ended; nothing if the sampler does not know of it.

        Past the sampler's `after_trial`, which would depend on which sampler happens to be there.
        """
        if trial.number not in self._numbers:
            return
        storage = self._study._storage
        key = storage.get_trial_id_from_study_id_trial_number(self._study._study_id, self._numbers[trial.number])
        self._reopen(key)
        if trial.state == TrialState.PRUNED:
            for step, value in trial.intermediate_values.items():
                storage.set_trial_intermediate_value(key, step, value)
        # A Gaussian process wants the same constraints of every trial.
        self._limits.update(trial.constraints)
        for name in sorted(self._limits) if trial.state == TrialState.COMPLETE else ():
            storage.set_trial_system_attr(key, f"constraints:{name}", trial.constraints.get(name, 0.0))
        values = trial.values if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) else None
        storage.set_trial_state_values(key, trial.state, values)

    def _reopen(self, key: int) -> None:
        """A trial that had paused, which counts as pruned, has got further meanwhile."""
        if (told := self._study._storage.get_trial(key)).state.is_finished():
            told = copy(told)
            told.state = TrialState.RUNNING
            self._memory._set_trial(key, told)

    def propose(self, sampler: Sampler, space: Space, seed: int, number: int, index: int) -> Proposal:
        """Asks the sampler for trial `number`, the `index`-th without the baseline and the points to try first."""
        before = self._count()
        proposal = sampler.propose(space, self._study, seed, index)
        if self._count() > before:
            self._numbers[number] = before
        return proposal

    def _count(self) -> int:
        return self._study._storage.get_n_trials(self._study._study_id)
