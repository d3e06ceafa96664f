"""Successive halving without waiting: at each rung a trial must be among the best 1/eta that got there.

ASHA (Li et al. 2020, https://arxiv.org/abs/1810.05934, its stopping variant) and Hyperband (Li et al. 2018,
https://jmlr.org/papers/v18/16-558.html) as brackets of it. Optuna's classes keep rungs in the storage while a trial
runs, which neither a worker without storage nor a rerun could do.
"""

from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count, repeat, takewhile
from math import ceil, inf, isnan
from typing import ClassVar

from optuna.trial import FrozenTrial, TrialState

from trimtab.errors import SweepError
from trimtab.sweep.context import Rule
from trimtab.sweep.pruners import History
from trimtab.sweep.settings import Direction


@dataclass(frozen=True)
class Asha:
    """Ends a trial at step min_step · eta^k unless it is among the best 1/eta of the trials that got there.

    Attributes:
        min_step: the first rung; no trial ends before it.
        max_step: the last step that a trial reports, where nobody need be ended any more; None if unknown.
        reduction_factor: eta, the share of trials that a rung lets pass is 1/eta.
    """

    idle: ClassVar[bool] = False
    min_step: int = 1
    max_step: int | None = None
    reduction_factor: int = 3

    def check(self) -> None:
        """See `Pruner`."""
        _at_least("min_step", self.min_step, 1)
        _at_least("reduction_factor", self.reduction_factor, 2)
        if self.max_step is not None:
            _at_least("max_step", self.max_step, self.min_step)

    def history(self, direction: Direction) -> History:
        """See `Pruner`."""
        return _Rungs(Ladder(self.min_step, self.reduction_factor, self.max_step), direction)


@dataclass(frozen=True)
class Hyperband:
    """Several ASHAs, their first rungs at min_step, min_step · eta …; a trial's number says which it is in.

    Attributes:
        min_step: the first rung of the harshest bracket.
        max_step: the last step that a trial reports.
        reduction_factor: eta.
    """

    idle: ClassVar[bool] = False
    min_step: int = 1
    max_step: int | None = None
    reduction_factor: int = 3

    def check(self) -> None:
        """See `Pruner`."""
        Asha(self.min_step, self.max_step, self.reduction_factor).check()
        if self.max_step is None:
            raise SweepError(
                "hydra/sweeper/pruner=hyperband needs the last step that a trial reports; set "
                "hydra.sweeper.pruner.max_step to it"
            )

    def history(self, direction: Direction) -> History:
        """See `Pruner`."""
        self.check()
        firsts = (self.min_step * self.reduction_factor**b for b in range(len(self._sizes)))
        ladders = [Ladder(first, self.reduction_factor, self.max_step) for first in firsts]
        return _Brackets(self, [_Rungs(ladder, direction) for ladder in ladders])

    def bracket(self, number: int) -> int:
        """The bracket of trial `number`; 0 is the harshest."""
        return self._cycle[number % len(self._cycle)]

    @cached_property
    def _sizes(self) -> list[int]:
        """Trials per bracket in one round of Hyperband, so that each gets about as many steps."""
        last = 0
        while self.min_step * self.reduction_factor ** (last + 1) <= (self.max_step or 0):
            last += 1
        return [ceil((last + 1) * self.reduction_factor**s / (s + 1)) for s in range(last, -1, -1)]

    @cached_property
    def _cycle(self) -> list[int]:
        """One round, the brackets mixed evenly: a small study has its share of each."""
        total, given = sum(self._sizes), [0] * len(self._sizes)
        cycle = []
        for n in range(1, total + 1):
            lacking = [size * n / total - have for size, have in zip(self._sizes, given, strict=True)]
            bracket = max(range(len(given)), key=lambda b: (lacking[b], -b))
            given[bracket] += 1
            cycle.append(bracket)
        return cycle


@dataclass(frozen=True)
class Ladder:
    """The steps first, first · factor, first · factor² … below `end`."""

    first: int
    factor: int
    end: int | None

    def losses(self, reports: Mapping[int, float], sign: int) -> list[float]:
        """The loss at each rung reached: that of the first report at or above it, times `sign`."""
        last = max(reports)
        top = last if self.end is None else min(last, self.end - 1)
        rungs = takewhile(lambda step: step <= top, (self.first * self.factor**k for k in count()))
        return [sign * reports[min(s for s in reports if s >= rung)] for rung in rungs]


@dataclass(frozen=True)
class _Judged:
    """What one trial is judged by.

    Attributes:
        cutoffs: by rung, the largest loss that passes; above the last one everything passes but NaN.
        sign: makes a loss of a report.
    """

    ladder: Ladder
    cutoffs: tuple[float, ...]
    sign: int

    def prunes(self, reports: Mapping[int, float]) -> bool:
        """See `Rule`. All rungs so far are looked at: those passed before are passed again."""
        losses = self.ladder.losses(reports, self.sign)
        return any(isnan(a) or a > b for a, b in zip(losses, chain(self.cutoffs, repeat(inf)), strict=False))


class _Rungs:
    """The losses of the trials that got to each rung."""

    def __init__(self, ladder: Ladder, direction: Direction) -> None:
        self._ladder = ladder
        self._sign = -1 if direction == "maximize" else 1
        self._rungs: list[list[float]] = []

    def learn(self, trial: FrozenTrial) -> None:
        """See `History`."""
        if trial.state == TrialState.FAIL or not trial.intermediate_values:
            return
        for rung, loss in enumerate(self._ladder.losses(trial.intermediate_values, self._sign)):
            if rung == len(self._rungs):
                self._rungs.append([])
            if not isnan(loss):
                insort(self._rungs[rung], loss)

    def rule(self, number: int) -> Rule | None:
        """See `History`."""
        return _Judged(self._ladder, tuple(map(self._cutoff, self._rungs)), self._sign)

    def _cutoff(self, losses: list[float]) -> float:
        """The loss that the best 1/eta keep to, the trial to be judged counted among them, and one at least."""
        passing = max((len(losses) + 1) // self._ladder.factor, 1)
        return losses[passing - 1] if passing <= len(losses) else inf


class _Brackets:
    """A history per bracket."""

    def __init__(self, settings: Hyperband, brackets: list[_Rungs]) -> None:
        self._settings, self._brackets = settings, brackets

    def learn(self, trial: FrozenTrial) -> None:
        """See `History`."""
        self._brackets[self._settings.bracket(trial.number)].learn(trial)

    def rule(self, number: int) -> Rule | None:
        """See `History`."""
        return self._brackets[self._settings.bracket(number)].rule(number)


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise SweepError(f"hydra.sweeper.pruner.{name} must be at least {least} but is {value}; raise it")
