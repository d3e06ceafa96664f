"""Who proposes the next trial. Samplers that learn are made afresh for each trial, from its seed."""

from dataclasses import dataclass, field
from itertools import islice
from random import Random as Shuffler
from typing import Any, Protocol

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from trimtab.errors import SweepError
from trimtab.sweep.seeds import derive
from trimtab.sweep.space import Space, Value

LARGEST_GRID = 1_000_000


@dataclass(frozen=True)
class Proposal:
    """A point of the space, with whatever the sampler wants to remember of it."""

    params: dict[str, Value]
    distributions: dict[str, BaseDistribution]
    memory: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, space: Space, params: dict[str, Value], memory: dict[str, Any]) -> "Proposal":
        """Adds the distributions of the knobs that exist."""
        return cls(params, {name: space[name].distribution for name in params}, memory)


class Sampler(Protocol):
    """Proposes points; must be a function of its arguments alone."""

    def propose(self, space: Space, view: optuna.Study, study_seed: int, index: int) -> Proposal:
        """The point of trial `index`, counted without the baseline.

        A sampler that learns adds its trial to the view; others leave the view alone.
        """

    def points(self, space: Space) -> int | None:
        """How many different points it can propose; None if there is no end.

        Raises:
            SweepError: the sampler cannot search such a space.
        """


@dataclass(frozen=True)
class Tpe:
    """Tree-structured Parzen estimator (Bergstra et al. 2011), multivariate.

    Trials whose outcome is not to be seen yet count as bad (constant liar), which spreads the
    workers. Conditional knobs are modelled one by one: Optuna's `group=True` is experimental.

    Attributes:
        startup_trials: finished trials before it stops drawing at random.
        candidates: draws among which the most promising is taken; more exploit more.
    """

    startup_trials: int = 10
    candidates: int = 24

    def propose(self, space: Space, view: optuna.Study, study_seed: int, index: int) -> Proposal:
        """See `Sampler`."""
        sampler = TPESampler(
            n_startup_trials=self.startup_trials,
            n_ei_candidates=self.candidates,
            multivariate=True,
            group=False,
            constant_liar=True,
            seed=derive(study_seed, index, "ask"),
        )
        return _ask(sampler, space, view)

    def points(self, space: Space) -> int | None:
        """No end."""
        return None


@dataclass(frozen=True)
class Random:
    """Independent draws, uniform on each knob's scale."""

    def propose(self, space: Space, view: optuna.Study, study_seed: int, index: int) -> Proposal:
        """See `Sampler`."""
        return _ask(RandomSampler(seed=derive(study_seed, index, "ask")), space, view)

    def points(self, space: Space) -> int | None:
        """No end."""
        return None


@dataclass
class Grid:
    """Every point of a discrete space once, shuffled by the study's seed."""

    _space: Space | None = field(default=None, init=False)
    _order: list[dict[str, Value]] = field(default_factory=list, init=False)

    def propose(self, space: Space, view: optuna.Study, study_seed: int, index: int) -> Proposal:
        """See `Sampler`; the view is not looked at."""
        if space is not self._space:
            self._space, self._order = space, self._listed(space)
            Shuffler(derive(study_seed, 0, "grid")).shuffle(self._order)
        return Proposal.of(space, self._order[index], {})

    def points(self, space: Space) -> int | None:
        """Points of the grid, those that conditions make equal counted once."""
        return len(self._listed(space))

    def _listed(self, space: Space) -> list[dict[str, Value]]:
        points = list(islice(space.points(), LARGEST_GRID + 1))
        if len(points) > LARGEST_GRID:
            raise SweepError(
                f"the grid has more than {LARGEST_GRID:,} points; take fewer values per knob, or "
                "hydra/sweeper/sampler=random"
            )
        return points


def _ask(sampler: BaseSampler, space: Space, view: optuna.Study) -> Proposal:
    view.sampler = sampler
    trial = view.ask()
    params = space.choose(lambda knob: knob.suggest(trial))
    memory = view.get_trials(deepcopy=False)[trial.number].system_attrs
    return Proposal.of(space, params, dict(memory))
