"""How the learning rate moves: functions from progress through the horizon, 0…1, to a factor on the rate.

Each may begin with a warm-up: over its share of the horizon the factor rises linearly from 0 to where the schedule
starts; the schedule itself takes the rest.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from trimtab.errors import ConfigError
from trimtab.models.arguments import probability, share, whole

Schedule = Callable[[float], float]


def warmed(shape: Schedule, warmup: float, progress: float) -> float:
    """The factor of a schedule that starts after a warm-up.

    Args:
        shape: the factor over the part after the warm-up, as a function of progress through that part.
        warmup: its share of the horizon, below 1.
        progress: through the horizon.
    """
    if progress < warmup:
        return shape(0.0) * progress / warmup
    return shape((progress - warmup) / (1.0 - warmup))


def half_cosine(progress: float, start: float, end: float) -> float:
    """From start to end along half a cosine (Loshchilov & Hutter 2017, equation 5)."""
    return end + 0.5 * (start - end) * (1.0 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class Constant:
    """Always 1.

    Raises:
        ConfigError: a setting is out of its range.
    """

    warmup: float = 0.0

    def __post_init__(self) -> None:
        probability("schedule.warmup", self.warmup)

    def __call__(self, progress: float) -> float:
        """The factor at this progress."""
        return progress / self.warmup if progress < self.warmup else 1.0


@dataclass(frozen=True)
class Step:
    """Falls by `factor` at each of `drops` equally distant points, as torch's StepLR.

    Raises:
        ConfigError: a setting is out of its range.
    """

    factor: float = 0.1
    drops: int = 2
    warmup: float = 0.0

    def __post_init__(self) -> None:
        share("schedule.factor", self.factor)
        whole("schedule.drops", self.drops)
        probability("schedule.warmup", self.warmup)

    def __call__(self, progress: float) -> float:
        """The factor at this progress."""
        return warmed(self._after_warmup, self.warmup, progress)

    def _after_warmup(self, progress: float) -> float:
        # The addend lets a step that stands at a drop, but for rounding, be behind it.
        return self.factor ** min(self.drops, math.floor(progress * (self.drops + 1) + 1e-9))


@dataclass(frozen=True)
class Exponential:
    """Falls from 1 to `end`, by the same factor each step, as torch's ExponentialLR.

    Raises:
        ConfigError: a setting is out of its range.
    """

    end: float = 0.01
    warmup: float = 0.0

    def __post_init__(self) -> None:
        share("schedule.end", self.end)
        probability("schedule.warmup", self.warmup)

    def __call__(self, progress: float) -> float:
        """The factor at this progress."""
        return warmed(lambda p: self.end**p, self.warmup, progress)


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from 1 down to `end` (Loshchilov & Hutter 2017, equation 5, without restarts).

    Raises:
        ConfigError: a setting is out of its range.
    """

    end: float = 0.0
    warmup: float = 0.0

    def __post_init__(self) -> None:
        probability("schedule.end", self.end)
        probability("schedule.warmup", self.warmup)

    def __call__(self, progress: float) -> float:
        """The factor at this progress."""
        return warmed(lambda p: half_cosine(p, 1.0, self.end), self.warmup, progress)


@dataclass(frozen=True)
class WarmRestarts:
    """`cycles` half cosines from 1 to `end`, each `growth` times as long as the one before.

    SGDR (Loshchilov & Hutter 2017), as torch's CosineAnnealingWarmRestarts; the first is as long as makes the last one
    end with the horizon.

    Raises:
        ConfigError: a setting is out of its range.
    """

    cycles: int = 3
    growth: float = 2.0
    end: float = 0.0
    warmup: float = 0.0

    def __post_init__(self) -> None:
        whole("schedule.cycles", self.cycles)
        if isinstance(self.growth, bool) or not 1 <= self.growth < math.inf:
            raise ConfigError(f"schedule.growth must be a finite number of at least 1 but is {self.growth!r}")
        probability("schedule.end", self.end)
        probability("schedule.warmup", self.warmup)

    def __call__(self, progress: float) -> float:
        """The factor at this progress."""
        return warmed(self._after_warmup, self.warmup, progress)

    def _after_warmup(self, progress: float) -> float:
        lengths = [self.growth**cycle for cycle in range(self.cycles)]
        passed = progress * sum(lengths)
        for length in lengths[:-1]:
            if passed < length - 1e-9 * sum(lengths):  # a step at a restart, but for rounding, is behind it
                return half_cosine(passed / length, 1.0, self.end)
            passed = max(passed - length, 0.0)
        return half_cosine(passed / lengths[-1], 1.0, self.end)


