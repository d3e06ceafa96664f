"""Which sampler a study has, and why. It keeps the choice that was made when it began."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from typing import ClassVar, NamedTuple

import optuna
from optuna.distributions import CategoricalDistribution

from trimtab.errors import SweepError
from trimtab.sweep.samplers.covariance import CmaEs
from trimtab.sweep.samplers.designs import Grid, Sobol
from trimtab.sweep.samplers.genetic import Genetic, Nsga2
from trimtab.sweep.samplers.optunas import Gp, Random, Tpe
from trimtab.sweep.samplers.sampler import Can, Proposal, Sampler, name_of
from trimtab.sweep.settings import Settings
from trimtab.sweep.space.knobs import Knob, Space

STARTUP = 10
"""Trials that samplers which learn want before they do."""
FEW = 250
"""Up to here a Gaussian process is worth its time (the limit of OptunaHub's AutoSampler)."""
FEW_KNOBS = 20
MANY = 1000
"""From here on evolution keeps up with TPE at a fraction of its time per proposal."""
OPTIONS: dict[str, Callable[[int | None], Sampler]] = {
    "grid": lambda seed: Grid(seed=seed),
    "random": lambda seed: Random(seed=seed),
    "sobol": lambda seed: Sobol(seed=seed),
    "tpe": lambda seed: Tpe(seed=seed),
    "gp": lambda seed: Gp(seed=seed),
    "cmaes": lambda seed: CmaEs(seed=seed),
    "genetic": lambda seed: Genetic(seed=seed),
    "nsga2": lambda seed: Nsga2(seed=seed),
}


@dataclass(frozen=True)
class Auto:
    """Stands for the sampler that is to be chosen; `settle` does it.

    Attributes:
        seed: in place of the study's, for proposals alone.
    """

    seed: int | None = None
    can: ClassVar[Can] = Can(custom=True)

    def propose(self, space: Space, view: optuna.Study, study_seed: int, index: int) -> Proposal:
        """Nothing is proposed before the choice."""
        raise AssertionError("auto proposes nothing itself")

    def points(self, space: Space) -> int | None:
        """Unknown before the choice."""
        return None


def settle(sampler: Sampler, name: str) -> Sampler:
    """The sampler itself, or in its place the option that was chosen."""
    return sampler if name == name_of(sampler) else OPTIONS[name](getattr(sampler, "seed", None))


class Choice(NamedTuple):
    """An option of hydra/sweeper/sampler, and the reason for it."""

    name: str
    why: str


def choice(settings: Settings, space: Space) -> Choice:
    """The sampler that is set, or with `auto` the one to take; the grid where the budget is enough for all points.

    Others would try some points several times and leave others out, and the best would be the luckiest seed.
    """
    trials, warm = settings.n_trials - settings.before, settings.warm_start is not None
    if not isinstance(settings.sampler, Auto):
        points = None if warm else _points(space, trials)
        name = name_of(settings.sampler)
        return (
            Choice(name, "as set") if points is None or isinstance(settings.sampler, Grid) else _whole(points, trials)
        )
    # As many as the lag: under the schedule `reproducible` the number of workers changes no trial.
    workers = settings.n_jobs if settings.schedule == "async" else settings.lag
    return choose(space, trials, len(settings.directions), workers, warm=warm)


def choose(space: Space, trials: int, objectives: int, workers: int, *, warm: bool = False) -> Choice:
    """What to search a space with.

    Args:
        space: the knobs.
        trials: that there are to propose.
        objectives: how many.
        workers: proposals that are made before the outcome of the first is seen.
        warm: whether there are outcomes of an earlier study.
    """
    points = _points(space, trials)
    if points is not None and not warm:
        return _whole(points, trials)
    if space.extend is not None:
        return Choice("tpe", "hydra.sweeper.custom_search_space adds knobs as it goes")
    if trials <= STARTUP + workers and not warm:
        name = "sobol" if find_spec("scipy") else "random"
        return Choice(name, f"{trials} trials, {workers} at once, leave too few outcomes to learn from")
    return _learning(space, trials, objectives)


def _whole(points: int, trials: int) -> Choice:
    what = "the only point of the space fits" if points == 1 else f"all {points} points of the space fit"
    return Choice("grid", f"{what} into {trials} trials")


def _learning(space: Space, trials: int, objectives: int) -> Choice:
    dimension = len(space.knobs)
    what = f"{trials} trials of {dimension} knobs"
    odd = next((k for k in space.knobs if k.when or isinstance(k.distribution, CategoricalDistribution)), None)
    if odd is None and trials <= FEW and dimension <= FEW_KNOBS and find_spec("torch") and find_spec("scipy"):
        return Choice("gp", f"{what}, all numbers: few enough to model each outcome")
    if odd is None and objectives == 1 and dimension > 1 and trials > FEW and find_spec("cmaes"):
        return Choice("cmaes", f"{what}, all numbers: enough to learn how they hang together")
    if trials >= MANY:
        name = "genetic" if objectives == 1 else "nsga2"
        return Choice(name, f"{what}{_because(odd)}: evolution takes any knob and stays quick")
    return Choice("tpe", f"{what}{_because(odd)}: it takes any knob and learns from few outcomes")


def _because(odd: Knob | None) -> str:
    if odd is None:
        return ""
    kind = "only exists under a condition" if odd.when else "is a choice"
    return f", of which {odd.key!r} {kind}"


def _points(space: Space, trials: int) -> int | None:
    """Size of a discrete space, None if it has more points than there are trials."""
    if space.extend is not None:
        return None
    try:
        count = len(list(islice(space.points(), trials + 1)))
    except SweepError:
        return None
    return count if count <= trials else None
