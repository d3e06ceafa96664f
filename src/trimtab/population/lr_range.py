"""Which learning rates learn at all: one population, a ramp through all rates beside constant ones.

The ramp (Smith 2017, https://arxiv.org/abs/1506.01186, section 3.3) sees each rate for some steps on a network that
the lower rates have trained. Constant rates see each from the start, which costs a run for each; stacked, that is
about the price of a few.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from trimtab.data.arrays import Arrays, Problem
from trimtab.errors import Diverged
from trimtab.population.members import Member
from trimtab.population.train import train_many
from trimtab.trial.recipe import Device, Recipe
from trimtab.trial.recorder import OnEpoch
from trimtab.trial.schedules import Constant, Ramp, Schedule

Floats = NDArray[np.float64]

ENOUGH = 0.5
"""The share of the best rate's gain that a rate must reach to count as learning."""


@dataclass(frozen=True)
class Settings:
    """What is tried.

    Attributes:
        low: the lowest rate.
        high: the highest.
        rates: how many constant ones, evenly spaced on a log scale.
        steps: of each, at least; whole epochs.
    """

    low: float = 1e-6
    high: float = 10.0
    rates: int = 24
    steps: int = 200

    @property
    def grid(self) -> list[float]:
        """The constant rates, ascending."""
        return [float(rate) for rate in np.geomspace(self.low, self.high, self.rates)]


@dataclass(frozen=True)
class Found:
    """What the losses say. Rates are values of `optimizer.lr`; None where there is none.

    A rate's gain is how far below chance its last validation loss is.

    Attributes:
        chance: validation loss of the best answer that is the same for all rows.
        best: the constant rate with the lowest last validation loss.
        low: the lowest rate that learns (see `ENOUGH`), with all up to `best`.
        high: the highest rate that learns, with all down to `best`.
        diverges: the lowest constant rate above `best` that ends worse than chance, or in no number.
        steepest: where the ramp's smoothed loss falls fastest per decade.
        turns: where it is lowest.
    """

    chance: float
    best: float | None
    low: float | None
    high: float | None
    diverges: float | None
    steepest: float | None
    turns: float | None


def measure(
    recipe: Recipe, train: Arrays, val: Arrays, problem: Problem, seed: int, settings: Settings, device: Device
) -> pd.DataFrame:
    """Trains all rates from the same seed, as one population.

    Args:
        recipe: whose optimizer's rate is tried; its schedule, epochs and patience do not count.
        train: rows to learn from.
        val: rows to compare rates by.
        problem: what the data mean.
        seed: of all members: they differ in nothing but their rate.
        settings: what is tried.
        device: where it runs.

    Returns:
        Columns kind ("ramp" or "constant"), lr, step (the last one that the row tells of), train/loss, smoothed (of the
        ramp), val/loss (of the others). A row per step of the ramp, per epoch of the others; none after a loss that is
        no number.
    """
    size = len(train.x) if recipe.batch_size == "all" else min(int(recipe.batch_size), len(train.x))
    epoch_steps = math.ceil(len(train.x) / size)
    epochs = math.ceil(settings.steps / epoch_steps)
    losses: list[Tensor] = []
    rows: list[dict[str, object]] = []

    def noted(lr: float) -> OnEpoch:
        def on_epoch(epoch: int, row: dict[str, float]) -> None:
            told = {name: row[name] for name in ("train/loss", "val/loss")}
            rows.append({"kind": "constant", "lr": lr, "step": epoch * epoch_steps, **told})

        return on_epoch

    ramp = Ramp(settings.low / settings.high)
    members = [Member(0, at_rate(recipe, settings.high, ramp, epochs), seed, on_losses=losses.append)]
    for number, lr in enumerate(settings.grid, 1):
        members.append(Member(number, at_rate(recipe, lr, Constant(), epochs), seed, noted(lr)))
    for _, outcome in train_many(members, train, val, problem, device):
        if isinstance(outcome, Exception) and not isinstance(outcome, Diverged):
            raise outcome  # of what trained, and of what diverged, the watchers have all there is
    told = pd.DataFrame(rows, columns=["kind", "lr", "step", "train/loss", "val/loss"]).sort_values(["lr", "step"])
    steps = np.concatenate([found.numpy() for found in losses])
    factors = [ramp(step / (epochs * epoch_steps)) for step in range(len(steps))]
    return pd.concat([_ramp(settings.high * np.array(factors), steps), told], ignore_index=True)


