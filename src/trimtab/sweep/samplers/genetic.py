"""Evolution: children of good trials. Steady state, so that no worker waits for a generation to end.

Parents are the best of every trial seen so far, by rank, or by layer and crowding distance for several
objectives (NSGA-II, Deb et al. 2002). Knobs that exist only under conditions are inherited with them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random as Dice
from typing import ClassVar

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from trimtab.sweep.samplers.sampler import Can, Endless, Proposal, enter
from trimtab.sweep.seeds import derive
from trimtab.sweep.settings import Direction, named
from trimtab.sweep.space.knobs import Knob, Space, Value
from trimtab.sweep.store.pareto import excess, layers, losses

STEP = 0.15
"""Standard deviation of a mutation, as a share of the knob's scale."""
FRESH = 0.1
"""Share of a number's mutations that draw it anew, so that no value is out of reach."""
Select = Callable[[Sequence[FrozenTrial], Sequence[Direction], int], list[FrozenTrial]]


@dataclass(frozen=True)
class Breeding:
    """How two parents make a child.

    Attributes:
        population_size: parents that are kept.
        mutation_prob: that a knob is mutated; null is one knob per child on average.
        crossover_prob: that a child has two parents.
        swapping_prob: that a knob comes from the second of them.
    """

    population_size: int = 32
    mutation_prob: float | None = None
    crossover_prob: float = 0.9
    swapping_prob: float = 0.5

    def child(self, space: Space, parents: Sequence[FrozenTrial], dice: Dice) -> dict[str, Value]:
        """A point made of two parents, the best of which come first."""
        one = _tournament(parents, dice)
        two = _tournament(parents, dice) if dice.random() < self.crossover_prob else one
        probability = self.mutation_prob
        if probability is None:
            probability = 1 / max(1, len(one.params))

        def pick(knob: Knob) -> Value:
            first, second = (one, two) if dice.random() >= self.swapping_prob else (two, one)
            for parent in (first, second):
                if knob.name in parent.params:
                    value: Value = parent.params[knob.name]
                    return _mutated(knob, value, dice) if dice.random() < probability else value
            return knob.at(dice.random())

        child = space.choose(pick)
        return child if child not in (one.params, two.params) else self._forced(space, child, dice)

    def _forced(self, space: Space, child: dict[str, Value], dice: Dice) -> dict[str, Value]:
        """A twin of its parent would teach nothing: one of its knobs changes."""
        if not child:
            return child
        chosen = dice.choice(sorted(child))

        def pick(knob: Knob) -> Value:
            if knob.name not in child:
                return knob.at(dice.random())
            value = child[knob.name]
            return _mutated(knob, value, dice) if knob.name == chosen else value

        return space.choose(pick)


@dataclass
class _Evolution(Endless, ABC):
    """What evolution for one objective and for several have in common.

    Attributes: see `Breeding`; `seed` stands in place of the study's, for proposals alone.
    """

    population_size: int = 32
    mutation_prob: float | None = None
    crossover_prob: float = 0.9
    swapping_prob: float = 0.5
    seed: int | None = None

    def __post_init__(self) -> None:
        self._elite = _Elite(self.population_size, self._select)
        self._breeding = Breeding(self.population_size, self.mutation_prob, self.crossover_prob, self.swapping_prob)

    @abstractmethod
    def _select(self, trials: Sequence[FrozenTrial], directions: Sequence[Direction], size: int) -> list[FrozenTrial]:
        """The best of completed trials, the best first."""

    def propose(self, space: Space, view: optuna.Study, study_seed: int, index: int) -> Proposal:
        """See `Sampler`."""
        return _bred(self._breeding, self._elite, space, view, Dice(derive(study_seed, index, "ask")))


@dataclass
class Genetic(_Evolution):
    """Evolution for one objective."""

    can: ClassVar[Can] = Can(several=False, instead="nsga2")

    def _select(self, trials: Sequence[FrozenTrial], directions: Sequence[Direction], size: int) -> list[FrozenTrial]:
        """By value, those that keep their constraints first."""
        return sorted(trials, key=lambda t: (excess(t), losses(t, directions), t.number))[:size]


@dataclass
class Nsga2(_Evolution):
    """Evolution for several objectives: NSGA-II."""

    population_size: int = 50
    can: ClassVar[Can] = Can()

    def _select(self, trials: Sequence[FrozenTrial], directions: Sequence[Direction], size: int) -> list[FrozenTrial]:
        """By layer, within a layer the loneliest first."""
        ranks = layers(trials, directions)
        order: list[FrozenTrial] = []
        for rank in sorted(set(ranks)):
            layer = [t for t, r in zip(trials, ranks, strict=True) if r == rank]
            room = crowding(np.array([losses(t, directions) for t in layer]))
            order += [t for _, t in sorted(zip(-room, layer, strict=True), key=lambda pair: (pair[0], pair[1].number))]
            if len(order) >= size:
                break
        return order[:size]


@dataclass
class _Elite:
    """The best `size` of all trials seen, folded block by block, so that it costs the same at any time.

    A function of the trials alone; what is kept from call to call only saves time.
    """

    size: int
    select: Select
    _folded: int = 0
    _last: FrozenTrial | None = None
    _kept: list[FrozenTrial] = field(default_factory=list)

    def of(self, trials: Sequence[FrozenTrial], directions: Sequence[Direction]) -> list[FrozenTrial]:
        """The elite of completed trials, the best first."""
        if len(trials) < self._folded or (self._folded and trials[self._folded - 1] is not self._last):
            # Another study, or a trial below has ended late: it moves all that come after.
            self._folded, self._last, self._kept = 0, None, []
        while len(trials) - self._folded >= self.size:
            block = trials[self._folded : self._folded + self.size]
            self._kept = self.select([*self._kept, *block], directions, self.size)
            self._folded, self._last = self._folded + self.size, block[-1]
        return self.select([*self._kept, *trials[self._folded :]], directions, self.size)


def _bred(breeding: Breeding, elite: _Elite, space: Space, view: optuna.Study, dice: Dice) -> Proposal:
    """A child of the elite; a random point until half a population is there."""
    parents = elite.of(view.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)), named(view.directions))
    if len(parents) < max(2, breeding.population_size // 2):
        return enter(view, space, space.choose(lambda knob: knob.at(dice.random())))
    return enter(view, space, breeding.child(space, parents, dice))


def _tournament(parents: Sequence[FrozenTrial], dice: Dice) -> FrozenTrial:
    """The better of two."""
    return parents[min(dice.randrange(len(parents)), dice.randrange(len(parents)))]


def _mutated(knob: Knob, value: Value, dice: Dice) -> Value:
    """A number takes a step on its scale, at least to its neighbour; a choice becomes another."""
    d = knob.distribution
    if isinstance(d, CategoricalDistribution):
        others = [c for c in d.choices if c != value]
        return dice.choice(others) if others else value
    if dice.random() < FRESH:
        return knob.at(dice.random())
    for _ in range(8):
        u = knob.where(value) + dice.gauss(0, STEP)
        moved = knob.at(min(1.0, max(0.0, u)))
        if moved != value:
            return moved
    return knob.at(dice.random())


def crowding(values: np.ndarray) -> np.ndarray:
    """Crowding distance (Deb et al. 2002) of points `(points, objectives)`; infinite at the ends."""
    room = np.zeros(len(values))
    for column in values.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        room[order[[0, -1]]] = np.inf
        if span > 0:
            room[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return room
