"""How the learning rate moves: functions from progress through the horizon, 0…1, to a factor on the rate."""

import math
from collections.abc import Callable
from functools import partial

Schedule = Callable[[float], float]


def constant(progress: float) -> float:
    """Always 1."""
    return 1.0


def cosine(progress: float) -> float:
    """Half a cosine from 1 down to 0 (Loshchilov & Hutter 2017, equation 5, without restarts)."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def is_constant(schedule: Schedule) -> bool:
    """Whether it is `constant`, also wrapped as Hydra's `_partial_` does: then no step needs to call it."""
    return (schedule.func if isinstance(schedule, partial) else schedule) is constant
