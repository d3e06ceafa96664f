"""Which trials end early. What a trial is judged by is fixed when it starts and travels with it.

So a worker decides alone, and a rerun after a kill decides the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import optuna
from optuna.trial import FrozenTrial

from trimtab.sweep.context import Rule
from trimtab.sweep.settings import Direction


class History:
    """What a pruner keeps of the trials that have ended. This one keeps nothing and lets every trial run.

    Attributes:
        pauses: whether a rule makes a trial pause rather than end.
    """

    pauses = False

    def learn(self, trial: FrozenTrial) -> None:
        """A trial has ended or paused; they come in the same order whatever happens."""

    def rule(self, number: int, paused_at: int | None = None) -> Rule | None:
        """What trial `number`, which may have paused before, is judged by; None lets it run."""
        return None

    def promotions(self, *, last: bool = False) -> Iterable[tuple[int, int]]:
        """Paused trials that may go on, the most urgent first, each with the step at which it had paused.

        Args:
            last: nothing else is left to do; what isn't sent on now never is.
        """
        return ()


class Pruner(Protocol):
    """A way to end trials early; `idle` if it never does."""

    idle: ClassVar[bool]

    def check(self) -> None:
        """Refuses settings that make no sense.

        Raises:
            SweepError: says which and what to do.
        """

    def history(self, direction: Direction) -> History:
        """The memory of a study that is swept in this process."""


@dataclass(frozen=True)
class Never:
    """Every trial runs to its end."""

    idle: ClassVar[bool] = True

    def check(self) -> None:
        """There are no settings."""

    def history(self, direction: Direction) -> History:
        """Remembers nothing."""
        return History()


optuna.logging.set_verbosity(optuna.logging.WARNING)
