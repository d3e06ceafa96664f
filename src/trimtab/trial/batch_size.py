"""What `training.batch_size` comes to: a number, all rows, or the most that memory holds."""

import math
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.tuner.tuning import Tuner

from trimtab.data.arrays import Arrays, Problem
from trimtab.trial import seeds
from trimtab.trial.batches import Batches, Rows
from trimtab.trial.module import Trial
from trimtab.trial.recipe import Device, Recipe
from trimtab.trial.session import interruptible, on_device, session

# Where the search for `auto` starts, and the steps that it tries of each size.
FIRST, STEPS = 32, 3


def with_batch_size(recipe: Recipe, rows: Arrays, problem: Problem, seed: int, device: Device) -> Recipe:
    """The recipe with a number for its batch size, at most all rows.

    `auto` is searched anew for each training: it depends on the machine and on what else its memory holds, so the
    number is recorded with the result, and a study cannot search `auto` beside numbers.
    """
    size = recipe.batch_size
    if size == "auto":
        size = _most(recipe, rows, problem, seed, device)
    elif size == "all":
        size = len(rows.x)
    return replace(recipe, batch_size=min(int(size), len(rows.x)))


class _Data(pl.LightningDataModule):
    """Rows in batches whose size Lightning's finder may set."""

    def __init__(self, rows: Rows, batch_size: int, seed: int) -> None:
        super().__init__()
        self._rows, self._seed = rows, seed
        self.batch_size = batch_size

    def train_dataloader(self) -> Batches:
        return Batches(self._rows, self.batch_size, seeds.generator(self._seed, "batches"))

    def val_dataloader(self) -> list[Any]:
        return []  # Lightning wants an answer for a module that has a validation_step


def _most(recipe: Recipe, rows: Arrays, problem: Problem, seed: int, device: Device) -> int:
    """The largest of 32, 64, 128 … rows, up to all, that trains without running out of memory (Lightning's Tuner).

    It trains a network of its own, which is thrown away.
    """
    first = min(FIRST, len(rows.x))
    tries = 1 + math.ceil(math.log2(len(rows.x) / first))
    with TemporaryDirectory() as folder, session(1, device, folder=folder) as trainer:
        seeds.seed_global(seed, "weights", trainer.strategy.root_device)
        model = recipe.model(problem.shape, problem.outputs)
        data = _Data(on_device(trainer, rows), first, seed)
        if not isinstance(model, pl.LightningModule):
            model = Trial(model, replace(recipe, batch_size=first), problem, data.train_dataloader(), None, seed)
        with interruptible():
            found = Tuner(trainer).scale_batch_size(
                model, datamodule=data, steps_per_trial=STEPS, init_val=first, max_trials=tries, max_val=2**62
            )
    return found or first
