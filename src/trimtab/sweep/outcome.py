"""How a trial ended."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trimtab.sweep.context import Fact, Notes


@dataclass(frozen=True)
class Completed:
    """The task returned a finite number."""

    value: float
    reports: Mapping[int, float] = field(default_factory=dict)
    facts: Mapping[str, Fact] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Failed:
    """The task did not; the sweep goes on.

    Attributes:
        reason: one line.
        bad_input: a person can mend it by changing the configuration or the data.
    """

    reason: str
    bad_input: bool = False
    reports: Mapping[int, float] = field(default_factory=dict)
    facts: Mapping[str, Fact] = field(default_factory=dict)
    seconds: float = 0.0


Outcome = Completed | Failed


def judge(returned: Any, notes: Notes, seconds: float) -> Outcome:
    """The outcome of a task that returned; 0-dimensional arrays and tensors count as numbers."""
    reports = dict(notes.reports)
    try:
        facts = {name: _plain(name, fact) for name, fact in notes.facts.items()}
        value = _number(returned)
    except ValueError as e:
        return Failed(str(e), reports=reports, seconds=seconds)
    return Completed(value, reports, facts, seconds)


def one_line(error: BaseException) -> str:
    """Type and message of an exception on one line of bounded length."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:500] if text else type(error).__name__


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
