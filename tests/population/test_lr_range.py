"""The learning-rate range test reads its curves as a person would."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from sample_members import Rows, adamw, mlp, recipe, sgd
from trimtab.population.lr_range import Found, Settings, chance, measure, read, smoothed
from trimtab.trial.recipe import Device
from trimtab.trial.schedules import Cosine
from trimtab.trial.train import train

GRID = [1e-3, 1e-2, 1e-1, 1.0, 10.0]
NAN = math.nan


def table(last: list[float | None], ramp: list[float]) -> pd.DataFrame:
    """Two epochs of each rate; None is one that diverged in the second, NaN one that diverged in the first."""
    rows = [{"kind": "ramp", "lr": 10.0 ** (i - 3), "step": i + 1, "smoothed": loss} for i, loss in enumerate(ramp)]
    for lr, loss in zip(GRID, last, strict=True):
        if loss is None or not math.isnan(loss):
            rows.append({"kind": "constant", "lr": lr, "step": 5, "val/loss": 2.0})
            rows += [{"kind": "constant", "lr": lr, "step": 10, "val/loss": loss}] if loss is not None else []
    return pd.DataFrame(rows, columns=["kind", "lr", "step", "train/loss", "smoothed", "val/loss"])


@pytest.mark.parametrize(
    ("last", "found"),
    [
        ([1.9, 0.4, 0.2, 2.1, 3.0], (1e-1, 1e-2, 1e-1, 1.0)),
        ([1.9, 0.4, 0.2, 1.5, None], (1e-1, 1e-2, 1e-1, 10.0)),  # learns, but less than half as much
        ([0.4, 1.9, 0.2, 0.3, NAN], (1e-1, 1e-1, 1.0, 10.0)),  # an island apart does not count
        ([1.9, 1.8, 0.2, 2.1, 3.0], (1e-1, 10**-1.5, 10**-0.5, 1.0)),
        ([0.1, 0.2, 0.3, 0.4, 0.5], (1e-3, 1e-3, 10.0, None)),
        ([2.0, 2.1, 2.2, None, NAN], (None, None, None, None)),
    ],
)
def test_what_learns_is_told(last: list[float | None], found: tuple[float | None, ...]) -> None:
    told = read(table(last, [2.0, 2.0, 1.0, 0.5, 5.0]), GRID, 2.0)
    assert (told.best, told.low, told.high, told.diverges) == pytest.approx(found)
    assert (told.steepest, told.turns) == (1e-1, 1.0)


def test_a_ramp_that_never_falls_says_nothing() -> None:
    told = read(table([1.9, 0.4, 0.2, 2.1, 3.0], [2.0, 2.1, 2.2, 5.0]), GRID, 2.0)
    assert (told.steepest, told.turns) == (None, None)


def test_smoothing_moves_nothing_sideways() -> None:
    noise = np.random.default_rng(0).normal(size=201)
    valley = np.linspace(-1, 1, 201) ** 2
    assert smoothed(valley).argmin() == 100
    assert abs(smoothed(valley + 0.1 * noise) - valley)[10:-10].max() < 0.15
    assert smoothed([3.0]).tolist() == [3.0]


def test_each_rate_trains_as_a_trial_of_that_rate(rows: Rows) -> None:
    """And its own schedule, epochs and patience do not count."""
    given = recipe(mlp(), sgd(), epochs=50, schedule=Cosine(), patience_epochs=1)
    found = measure(given, rows.train, rows.val, rows.problem, 0, Settings(1e-3, 1e3, 3, 18), Device("cpu"))
    ramp, constant = found[found["kind"] == "ramp"], found[found["kind"] == "constant"]
    assert constant["step"].max() == 20  # whole epochs of 5 steps
    for lr, curve in constant.groupby("lr"):
        # At a rate of 1 the last bits grow.
        alone = train(recipe(mlp(), sgd(lr=lr), epochs=4), rows.train, rows.val, rows.problem, 0)
        assert curve["val/loss"].tolist() == pytest.approx([row["val/loss"] for row in alone.curves], rel=1e-2)
    assert 1e3 not in set(constant["lr"])  # diverged in its first epoch
    assert ramp["lr"].iloc[0] == pytest.approx(1e-3)
    assert np.diff(np.log10(ramp["lr"])) == pytest.approx(np.full(len(ramp) - 1, 6 / 20))


def test_a_ramp_ends_where_its_loss_is_no_number(rows: Rows) -> None:
    settings = Settings(1e-3, 1e30, 2, 20)
    found = measure(recipe(mlp(), sgd()), rows.train, rows.val, rows.problem, 0, settings, Device("cpu"))
    ramp = found[found["kind"] == "ramp"]
    assert 0 < len(ramp) < 20
    assert np.isfinite(ramp[["train/loss", "smoothed"]].to_numpy()).all()


def test_chance_is_the_best_constant_answer(rows: Rows) -> None:
    assert chance(rows.train, rows.val, rows.problem) == pytest.approx(math.log(10), rel=0.05)
    problem = replace(rows.problem, task="regression")
    val = replace(rows.val, y=np.array([1.0, -2.0], dtype=np.float32))
    assert chance(rows.train, val, problem) == 2.5


def test_a_range_is_found_between_too_low_and_too_high(rows: Rows) -> None:
    settings = Settings(1e-7, 100.0, 10, 100)
    given = recipe(mlp(), adamw())
    told = measure(given, rows.train, rows.val, rows.problem, 0, settings, Device("cpu"))
    found = read(told, settings.grid, chance(rows.train, rows.val, rows.problem))
    assert isinstance(found, Found)
    assert found.low is not None
    assert found.high is not None
    assert 1e-5 < found.low < 1e-2 < found.high < 10
    assert found.steepest is not None
