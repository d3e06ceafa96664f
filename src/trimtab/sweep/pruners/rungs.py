"""Successive halving without waiting: at each rung a trial must be among the best 1/eta that got there.

ASHA (Li et al. 2020, https://arxiv.org/abs/1810.05934; by default its stopping variant, as in Optuna) and Hyperband
(Li et al. 2018, https://jmlr.org/papers/v18/16-558.html), whose brackets begin at later rungs of the same ladder.
Optuna's classes keep rungs in the storage while a trial runs, which neither a worker without storage nor a rerun could
do.
"""

from bisect import insort
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count, repeat, takewhile
from math import ceil, inf, isnan
from typing import ClassVar

from optuna.trial import FrozenTrial, TrialState

from trimtab.errors import SweepError
from trimtab.sweep.context import Rule
from trimtab.sweep.pruners.pruner import History
from trimtab.sweep.settings import Direction

Bracket = Callable[[int], int]
"""The rung, counted from 0, at which a trial of this number is judged first."""


@dataclass(frozen=True)
class Asha:
    """Ends a trial at step min_step · eta^k unless it is among the best 1/eta of the trials that got there.

    Attributes:
        min_step: the first rung; no trial ends before it.
        max_step: the last step that a trial reports, where nobody need be ended any more; None if unknown.
        reduction_factor: eta, the share of trials that a rung lets pass is 1/eta.
        pause: a trial pauses at each rung and goes on as soon as it is among the best 1/eta there, rather than being
            judged once by those that came before. For tasks that keep a checkpoint in `trimtab.checkpoint_dir()`.
    """

    idle: ClassVar[bool] = False
    min_step: int = 1
    max_step: int | None = None
    reduction_factor: int = 3
    pause: bool = False

    def check(self) -> None:
        """See `Pruner`."""
        _at_least("min_step", self.min_step, 1)
        _at_least("reduction_factor", self.reduction_factor, 2)
        if self.max_step is not None:
            _at_least("max_step", self.max_step, self.min_step)

    def history(self, direction: Direction) -> History:
        """See `Pruner`."""
        return self.bracketed(direction, lambda number: 0)

    def bracketed(self, direction: Direction, bracket: Bracket) -> History:
        """The history where some trials are first judged at later rungs."""
        kind = _Pauses if self.pause else _Rungs
        return kind(Ladder(self.min_step, self.reduction_factor, self.max_step), direction, bracket)


@dataclass(frozen=True)
class Hyperband:
    """ASHA in brackets: some trials are judged at the first rung already, some at the second first, and so on.

    A trial's number says which bracket it is in. The rungs are common to all (as in Syne Tune): a trial of a later
    bracket must hold its own against those that came through from the earlier ones.

    Attributes:
        min_step: the first rung of the harshest bracket.
        max_step: the last step that a trial reports.
        reduction_factor: eta.
        brackets: how many, the harshest first; null is all of the paper's, the last of which ends nobody.
        pause: see `Asha`.
    """

    idle: ClassVar[bool] = False
    min_step: int = 1
    max_step: int | None = None
    reduction_factor: int = 3
    brackets: int | None = None
    pause: bool = False

    def check(self) -> None:
        """See `Pruner`."""
        self._asha.check()
        if self.max_step is None:
            raise SweepError(
                "hydra/sweeper/pruner=hyperband needs the last step that a trial reports; set "
                "hydra.sweeper.pruner.max_step to it"
            )
        if self.brackets is not None:
            _at_least("brackets", self.brackets, 1)

    def history(self, direction: Direction) -> History:
        """See `Pruner`."""
        self.check()
        return self._asha.bracketed(direction, self.bracket)

    def bracket(self, number: int) -> int:
        """The bracket of trial `number`; 0 is the harshest."""
        return self._cycle[number % len(self._cycle)]

    @property
    def _asha(self) -> Asha:
        return Asha(self.min_step, self.max_step, self.reduction_factor, self.pause)

    @cached_property
    def _sizes(self) -> list[int]:
        """Trials per bracket in one round of Hyperband, so that each gets about as many steps."""
        last = 0
        while self.min_step * self.reduction_factor ** (last + 1) <= (self.max_step or 0):
            last += 1
        sizes = [ceil((last + 1) * self.reduction_factor**s / (s + 1)) for s in range(last, -1, -1)]
        return sizes[: self.brackets]

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
        return [sign * reports[min(s for s in reports if s >= rung)] for rung in self._rungs(max(reports))]

    def count(self, step: int) -> int:
        """How many rungs there are up to a step."""
        return sum(1 for _ in self._rungs(step))

    def _rungs(self, step: int) -> Iterator[int]:
        top = step if self.end is None else min(step, self.end - 1)
        return takewhile(lambda rung: rung <= top, (self.first * self.factor**k for k in count()))


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


