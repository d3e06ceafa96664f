"""Samplers that need no outcomes: each point is a function of the study's seed and its index alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from random import Random as Shuffler
from typing import Any, ClassVar

import optuna

from trimtab.errors import SweepError
from trimtab.sweep.samplers.sampler import Can, Endless, Proposal
from trimtab.sweep.seeds import derive
from trimtab.sweep.space.knobs import Space, Value

LARGEST_GRID = 1_000_000


@dataclass
class Grid:
    """Every point of a discrete space once, shuffled by the study's seed.

    Attributes:
        seed: in place of the study's.
        without: points that are run anyway.
    """

    seed: int | None = None
    without: Sequence[Mapping[str, Value]] = ()
    can: ClassVar[Can] = Can(learns=False, instead="random")
    _made_for: tuple[Space, int] | None = field(default=None, init=False, repr=False)
    _order: list[dict[str, Value]] = field(default_factory=list, init=False, repr=False)

    def propose(self, space: Space, view: optuna.Study, study_seed: int, index: int) -> Proposal:
        """See `Sampler`; the view is not looked at."""
        if (space, study_seed) != self._made_for:
            self._made_for, self._order = (space, study_seed), self._listed(space)
            Shuffler(derive(study_seed, 0, "grid")).shuffle(self._order)
        return Proposal.of(space, self._order[index], {})

    def points(self, space: Space) -> int | None:
        """Points that it proposes, those that conditions make equal counted once."""
        return len(self._listed(space))

    def _listed(self, space: Space) -> list[dict[str, Value]]:
        points = list(islice(space.points(), LARGEST_GRID + 1))
        if len(points) > LARGEST_GRID:
            raise SweepError(
                f"the grid has more than {LARGEST_GRID:,} points; take fewer values per knob, or "
                "hydra/sweeper/sampler=random"
            )
        return [point for point in points if point not in self.without]


@dataclass
class Sobol(Endless):
    """Sobol's sequence, scrambled (Owen 1998): as random, but without the holes and clusters.

    Attributes:
        seed: in place of the study's.
    """

    seed: int | None = None
    can: ClassVar[Can] = Can(learns=False, instead="random", needs=("scipy",))
    _engine: Any = field(default=None, init=False, repr=False)
    _made_for: tuple[int, int] = field(default=(0, 0), init=False, repr=False)

    def propose(self, space: Space, view: optuna.Study, study_seed: int, index: int) -> Proposal:
        """See `Sampler`; the view is not looked at. A knob that does not exist leaves its dimension unused."""
        row = self._row(len(space.knobs), study_seed, index)
        place = {knob.name: i for i, knob in enumerate(space.knobs)}
        return Proposal.of(space, space.choose(lambda knob: knob.at(row[place[knob.name]])), {})

    def _row(self, knobs: int, seed: int, index: int) -> list[float]:
        """Point `index` of the sequence."""
        if not knobs:
            return []
        if self._made_for != (knobs, seed) or index < self._engine.num_generated:
            from scipy.stats.qmc import Sobol as Sequence

            self._engine = Sequence(knobs, scramble=True, rng=derive(seed, 0, "sobol"))
            self._made_for = (knobs, seed)
        if index > self._engine.num_generated:
            self._engine.fast_forward(index - self._engine.num_generated)
        row: list[float] = self._engine.random(1)[0].tolist()
        return row
