"""Several objectives, and constraints: which trials no other feasible one beats in everything."""

from collections.abc import Sequence

import numpy as np
from optuna.study._multi_objective import _fast_non_domination_rank
from optuna.trial import FrozenTrial

from trimtab.sweep.settings import Direction


def excess(trial: FrozenTrial) -> float:
    """By how much a trial breaks its constraints, summed; 0 if it keeps them all."""
    return sum(v for v in trial.constraints.values() if v > 0)


def losses(trial: FrozenTrial, directions: Sequence[Direction]) -> tuple[float, ...]:
    """The objectives of a completed trial, less is better."""
    return tuple(-v if d == "maximize" else v for v, d in zip(trial.values or (), directions, strict=True))


def layers(trials: Sequence[FrozenTrial], directions: Sequence[Direction]) -> list[int]:
    """For each completed trial its non-dominated layer (Deb et al. 2002): 0 is the Pareto front.

    Infeasible trials follow, by how much they break their constraints.
    """
    if not trials:
        return []
    penalty = np.array([excess(t) for t in trials])
    ranks = _fast_non_domination_rank(np.array([losses(t, directions) for t in trials]), penalty=penalty)
    return [int(r) for r in ranks]


def join(front: Sequence[FrozenTrial], trial: FrozenTrial, directions: Sequence[Direction]) -> list[FrozenTrial]:
    """The front after one more completed trial: as it was, or with it and without those it beats."""
    new = losses(trial, directions)
    if excess(trial) or any(_dominates(losses(t, directions), new) for t in front):
        return list(front)
    return [*(t for t in front if not _dominates(new, losses(t, directions))), trial]


def _dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))