def at_rate(recipe: Recipe, lr: float, schedule: Schedule, epochs: int) -> Recipe:
    """The recipe with another rate, for so many epochs."""
    made = recipe.optimizer
    assert isinstance(made, partial)  # else it is no member
    return replace(
        recipe,
        optimizer=partial(made.func, **{**made.keywords, "lr": lr}),
        schedule=schedule,
        epochs=epochs,
        horizon_epochs=epochs,
        patience_epochs=None,
    )


def _ramp(rates: Floats, losses: Floats) -> pd.DataFrame:
    bad = ~np.isfinite(losses)
    end = int(bad.argmax()) if bad.any() else len(losses)
    shown = losses[:end].astype(np.float64)
    return pd.DataFrame(
        {"kind": "ramp", "lr": rates[:end], "step": range(1, end + 1), "train/loss": shown, "smoothed": smoothed(shown)}
    )


def smoothed(losses: Sequence[float] | Floats) -> Floats:
    """Losses averaged with their neighbours on both sides, so that the curve is not moved to higher rates.

    Gaussian weights whose standard deviation is 2 % of the steps, and 2 at least; fastai's average looks back only.
    """
    values = np.asarray(losses, dtype=np.float64)
    if not len(values):
        return values
    sd = max(0.02 * len(values), 2.0)
    reach = math.ceil(3 * sd)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sd) ** 2)
    total, weight = (np.convolve(v, kernel)[reach : reach + len(values)] for v in (values, np.ones(len(values))))
    averaged: Floats = total / weight
    return averaged


def chance(train: Arrays, val: Arrays, problem: Problem) -> float:
    """Validation loss of the best answer that is the same for all rows: the classes' shares, or the mean."""
    if problem.task == "regression":
        return float(np.square(val.y).mean())  # targets are standardised: their mean is 0
    counts = np.bincount(train.y, minlength=problem.outputs) + 1.0  # no class has a share of 0
    return float(-np.log(counts / counts.sum())[val.y].mean())


def read(table: pd.DataFrame, rates: Sequence[float], chance: float) -> Found:
    """What a table of `measure` says.

    Args:
        table: as `measure` returns it.
        rates: the constant ones, ascending, those included that diverged at once and have no row.
        chance: see `Found`.
    """
    constant = table[table["kind"] == "constant"]
    last = constant.groupby("lr").tail(1).set_index("lr")
    # A rate that diverged has fewer rows than the others.
    full = last["val/loss"].where(last["step"] == constant["step"].max()).reindex(list(rates))
    gains = (chance - full).fillna(-np.inf).to_numpy(dtype=float)
    steepest, turns = _descent(table[table["kind"] == "ramp"])
    if gains.max() <= 0:
        return Found(chance, None, None, None, None, steepest, turns)
    top = int(gains.argmax())
    learns = gains >= ENOUGH * gains[top]
    low, high = top, top
    while low > 0 and learns[low - 1]:
        low -= 1
    while high + 1 < len(rates) and learns[high + 1]:
        high += 1
    worse = [rate for rate, gain in zip(rates[high + 1 :], gains[high + 1 :], strict=True) if gain < 0]
    # One alone is no range: half a step of the grid on both sides.
    half = math.sqrt(rates[1] / rates[0]) if low == high else 1.0
    diverges = worse[0] if worse else None
    return Found(chance, rates[top], rates[low] / half, rates[high] * half, diverges, steepest, turns)


def _descent(ramp: pd.DataFrame) -> tuple[float | None, float | None]:
    """Rates at which the smoothed loss falls fastest per decade, and at which it is lowest; None if it never falls."""
    values, rates = ramp["smoothed"].to_numpy(dtype=float), ramp["lr"].to_numpy(dtype=float)
    if len(values) < 3 or (lowest := int(values.argmin())) == 0:
        return None, None
    falling = np.gradient(values, np.log10(rates))[: lowest + 1]
    return float(rates[falling.argmin()]), float(rates[lowest])
