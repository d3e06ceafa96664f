"""CMA-ES (Hansen 2016): a normal distribution that moves to where values are good and takes on their shape.

Steady state: no worker waits for a generation to end, and no trial goes to waste. As many trials as make a generation,
in order of number and whatever distribution they were drawn from, move it on, each time together with the best so far;
that makes up for what is not known yet. A trial far from where the distribution is now counts as if it were just likely
(Hansen 2011, "Injecting external solutions into CMA-ES").
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from trimtab.errors import SweepError
from trimtab.sweep.samplers.sampler import Can, Endless, Proposal, enter
from trimtab.sweep.seeds import derive
from trimtab.sweep.settings import Direction, named
from trimtab.sweep.space.knobs import Knob, Space
from trimtab.sweep.store.pareto import excess, losses

SIGMA = 1 / 6
"""Standard deviation at first, as a share of each knob's scale (Optuna's)."""
LEAST = 4
"""Trials of a generation: fewer have but one parent, which shows no direction."""
KEPT = 64
"""States to go back to when a trial ends later than those after it."""
RUN = "cma:run"
"""Remembers how many restarts there had been when a trial was drawn."""


@dataclass
class CmaEs(Endless):
    """Covariance matrix adaptation, for one objective and knobs that are numbers.

    Where it can get no further it starts again elsewhere, with twice the generation (IPOP, Auger & Hansen 2005).

    Attributes:
        popsize: trials of a generation; null is 4 + 3 ln(knobs).
        with_margin: keeps whole numbers and steps from freezing (Hamano et al. 2022).
        n_startup_trials: finished trials before it stops drawing at random.
        seed: in place of the study's, for proposals alone.
    """

    popsize: int | None = None
    with_margin: bool = False
    n_startup_trials: int = 1
    seed: int | None = None
    can: ClassVar[Can] = Can(several=False, choices=False, conditions=False, needs=("cmaes",))

    def __post_init__(self) -> None:
        if self.popsize is not None and self.popsize < LEAST:
            raise SweepError(f"hydra.sweeper.sampler.popsize must be at least {LEAST} but is {self.popsize}; raise it")
        self._learnt = _Learnt()

    def propose(self, space: Space, view: optuna.Study, study_seed: int, index: int) -> Proposal:
        """See `Sampler`."""
        knobs = [k for k in space.knobs if not k.distribution.single()]
        trials = view.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        seed = derive(study_seed, index, "ask")
        run, drawn = 0, np.random.default_rng(seed).random(len(knobs))
        if knobs and len(trials) >= self.n_startup_trials:
            state = self._learnt.of(
                trials, lambda run: self._begun(knobs, study_seed, run), _Told(knobs, named(view.directions))
            )
            run, drawn = state.run, state.draw(seed)
        at = {k.name: float(u) for k, u in zip(knobs, drawn, strict=True)}
        return enter(view, space, space.choose(lambda k: k.at(at.get(k.name, 0.5))), {RUN: run} if run else {})

    def _begun(self, knobs: Sequence[Knob], study_seed: int, run: int) -> Any:
        """The distribution before it has learnt anything: the first in the middle, others anywhere."""
        import cmaes

        count = len(knobs)
        steps = np.array([_step(k) if self.with_margin else 0.0 for k in knobs])
        dice = np.random.default_rng(derive(study_seed, run, "restart"))
        options = {
            "mean": steps / 2 + (1 - steps) * (dice.random(count) if run else 0.5),
            "sigma": SIGMA,
            "bounds": np.stack([steps / 2, 1 - steps / 2], axis=1),
            "n_max_resampling": 10 * count,
            "population_size": (self.popsize or LEAST + int(3 * math.log(count))) * 2**run,
        }
        return cmaes.CMAwM(steps=steps, **options) if self.with_margin else cmaes.CMA(**options)


@dataclass(frozen=True)
class _Told:
    """Reads trials as a study of these knobs and this direction does."""

    knobs: Sequence[Knob]
    directions: Sequence[Direction]

    def rank(self, trial: FrozenTrial) -> tuple[Any, ...]:
        """The best first, those that keep their constraints before all others."""
        return excess(trial), losses(trial, self.directions), trial.number

    def point(self, trial: FrozenTrial) -> NDArray[np.float64]:
        """(knobs,) on their scales."""
        return np.array([k.where(trial.params[k.name]) for k in self.knobs])


@dataclass(frozen=True)
class _State:
    """What trials have taught; never changed once it is made.

    Attributes:
        cma: the distribution, of the package `cmaes`.
        run: restarts before it.
        seen: trials up to the last that it has learnt from.
        last: that one.
        best: of this run.
    """

    cma: Any
    run: int = 0
    seen: int = 0
    last: FrozenTrial | None = None
    best: tuple[FrozenTrial, ...] = ()

    def holds(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether it still follows from them: they may be another study's, or one may have ended late."""
        return self.last is not None and len(trials) >= self.seen and trials[self.seen - 1] is self.last

    def draw(self, seed: int) -> NDArray[np.float64]:
        """A point of the distribution."""
        self.cma.reseed_rng(seed)
        drawn = self.cma.ask()
        point: NDArray[np.float64] = drawn[0] if isinstance(drawn, tuple) else drawn
        return point

    def next(self, trials: Sequence[FrozenTrial], begin: Callable[[int], Any], told: _Told) -> "_State | None":
        """The state after one more generation; None while it is incomplete."""
        size = self.cma.population_size
        mine = (n for n in range(self.seen, len(trials)) if trials[n].system_attrs.get(RUN, 0) == self.run)
        numbers = list(islice(mine, size))
        if len(numbers) < size:
            return None
        seen, last = numbers[-1] + 1, trials[numbers[-1]]
        generation = sorted((trials[n] for n in numbers), key=told.rank)
        best = tuple(sorted((*self.best, *generation), key=told.rank)[: size // 2])
        cma = deepcopy(self.cma)
        _tell(cma, [told.point(t) for t in (*best, *generation[size // 2 :])])
        flat = told.rank(generation[0])[:-1] == told.rank(generation[-1])[:-1]
        if flat or cma.should_stop():
            return _State(begin(self.run + 1), self.run + 1, seen, last)
        return _State(cma, self.run, seen, last, best)


@dataclass
class _Learnt:
    """The latest states, so that a proposal costs the same at any time; what they are follows from the trials alone."""

    _states: deque[_State] = field(default_factory=lambda: deque(maxlen=KEPT))

    def of(self, trials: Sequence[FrozenTrial], begin: Callable[[int], Any], told: _Told) -> _State:
        """What these completed trials have taught."""
        while self._states and not self._states[-1].holds(trials):
            self._states.pop()
        if not self._states:
            self._states.append(_State(begin(0)))
        while (state := self._states[-1].next(trials, begin, told)) is not None:
            self._states.append(state)
        return self._states[-1]


def _tell(cma: Any, points: Sequence[NDArray[np.float64]]) -> None:
    """Moves a distribution on by a generation, the best first; ranks are all that it looks at."""
    normal = getattr(cma, "_cma", cma)
    turn, lengths = normal._eigen_decomposition()
    dimension = len(lengths)
    likely = math.sqrt(dimension) + 2 * dimension / (dimension + 2)
    solutions = []
    for rank, point in enumerate(points):
        away = np.linalg.norm((point - cma.mean) @ turn / lengths) / normal._sigma
        solutions.append((cma.mean + (point - cma.mean) * min(1.0, likely / max(away, 1e-12)), float(rank)))
    cma.tell(solutions)


def _step(knob: Knob) -> float:
    """The distance of a knob's values on its scale; 0 if it has none, or not always the same."""
    d = knob.distribution
    assert isinstance(d, FloatDistribution | IntDistribution)
    return 0.0 if d.step is None or d.log else knob.where(d.low + d.step) - knob.where(d.low)
