"""When a sweep gives up: `hydra.sweeper.max_failure_rate` and `give_up_after`."""

import re

from optuna.trial import FrozenTrial, TrialState

from trimtab.errors import SweepError
from trimtab.sweep.store.study import Study, reason


class FailureRate:
    """A watcher that ends the sweep once more of the `total` trials have failed than `rate` allows.

    The official Optuna sweeper asks that of each batch; here there are none.
    """

    def __init__(self, rate: float, total: int) -> None:
        self._rate, self._total = rate, total
        self._failed = 0

    def started(self, study: Study) -> None:
        """Counts those of earlier sweeps."""
        self._failed = sum(study.failures.values())

    def finished(self, study: Study, trial: FrozenTrial) -> None:
        """Raises SweepError at the failure that is one too many."""
        if trial.state != TrialState.FAIL:
            return
        self._failed += 1
        if self._failed > self._rate * self._total:
            raise SweepError(
                f"{self._failed} of {self._total} trials failed, more than hydra.sweeper.max_failure_rate={self._rate} "
                f"allows; the last, trial {trial.number}, by: {reason(trial)}"
            )

    def ended(self, study: Study) -> None:
        """Nothing is left to be said."""


class AlikeFailures:
    """A watcher that ends the sweep if its `first` trials have all failed by the same error; 0 is never.

    Numbers in the error's text may differ: shapes and addresses do from trial to trial.
    """

    def __init__(self, first: int) -> None:
        self._first = first

    def started(self, study: Study) -> None:
        """A study that has begun so is not worth going on with."""
        self._refuse(study)

    def finished(self, study: Study, trial: FrozenTrial) -> None:
        """Raises SweepError at the last of the first failures."""
        if trial.state == TrialState.FAIL:
            self._refuse(study)

    def ended(self, study: Study) -> None:
        """Nothing is left to be said."""

    def _refuse(self, study: Study) -> None:
        first = study.trials[: self._first]
        if not first or len(first) < self._first or any(t.state != TrialState.FAIL for t in first):
            return
        if len({re.sub(r"[0-9.]+|0x[0-9a-f]+", "#", reason(t)) for t in first}) == 1:
            raise SweepError(
                f"the first {self._first} trials all failed by the same error: {reason(first[0])}; mend it, then sweep "
                f"in another directory (hydra.sweep.dir) or remove {study.directory}; trial 0's log is in "
                f"{study.folder(first[0])} (hydra.sweeper.give_up_after)"
            )
