from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits

from trimtab.data.arrays import Arrays, Problem
from trimtab.models.mlp import MLP
from trimtab.trial.schedules import Constant
from trimtab.trial.train import Device, Recipe, TrialResult, train


@dataclass(frozen=True)
class Case:
    """A recipe on data, ready to run on one CPU thread."""

    recipe: Recipe
    train: Arrays
    val: Arrays
    problem: Problem

    def change(self, **changes: Any) -> "Case":
        return replace(self, recipe=replace(self.recipe, **changes))

    def run(self, seed: int = 0, **given: Any) -> TrialResult:
        return train(self.recipe, self.train, self.val, self.problem, seed, Device("cpu"), **given)


RECIPE = Recipe(
    model=partial(MLP, depth=1, width=16, dropout=0.2),
    optimizer=partial(torch.optim.AdamW, lr=0.01),
    schedule=Constant(),
    epochs=3,
    batch_size=32,
    patience_epochs=None,
    metric="val/loss",
    horizon_epochs=3,
)


@pytest.fixture(scope="session")
def all_digits() -> Case:
    """1078 training rows, 359 validation rows, as trimtab splits them; an MLP of the default size."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = ((x - x.mean()) / x.std()).astype(np.float32)[order], y[order]
    problem = Problem("classification", (64,), 10, tuple("0123456789"), 0.0, 1.0, None)
    recipe = replace(RECIPE, model=partial(MLP, depth=2, width=64), epochs=15, horizon_epochs=15)
    return Case(recipe, Arrays(x[:1078], y[:1078]), Arrays(x[1078:1437], y[1078:1437]), problem)


@pytest.fixture(scope="session")
def digits(all_digits: Case) -> Case:
    """A tiny one: 150 and 90 rows, 3 epochs, dropout on."""
    x, y = all_digits.train.x, all_digits.train.y
    return Case(RECIPE, Arrays(x[:150], y[:150]), Arrays(x[150:240], y[150:240]), all_digits.problem)


@pytest.fixture(scope="session")
def diabetes() -> Case:
    """Regression: 300 and 142 rows."""
    x, y = load_diabetes(return_X_y=True)
    x, mean, std = (x / x[:300].std(axis=0)).astype(np.float32), float(y[:300].mean()), float(y[:300].std())
    target = ((y - mean) / std).astype(np.float32)
    problem = Problem("regression", (10,), 1, (), mean, std, None)
    recipe = replace(RECIPE, epochs=10, horizon_epochs=10)
    return Case(recipe, Arrays(x[:300], target[:300]), Arrays(x[300:], target[300:]), problem)