@dataclass(frozen=True)
class OneCycle:
    """Half cosines from `start` up to 1 at `rise`, then down to `end` (Smith & Topin 2018, as torch's OneCycleLR).

    The factor is relative to the peak rate. Momentum is not cycled against it.

    Raises:
        ConfigError: a setting is out of its range.
    """

    rise: float = 0.3
    start: float = 0.04
    end: float = 4e-6
    warmup: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rise", "start", "end", "warmup"):
            probability(f"schedule.{name}", getattr(self, name))

    def __call__(self, progress: float) -> float:
        """The factor at this progress."""
        return warmed(self._after_warmup, self.warmup, progress)

    def _after_warmup(self, progress: float) -> float:
        if progress < self.rise:
            return half_cosine(progress / self.rise, self.start, 1.0)
        return half_cosine((progress - self.rise) / (1.0 - self.rise), 1.0, self.end)


@dataclass(frozen=True)
class InverseSqrt:
    """√(warmup / progress): 1 at the end of the warm-up, then one over the root of the step.

    Vaswani et al. 2017, section 5.3.

    Raises:
        ConfigError: a setting is out of its range; without warm-up there is no step to measure the fall by.
    """

    warmup: float = 0.1

    def __post_init__(self) -> None:
        probability("schedule.warmup", self.warmup)
        if not self.warmup:
            raise ConfigError(
                "schedule=inverse_sqrt needs schedule.warmup above 0: its fall is measured by it; e.g. 0.1"
            )

    def __call__(self, progress: float) -> float:
        """The factor at this progress."""
        return progress / self.warmup if progress < self.warmup else math.sqrt(self.warmup / progress)


@dataclass(frozen=True)
class Ramp:
    """Rises from `start` to 1, by the same factor each step: the learning-rate range test (Smith 2017, section 3.3).

    No option of conf/schedule: nobody would train so.
    """

    start: float

    def __call__(self, progress: float) -> float:
        """The factor at this progress."""
        return float(self.start ** (1.0 - progress))


@dataclass(frozen=True)
class Lull:
    """How long a loss has not fallen, and what that has done to the rate so far."""

    best: float = math.inf
    epochs: int = 0
    factor: float = 1.0


@dataclass(frozen=True)
class Plateau:
    """Multiplies the rate by `factor` after more than `patience_epochs` epochs without a lower training loss.

    torch's ReduceLROnPlateau with its defaults (lower means by more than 0.01 %), on the training loss: validation is
    not there in a refit, which follows the same rule.

    Raises:
        ConfigError: a setting is out of its range.
    """

    factor: float = 0.1
    patience_epochs: int = 3
    warmup: float = 0.0

    def __post_init__(self) -> None:
        share("schedule.factor", self.factor)
        whole("schedule.patience_epochs", self.patience_epochs, least=0)
        probability("schedule.warmup", self.warmup)

    def __call__(self, progress: float) -> float:
        """The factor of the warm-up alone; `Lull.factor` comes on top."""
        return progress / self.warmup if progress < self.warmup else 1.0

    def after_epoch(self, lull: Lull, loss: float) -> Lull:
        """What an epoch with this training loss makes of the lull."""
        if loss < lull.best * (1.0 - 1e-4):
            return Lull(loss, 0, lull.factor)
        if lull.epochs < self.patience_epochs:
            return Lull(lull.best, lull.epochs + 1, lull.factor)
        return Lull(lull.best, 0, lull.factor * self.factor)


def is_constant(schedule: Schedule) -> bool:
    """Whether it is 1 throughout: then no step needs to call it."""
    return schedule == Constant()
