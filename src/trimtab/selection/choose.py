"""Who goes into confirmation and who comes out of it: pure functions on the tables of a study."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from trimtab.errors import SweepError

Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Candidate:
    """One configuration, trained once per common seed.

    Attributes:
        trial: its number in the study, None for a recipe from outside it.
        eligible: whether it may become champion; baselines from outside the study may not.
        values: the objective per seed; NaN where training failed.
    """

    name: str
    trial: int | None
    eligible: bool
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over seeds; NaN if one of them failed."""
        return float(np.mean(self.values)) if self.values else math.nan

    @property
    def std(self) -> float:
        """Sample standard deviation over seeds (n − 1); NaN for a single seed, which shows no spread."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else math.nan


def seeds_in_words(seeds: int, folds: int = 1) -> str:
    """What a candidate was trained on: "one fresh seed", "3 fresh seeds of 5 folds each"."""
    said = "one fresh seed" if seeds == 1 else f"{seeds} fresh seeds"
    each = " each" if seeds > 1 else ""
    return f"{said} of {folds} folds{each}" if folds > 1 else said


def completed(trials: pd.DataFrame) -> pd.DataFrame:
    """The rows of trials.csv that carry a finite value."""
    return trials[(trials["state"] == "COMPLETE") & np.isfinite(trials["value"].astype(float))]


def best_trials(trials: pd.DataFrame, count: int, direction: Direction) -> list[int]:
    """Numbers of the `count` best completed trials, best first, ties by number."""
    ranked = completed(trials).sort_values(["value", "number"], ascending=[direction == "minimize", True])
    return [int(number) for number in ranked["number"].head(count)]


def champion(candidates: Sequence[Candidate], direction: Direction) -> Candidate:
    """The eligible candidate with the best mean over seeds; ties go to the lower trial number.

    Raises:
        SweepError: no eligible candidate finished on every seed.
    """
    sign = 1.0 if direction == "minimize" else -1.0
    finished = [c for c in candidates if c.eligible and math.isfinite(c.mean)]
    if not finished:
        raise SweepError(
            "a champion must finish on every seed, and none of "
            f"{[c.name for c in candidates if c.eligible]} did; look at their errors in MLflow "
            "(`make ui`), or raise select.candidates"
        )
    return min(finished, key=lambda c: (sign * c.mean, math.inf if c.trial is None else c.trial))


def median_epoch(best_epochs: Iterable[int]) -> int:
    """The lower median of the best epochs over seeds: how long a refit trains."""
    ordered = sorted(best_epochs)
    return int(ordered[(len(ordered) - 1) // 2])
