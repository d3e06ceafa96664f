"""`hydra.sweeper.keep_trials`: of many trials only the best keep their directories."""

import shutil

from optuna.trial import FrozenTrial

from trimtab.sweep.store.study import Study


class KeepBest:
    """A watcher that removes the directories of trials that are not among the best `keep`; the baseline's stays."""

    def __init__(self, keep: int) -> None:
        self._keep = keep

    def started(self, study: Study) -> None:
        """Removes what an earlier call kept."""
        kept = {t.number for t in study.ranked[: self._keep]}
        for trial in study.finished:
            if trial.number not in kept:
                self._remove(study, trial)

    def finished(self, study: Study, trial: FrozenTrial) -> None:
        """Removes the directory of the one that is now one too many."""
        ranked = study.ranked
        pushed_out = ranked[self._keep : self._keep + 1]
        if trial not in ranked[: self._keep]:
            pushed_out = [*pushed_out, trial]
        for one in pushed_out:
            self._remove(study, one)

    def ended(self, study: Study) -> None:
        """Nothing is left to do."""

    def _remove(self, study: Study, trial: FrozenTrial) -> None:
        if trial is not study.baseline:
            shutil.rmtree(study.folder(trial), ignore_errors=True)
