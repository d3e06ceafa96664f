"""Which trials are asked and run together, where the task can do that (see `trial.PopulationTask`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trimtab.errors import SweepError

AHEAD = 4
"""Stacks' worth of trials asked at once where nothing is learnt from outcomes."""


@dataclass(frozen=True)
class Together:
    """`hydra.sweeper.population`.

    Attributes:
        size: the most trials that are run together, as a stack; 1 runs each alone.
        at_once: trials asked at once by a sampler that has something to learn from; null is twice `size`. More make
            larger stacks, but each is asked knowing less. The first, which know nothing anyway, are at least `size`.
        shape_knobs: knobs that the trials of a stack must have in common.
    """

    size: int = 1
    at_once: int | None = None
    shape_knobs: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("size", "at_once"):
            if (given := getattr(self, name)) is not None and given < 1:
                raise SweepError(f"hydra.sweeper.population.{name} must be at least 1 but is {given}; raise it")

    def units(self, learns: bool, exploring: int) -> "Units":
        """The units in which a study's trials are asked.

        Args:
            learns: whether the sampler does.
            exploring: trials from 0 on that are asked without knowing any other.
        """
        if self.size == 1:
            return Units(1, 1, 1)
        length = (self.at_once or 2 * self.size) if learns else AHEAD * self.size
        return Units(max(exploring, length, self.size), length, self.size)

    def stacks(self, shapes: Sequence[Mapping[str, Any]], most: int) -> list[list[int]]:
        """Positions of the trials that form each stack; equal sizes rather than full ones.

        Args:
            shapes: for each trial the values of its shape knobs.
            most: `Units.stack` of those that they were asked or sent on with.
        """
        alike: dict[str, list[int]] = {}
        for place, shape in enumerate(shapes):
            alike.setdefault(repr(sorted(shape.items())), []).append(place)
        parts = (np.array_split(places, -(-len(places) // most)) for places in alike.values())
        return [stack.tolist() for of_one_shape in parts for stack in of_one_shape]


@dataclass(frozen=True)
class Units:
    """Trials are asked in units of consecutive turns, all of a unit seeing the same outcomes.

    Attributes:
        first: length of the first unit, which knows nothing anyway.
        length: of the others.
        size: the most trials of a stack.
    """

    first: int
    length: int
    size: int

    def stack(self, unit: int) -> int:
        """The most trials of the stacks of so many asked at once: they make two at least, for two workers."""
        return min(self.size, -(-unit // 2))

    def of(self, turn: int) -> range:
        """The unit of a turn."""
        if turn < self.first:
            return range(self.first)
        start = self.first + (turn - self.first) // self.length * self.length
        return range(start, start + self.length)
