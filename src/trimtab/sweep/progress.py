"""How a sweep tells a person how it goes: a live table on a terminal, a line now and then elsewhere."""

import sys
import time
from collections import deque
from types import TracebackType
from typing import Any, Literal, Self

from optuna.trial import FrozenTrial, TrialState

from trimtab.sweep.preview import duration
from trimtab.sweep.store.pareto import join
from trimtab.sweep.store.study import Study, params, reason

EVERY_S = 30.0
LAST = 8


class Quiet:
    """A line at the start, one at the end, and one every half minute in between."""

    def __init__(self, total: int, workers: int) -> None:
        self.total, self.workers = total, workers
        self._begun = self._said = time.monotonic()
        self._before = self._done = self._failed = self._pruned = 0
        self._best: FrozenTrial | None = None
        self._front: list[FrozenTrial] = []

    def started(self, study: Study) -> None:
        """Counts what is there already."""
        self._before = self._done = len(study.finished)
        self._failed = sum(t.state == TrialState.FAIL for t in study.trials)
        self._pruned = sum(t.state == TrialState.PRUNED for t in study.trials)
        self._best, self._front = study.best, study.front if len(study.directions) > 1 else []
        self._begun = self._said = time.monotonic()
        paused = sum(t.state == TrialState.WAITING for t in study.trials)
        rest = max(0, self.total - self._done - paused)
        plan = f"{rest} trials to run" if rest else "nothing to do"
        plan += f" ({paused} paused)" if paused else ""
        self.say(f"study {study.name} in {study.directory}: {self._done} trials finished, {plan}")

    def finished(self, study: Study, trial: FrozenTrial) -> None:
        """Counts one more."""
        self._done += 1
        self._failed += trial.state == TrialState.FAIL
        self._pruned += trial.state == TrialState.PRUNED
        if trial.state == TrialState.COMPLETE:
            if len(study.directions) == 1:
                self._best = min(trial, self._best or trial, key=study.rank)
            else:
                self._front = join(self._front, trial, study.directions)
        self.changed(study, trial)

    def changed(self, study: Study, trial: FrozenTrial) -> None:
        """Shows the new state."""
        if time.monotonic() - self._said > EVERY_S:
            self._said = time.monotonic()
            self.say(self.line(study))

    def ended(self, study: Study) -> None:
        """The last line."""
        self.say(self.line(study))

    def line(self, study: Study) -> str:
        """How far, how well, how long."""
        failed = f", {self._pruned} pruned" if self._pruned else ""
        failed += f", {self._failed} failed" if self._failed else ""
        text = f"{self._done} of {max(self.total, self._done)} trials done{failed}{self._found(study)}"
        left = self._left_s()
        return f"{text}, {duration(left)} left" if left else text

    def say(self, text: str) -> None:
        """Prints a line."""
        print(text, flush=True)

    def _found(self, study: Study) -> str:
        if self._front:
            return f"; {len(self._front)} trials on the Pareto front"
        if self._best is None:
            return ""
        base = study.baseline
        against = "" if base is None or base.value is None else f", baseline {base.value:.6g}"
        return f"; best {self._best.value:.6g} (trial {self._best.number}{against})"

    def _left_s(self) -> float:
        run = self._done - self._before
        rest = self.total - self._done
        return (time.monotonic() - self._begun) / run * rest if run and rest > 0 else 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None


class Silent(Quiet):
    """Says nothing."""

    def say(self, text: str) -> None:
        """Nothing."""


class Live(Quiet):
    """A table of the last trials under a line of totals, redrawn in place by rich."""

    def __init__(self, total: int, workers: int) -> None:
        super().__init__(total, workers)
        from rich.live import Live as Screen

        self._last: deque[FrozenTrial] = deque(maxlen=LAST)
        self._study: Study | None = None
        self._screen = Screen(get_renderable=self._draw, refresh_per_second=4)

    def started(self, study: Study) -> None:
        """Begins to draw."""
        super().started(study)
        self._last.extend(study.finished[-LAST:])
        self._study = study

    def changed(self, study: Study, trial: FrozenTrial) -> None:
        """Adds the trial to the table."""
        self._last.append(trial)

    def _draw(self) -> Any:
        from rich.console import Group
        from rich.table import Table

        if self._study is None:
            return ""
        table = Table("trial", "state", "value", "knobs", box=None, expand=False)
        for trial in self._last:
            value = ", ".join(f"{v:.6g}" for v in trial.values or ()) or reason(trial)
            knobs = ", ".join(f"{k}={_short(v)}" for k, v in params(trial).items())
            table.add_row(str(trial.number), trial.state.name.lower(), value, knobs)
        running = sum(t.state == TrialState.RUNNING for t in self._study.trials[-64:])
        return Group(table, f"{self.line(self._study)}; {running} running")

    def __enter__(self) -> Self:
        self._screen.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._screen.stop()


def display(kind: Literal["auto", "live", "quiet", "none"], total: int, workers: int) -> Quiet:
    """The display asked for; `auto` is live on a terminal that rich can draw on."""
    if kind == "none":
        return Silent(total, workers)
    if kind == "live" or (kind == "auto" and sys.stdout.isatty()):
        try:
            return Live(total, workers)
        except ImportError:
            return Quiet(total, workers)
    return Quiet(total, workers)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
