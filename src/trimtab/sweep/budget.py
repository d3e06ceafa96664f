"""When a study has had enough: trials, minutes or a target value, whichever is first."""

import time
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from trimtab.sweep.settings import Settings
from trimtab.sweep.store.journal import Journal
from trimtab.sweep.store.pareto import excess


class Budget:
    """Minutes are those that the study has been swept for, over all calls; they and a target stop the asking.

    Trials that run are finished. Under `reproducible` a target counts once the next trial may see it, so that the
    table does not depend on the workers; up to lag - 1 trials come after it.

    Attributes:
        spent: why there will be no further trial; empty as long as there may be.
    """

    def __init__(self, journal: Journal, settings: Settings, total: int) -> None:
        self._journal, self._settings, self._total = journal, settings, total
        self._marked = time.monotonic()
        self._looked = 0
        self.spent = ""

    def look(self, trials: Sequence[FrozenTrial], end: int | None = None) -> None:
        """Takes note of trials below `end` that have ended; those looked at before are skipped."""
        end = len(trials) if end is None else end
        for trial in trials[self._looked : end]:
            if not self.spent and self._reaches(trial):
                self.spent = f"trial {trial.number} has reached the target {self._settings.target:g}"
        self._looked = max(self._looked, end)

    def allows(self, number: int) -> bool:
        """Whether trial `number` may be started."""
        minutes = self._settings.minutes
        if minutes is not None and not self.spent and self.seconds() >= 60 * minutes:
            self.spent = f"{minutes:g} minutes are spent"
        return number < self._total and not self.spent

    def seconds(self) -> float:
        """How long the study has been swept."""
        return self._journal.spent_s + time.monotonic() - self._marked

    def mark(self) -> None:
        """Writes down the time that was spent since the last call, where it matters."""
        if self._settings.minutes is not None:
            now = time.monotonic()
            self._journal.spend(now - self._marked)
            self._marked = now

    def _reaches(self, trial: FrozenTrial) -> bool:
        target = self._settings.target
        if target is None or trial.state != TrialState.COMPLETE or excess(trial):
            return False
        value = trial.values[0]
        return bool(value >= target if self._settings.directions[0] == "maximize" else value <= target)