class _Rungs(History):
    """The losses of the trials that got to each rung, from the first that their bracket judges at."""

    def __init__(self, ladder: Ladder, direction: Direction, bracket: Bracket) -> None:
        self._ladder, self._bracket = ladder, bracket
        self._sign = -1 if direction == "maximize" else 1
        self._rungs: list[list[float]] = []

    def learn(self, trial: FrozenTrial) -> None:
        """See `History`."""
        if trial.state == TrialState.FAIL or not trial.intermediate_values:
            return
        for rung, loss in enumerate(self._ladder.losses(trial.intermediate_values, self._sign)):
            if rung == len(self._rungs):
                self._rungs.append([])
            if rung >= self._bracket(trial.number) and not isnan(loss):
                insort(self._rungs[rung], loss)

    def rule(self, number: int, paused_at: int | None = None) -> Rule | None:
        """See `History`."""
        spared = self._bracket(number)
        cutoffs = map(self._cutoff, self._rungs[spared:])
        return _Judged(self._ladder, (*repeat(inf, spared), *cutoffs), self._sign)

    def _cutoff(self, losses: list[float]) -> float:
        """The loss that the best 1/eta keep to, the trial to be judged counted among them, and one at least."""
        passing = max((len(losses) + 1) // self._ladder.factor, 1)
        return losses[passing - 1] if passing <= len(losses) else inf


@dataclass(frozen=True)
class _Pause:
    """Makes a trial pause at the next rung above those that it has passed or that its bracket skips."""

    ladder: Ladder
    passed: int

    def prunes(self, reports: Mapping[int, float]) -> bool:
        """See `Rule`."""
        return self.ladder.count(max(reports)) > self.passed


class _Pauses(History):
    """Who got to each rung with which loss, and may leave it upwards (Li et al. 2020, algorithm 2).

    A rung that fewer than eta have reached lets nobody pass, so a small study would finish nobody but its baseline: in
    the end the best of the highest rung goes on until one has, as in successive halving.
    """

    pauses = True

    def __init__(self, ladder: Ladder, direction: Direction, bracket: Bracket) -> None:
        self._ladder, self._bracket = ladder, bracket
        self._sign = -1 if direction == "maximize" else 1
        self._rungs: list[list[tuple[float, int]]] = []
        self._waiting: list[list[tuple[float, int]]] = []  # those of each rung that have got no further
        self._at: dict[int, tuple[int, int]] = {}  # by trial: how many rungs it has reached, and its last step
        self._finished = False  # anybody but the baseline

    def learn(self, trial: FrozenTrial) -> None:
        """See `History`; a report that is no number counts as the worst."""
        self._finished |= trial.state == TrialState.COMPLETE and not trial.user_attrs.get("baseline")
        if trial.state == TrialState.FAIL or not trial.intermediate_values:
            return
        losses = self._ladder.losses(trial.intermediate_values, self._sign)
        there = [(inf if isnan(loss) else loss, trial.number) for loss in losses]
        known, _ = self._at.get(trial.number, (0, 0))
        for rung, entry in enumerate(there):
            if rung == len(self._rungs):
                self._rungs.append([])
                self._waiting.append([])
            if rung >= max(known, self._bracket(trial.number)):
                insort(self._rungs[rung], entry)
        if known and there[known - 1] in self._waiting[known - 1]:
            self._waiting[known - 1].remove(there[known - 1])
        if there and trial.state != TrialState.COMPLETE and there[-1][0] < inf:
            insort(self._waiting[len(there) - 1], there[-1])
        self._at[trial.number] = len(there), max(trial.intermediate_values)

    def rule(self, number: int, paused_at: int | None = None) -> Rule | None:
        """See `History`."""
        passed = 0 if paused_at is None else self._ladder.count(paused_at)
        return _Pause(self._ladder, max(passed, self._bracket(number)))

    def promotions(self, *, last: bool = False) -> Iterator[tuple[int, int]]:
        """From the highest rung downwards, the best of each first."""
        if last:
            best = next((waiting[0] for waiting in reversed(self._waiting) if waiting), None)
            if best is not None and not self._finished:
                yield best[1], self._at[best[1]][1]
            return
        for there, waiting in zip(reversed(self._rungs), reversed(self._waiting), strict=True):
            passing = len(there) // self._ladder.factor
            for entry in waiting if passing else ():
                if entry > there[passing - 1]:
                    break
                yield entry[1], self._at[entry[1]][1]


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise SweepError(f"hydra.sweeper.pruner.{name} must be at least {least} but is {value}; raise it")
