"""What a task may tell the sweeper while it runs: `report` its progress, `record` facts about its result.

Both do nothing outside a sweep, so that the same task runs alone.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from trimtab.errors import Pruned

if TYPE_CHECKING:
    from trimtab.sweep.repeats import Repeats

log = logging.getLogger(__name__)
Fact = bool | int | float | str


class Rule(Protocol):
    """Decides whether one trial goes on; small, since it travels with the trial to its worker."""

    def prunes(self, reports: Mapping[int, float]) -> bool:
        """Whether a trial with these reports ends here; must be a function of them alone.

        Args:
            reports: value by step, in any order; the latest step is the largest.
        """


@dataclass(frozen=True)
class Orders:
    """What a trial takes along to its worker, so that it can decide there, and a rerun decides the same.

    Attributes:
        rule: ends the trial early; None lets it run.
        stretch: how often it has paused before; None where the rule ends trials rather than pausing them.
        repeats: the seeds or folds that it runs on; None if its configuration holds the only one.
        seed: the trial's own.
    """

    rule: Rule | None = None
    stretch: int | None = None
    repeats: "Repeats | None" = None
    seed: int = 0


@dataclass
class Notes:
    """What one running trial has told so far.

    Attributes:
        reports: objective by step, as given to `report`.
        facts: what `record` was given; deterministic facts, which become columns of trials.csv.
        constraints: excess over its limit by name, as given to `constraint`.
        rule: ends the trial early; None lets it run.
        pruned: why the rule ended it.
        checkpoint: see `checkpoint_dir`.
    """

    reports: dict[int, float] = field(default_factory=dict)
    facts: dict[str, Fact] = field(default_factory=dict)
    constraints: dict[str, float] = field(default_factory=dict)
    rule: Rule | None = None
    pruned: str = ""
    checkpoint: Path | None = None

    def report(self, step: int, value: float) -> None:
        """See `report`."""
        if step in self.reports:
            log.warning("step %d was reported before; the first value counts", step)
        elif self.rule is None:
            self.reports[step] = value
        else:
            latest = step > max(self.reports, default=step - 1)
            self.reports[step] = value
            if latest and self.rule.prunes(self.reports):
                self.pruned = self.pruned or f"pruned at step {step}"
        if self.pruned:
            raise Pruned(self.pruned)


_current: ContextVar[Notes | None] = ContextVar("trimtab_notes", default=None)


@contextmanager
def taking_notes(rule: Rule | None = None, checkpoint: Path | None = None) -> Iterator[Notes]:
    """Collects what the task running inside tells; `rule` may end it early."""
    with noting(Notes(rule=rule, checkpoint=checkpoint)) as notes:
        yield notes


@contextmanager
def noting(notes: Notes) -> Iterator[Notes]:
    """What the task tells inside goes into these notes."""
    token = _current.set(notes)
    try:
        yield notes
    finally:
        _current.reset(token)


def report(step: int, value: float) -> None:
    """Tells the sweeper the objective's `value` at `step` (an epoch, usually).

    NaN is allowed, and most pruners end the trial on it. A step that was reported before keeps its first value; one
    below the latest is kept, but ends nothing.

    Raises:
        Pruned: the trial need not go on (`hydra/sweeper/pruner`).
    """
    if (notes := _current.get()) is not None:
        notes.report(int(step), float(value))


def checkpoint_dir() -> Path | None:
    """Where a trial that may be paused keeps what it needs to go on: a folder, empty when it starts from zero.

    Write there before each `report`, and begin with what lies there, e.g. the step after the one saved. After a pause
    or a kill it is as it was at the last pause. None where trials are not paused (`hydra.sweeper.pruner.pause`).
    """
    notes = _current.get()
    return None if notes is None else notes.checkpoint


def record(**facts: Fact) -> None:
    """Tells the sweeper facts about this trial, e.g. `record(epochs=12)`.

    They must follow from the configuration and the seed alone (no clock times): trials.csv keeps them.
    """
    if (notes := _current.get()) is not None:
        notes.facts.update(facts)


def constraint(name: str, value: float, at_most: float = 0.0) -> None:
    """Tells the sweeper that `value` must not exceed `at_most`, e.g. `constraint("parameters", count, 100_000)`.

    Call it in every trial, kept or not: samplers learn from by how much. A trial that breaks one is never the best.
    """
    if (notes := _current.get()) is not None:
        notes.constraints[name] = float(value) - float(at_most)
