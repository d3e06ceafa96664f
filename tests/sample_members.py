"""Recipes of every kind, on data that take no time."""

from functools import partial
from typing import Any

import numpy as np

from trimtab.data.arrays import Arrays, Problem
from trimtab.models.mlp import MLP
from trimtab.trial import optimizers
from trimtab.trial.recipe import Recipe
from trimtab.trial.schedules import Constant


def mlp(**settings: Any) -> Any:
    return partial(MLP, **{"depth": 2, "width": 24, **settings})


def adamw(**settings: Any) -> Any:
    return partial(optimizers.adamw, **{"lr": 3e-3, **settings})


def sgd(**settings: Any) -> Any:
    return partial(optimizers.sgd, **{"lr": 0.05, "momentum": 0.9, **settings})


def recipe(model: Any, optimizer: Any, epochs: int = 3, **settings: Any) -> Recipe:
    given = {"batch_size": 32, "schedule": Constant(), "patience_epochs": None, "metric": "val/loss", **settings}
    return Recipe(model=model, optimizer=optimizer, epochs=epochs, horizon_epochs=epochs, **given)


class Rows:
    """Ten classes of noisy sequences: 150 rows to learn from, so that the last batch is a small one."""

    shape = (1, 20)

    def __init__(self, weights: tuple[float, ...] | None = None) -> None:
        random = np.random.default_rng(0)
        centres = random.normal(size=(10, *self.shape))
        labels = random.integers(0, 10, 250)
        x = (centres[labels] + random.normal(size=(250, *self.shape))).astype(np.float32)
        self.train, self.val = Arrays(x[:150], labels[:150]), Arrays(x[150:], labels[150:])
        self.problem = Problem("classification", self.shape, 10, tuple("0123456789"), 0.0, 1.0, weights)
