"""What a task may tell the sweeper while it runs: `report` its progress, `record` facts about its result.

Both do nothing outside a sweep, so that the same task runs alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

Fact = bool | int | float | str


@dataclass
class Notes:
    """What one running trial has told so far.

    Attributes:
        reports: objective by step, as given to `report`.
        facts: what `record` was given; deterministic facts, which become columns of trials.csv.
    """

    reports: dict[int, float] = field(default_factory=dict)
    facts: dict[str, Fact] = field(default_factory=dict)


_current: ContextVar[Notes | None] = ContextVar("trimtab_notes", default=None)


@contextmanager
def taking_notes() -> Iterator[Notes]:
    """Collects what the task running inside tells."""
    notes = Notes()
    token = _current.set(notes)
    try:
        yield notes
    finally:
        _current.reset(token)


def report(step: int, value: float) -> None:
    """Tells the sweeper the objective's `value` at `step` (an epoch, usually)."""
    if (notes := _current.get()) is not None:
        notes.reports[int(step)] = float(value)


def record(**facts: Fact) -> None:
    """Tells the sweeper facts about this trial, e.g. `record(epochs=12)`.

    They must follow from the configuration and the seed alone (no clock times): trials.csv keeps them.
    """
    if (notes := _current.get()) is not None:
        notes.facts.update(facts)
