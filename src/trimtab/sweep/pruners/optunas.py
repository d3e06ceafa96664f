"""Optuna's pruners: of the finished trials they need one number per step, so that cost does not grow with the study."""

import warnings
from bisect import insort
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isnan
from typing import ClassVar

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, MedianPruner, PatientPruner, ThresholdPruner
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from trimtab.errors import SweepError
from trimtab.sweep.context import Rule
from trimtab.sweep.pruners.pruner import History, Pruner
from trimtab.sweep.settings import Direction


@dataclass(frozen=True)
class Median:
    """Ends a trial whose best report so far is worse than the median, at this step, of the completed trials.

    Attributes:
        startup_trials: completed trials that must be there before any is pruned.
        warmup_steps: no trial is pruned before this step.
        interval_steps: steps between two looks.
        min_trials: reports of a step that must be there before a trial is judged at it.
    """

    idle: ClassVar[bool] = False
    startup_trials: int = 5
    warmup_steps: int = 0
    interval_steps: int = 1
    min_trials: int = 1

    def check(self) -> None:
        """See `Pruner`."""
        _checked(self._criterion)

    def history(self, direction: Direction) -> History:
        """See `Pruner`."""
        return _Medians(self, _checked(self._criterion), direction)

    def _criterion(self) -> BasePruner:
        settings = self.startup_trials, self.warmup_steps, self.interval_steps
        return MedianPruner(*settings, n_min_trials=self.min_trials)


@dataclass(frozen=True)
class Threshold:
    """Ends a trial whose report lies outside of limits, or is no number.

    Attributes:
        lower: the smallest report that goes on.
        upper: the largest.
        warmup_steps: no trial is pruned before this step.
        interval_steps: steps between two looks.
    """

    idle: ClassVar[bool] = False
    lower: float | None = None
    upper: float | None = None
    warmup_steps: int = 0
    interval_steps: int = 1

    def check(self) -> None:
        """See `Pruner`."""
        _checked(self._criterion)

    def history(self, direction: Direction) -> History:
        """Remembers nothing."""
        return _Alone(_Criterion(_checked(self._criterion), direction))

    def _criterion(self) -> BasePruner:
        return ThresholdPruner(self.lower, self.upper, self.warmup_steps, self.interval_steps)


@dataclass(frozen=True)
class Patient:
    """Ends a trial that has not become better for a while; with `wrapped`, only if that would end it, too.

    Attributes:
        patience: reports without improvement that are borne.
        min_delta: how much worse than before the latest reports must be.
        wrapped: another pruner.
    """

    idle: ClassVar[bool] = False
    patience: int = 5
    min_delta: float = 0.0
    wrapped: Pruner | None = None

    def check(self) -> None:
        """See `Pruner`."""
        _checked(self._criterion)
        if self.wrapped is not None:
            self.wrapped.check()
            if self.wrapped.history("minimize").pauses:
                raise SweepError("hydra.sweeper.pruner.wrapped cannot pause trials; set its `pause` to false")

    def history(self, direction: Direction) -> History:
        """That of the wrapped pruner."""
        own = _Criterion(_checked(self._criterion), direction)
        return _Alone(own) if self.wrapped is None else _Both(own, self.wrapped.history(direction))

    def _criterion(self) -> BasePruner:
        return PatientPruner(None, self.patience, self.min_delta)


def _checked(criterion: Callable[[], BasePruner]) -> BasePruner:
    """Makes one of Optuna's pruners.

    Raises:
        SweepError: it refuses its settings.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return criterion()
    except (TypeError, ValueError) as e:
        raise SweepError(f"hydra.sweeper.pruner cannot be used: {str(e).rstrip('.')}; correct that setting") from e


@dataclass(frozen=True)
class _Criterion:
    """One of Optuna's pruners, before a study in which one completed trial stands for all.

    Attributes:
        reference: that trial's reports; None if there is none.
    """

    pruner: BasePruner
    direction: Direction
    reference: Mapping[int, float] | None = None

    def prunes(self, reports: Mapping[int, float]) -> bool:
        """See `Rule`."""
        trial = create_trial(state=TrialState.RUNNING, intermediate_values=dict(reports))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)  # numpy's, of a trial that reports only NaN
            return bool(self.pruner.prune(self._study, trial))

    @cached_property
    def _study(self) -> optuna.Study:
        study = optuna.create_study(storage=InMemoryStorage(), direction=self.direction, pruner=self.pruner)
        if self.reference is not None:
            study.add_trial(create_trial(value=0.0, intermediate_values=dict(self.reference)))
        return study


@dataclass(frozen=True)
class _All:
    """Prunes if every one of some rules does."""

    rules: tuple[Rule, ...]

    def prunes(self, reports: Mapping[int, float]) -> bool:
        """See `Rule`."""
        return all(rule.prunes(reports) for rule in self.rules)


class _Alone(History):
    """The history of a pruner that looks at no other trial."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule

    def rule(self, number: int, paused_at: int | None = None) -> Rule | None:
        """The same for every trial."""
        return self._rule


class _Both(History):
    """Prunes where a rule and a history's rule do."""

    def __init__(self, rule: Rule, history: History) -> None:
        self._rule, self._history = rule, history

    def learn(self, trial: FrozenTrial) -> None:
        """See `History`."""
        self._history.learn(trial)

    def rule(self, number: int, paused_at: int | None = None) -> Rule | None:
        """See `History`."""
        other = self._history.rule(number)
        return None if other is None else _All((self._rule, other))


class _Medians(History):
    """The median report of the completed trials, by step."""

    def __init__(self, settings: Median, criterion: BasePruner, direction: Direction) -> None:
        self._settings, self._direction = settings, direction
        # The reference stands for enough trials already.
        self._criterion = MedianPruner(0, settings.warmup_steps, settings.interval_steps)
        self._completed = 0
        self._reports: dict[int, list[float]] = {}

    def learn(self, trial: FrozenTrial) -> None:
        """See `History`."""
        if trial.state == TrialState.COMPLETE:
            self._completed += 1
            for step, value in trial.intermediate_values.items():
                if not isnan(value):
                    insort(self._reports.setdefault(step, []), value)

    def rule(self, number: int, paused_at: int | None = None) -> Rule | None:
        """See `History`."""
        if self._completed < max(1, self._settings.startup_trials):
            return None
        enough = {s: r for s, r in self._reports.items() if len(r) >= self._settings.min_trials}
        return _Criterion(self._criterion, self._direction, {s: _median(r) for s, r in enough.items()})


def _median(ordered: list[float]) -> float:
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
