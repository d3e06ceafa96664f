"""How a trial ended."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from trimtab.sweep.context import Fact, Notes


@dataclass(frozen=True)
class Completed:
    """The task returned a finite number per objective.

    Attributes:
        constraints: excess over its limit by name; feasible where none is above 0.
        by_seed: the values whose mean it is, where a configuration runs on several seeds or folds.
    """

    values: tuple[float, ...]
    reports: Mapping[int, float] = field(default_factory=dict)
    facts: Mapping[str, Fact] = field(default_factory=dict)
    seconds: float = 0.0
    constraints: Mapping[str, float] = field(default_factory=dict)
    by_seed: tuple[float, ...] = ()


@dataclass(frozen=True)
class Failed:
    """The task did not; the sweep goes on.

    Attributes:
        reason: one line.
        bad_input: a person can mend it by changing the configuration or the data.
        again: it may have been bad luck, so that another try is worth its time.
    """

    reason: str
    bad_input: bool = False
    again: bool = False
    reports: Mapping[int, float] = field(default_factory=dict)
    facts: Mapping[str, Fact] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Pruned:
    """The task was ended early, or ended itself by `raise trimtab.Pruned`.

    Attributes:
        reason: one line.
        paused: it may be sent on later, from where it is.
        by_seed: the values of the seeds or folds that were run to their end.
    """

    reason: str
    reports: Mapping[int, float] = field(default_factory=dict)
    facts: Mapping[str, Fact] = field(default_factory=dict)
    seconds: float = 0.0
    constraints: Mapping[str, float] = field(default_factory=dict)
    paused: bool = False
    by_seed: tuple[float, ...] = ()

    @property
    def value(self) -> float | None:
        """The mean over the runs so far, else that of the last step, as in Optuna; None if there is no number."""
        if self.by_seed:
            return fmean(self.by_seed)
        value = self.reports[max(self.reports)] if self.reports else math.nan
        return value if math.isfinite(value) else None


Outcome = Completed | Pruned | Failed


def judge(returned: Any, notes: Notes, seconds: float, objectives: int = 1) -> Outcome:
    """The outcome of a task that returned; 0-dimensional arrays and tensors count as numbers."""
    reports = dict(notes.reports)
    try:
        facts = {name: _plain(name, fact) for name, fact in notes.facts.items()}
        values = _values(returned, objectives)
        constraints = {name: _excess(name, value) for name, value in notes.constraints.items()}
    except ValueError as e:
        return Failed(str(e), reports=reports, seconds=seconds)
    return Completed(values, reports, facts, seconds, constraints)


def pruned(notes: Notes, reason: str, seconds: float, *, paused: bool = False) -> Outcome:
    """The outcome of a task that was pruned or paused."""
    reports = dict(notes.reports)
    try:
        facts = {name: _plain(name, fact) for name, fact in notes.facts.items()}
        constraints = {name: _excess(name, value) for name, value in notes.constraints.items()}
    except ValueError as e:
        return Failed(str(e), reports=reports, seconds=seconds)
    return Pruned(reason, reports, facts, seconds, constraints, paused)


def one_line(error: BaseException) -> str:
    """Type and message of an exception on one line of bounded length."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:500] if text else type(error).__name__


def _excess(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"constraint({name!r}) was given {value}; it takes a number")
    return value


def _values(returned: Any, objectives: int) -> tuple[float, ...]:
    """One number per objective; several come as a list or tuple, in the order of hydra.sweeper.direction."""
    if objectives == 1:
        return (_number(returned),)
    if not isinstance(returned, list | tuple) or len(returned) != objectives:
        got = f"{len(returned)} values" if isinstance(returned, list | tuple) else f"a {type(returned).__name__}"
        raise ValueError(
            f"the task returned {got}; hydra.sweeper.direction names {objectives} objectives, so it must return a "
            f"list of {objectives} numbers"
        )
    return tuple(_number(r) for r in returned)


def _number(returned: Any) -> float:
    if returned is None:
        raise ValueError("the task returned None; it must return its objective as a number")
    if isinstance(returned, str | bytes | bool):
        raise ValueError(f"the task returned {returned!r}; it must return its objective as a number")
    try:
        value = float(returned)
    except (TypeError, ValueError) as e:
        kind = type(returned).__name__
        raise ValueError(f"the task returned a {kind}; it must return its objective as a number") from e
    if not math.isfinite(value):
        raise ValueError(f"the task returned {value}; training diverged")
    return value


def _plain(name: str, fact: Any) -> Fact:
    fact = fact.item() if hasattr(fact, "item") else fact
    if not isinstance(fact, bool | int | float | str):
        raise ValueError(f"record({name}=...) was given a {type(fact).__name__}; it takes a number, bool or text")
    return fact
