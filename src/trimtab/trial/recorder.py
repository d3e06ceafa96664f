"""What one trial leaves behind, epoch by epoch: curves, validation results per example, the best weights."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trimtab.data.arrays import Problem
from trimtab.errors import Diverged
from trimtab.trial.batches import Rows
from trimtab.trial.metrics import METRICS, measure, names
from trimtab.trial.recipe import Recipe

OnEpoch = Callable[[int, dict[str, float]], None]
Weights = Callable[[], dict[str, Tensor]]


def check_finite(name: str, value: float, epoch: int, lr: float, step: int | None = None) -> None:
    """Ends a trial whose loss is no number any more.

    Raises:
        Diverged: `value` is NaN or infinite.
    """
    if not math.isfinite(value):
        where = f"epoch {epoch}" if step is None else f"epoch {epoch}, step {step}"
        raise Diverged(f"{name} must stay finite but is {value} in {where} at learning rate {lr:g}; lower optimizer.lr")


def train_loss(losses: Tensor, sizes: Tensor, epoch: int, lr: float) -> float:
    """Mean over an epoch's rows of the loss that was trained on: class weights, smoothing and dropout included.

    Args:
        losses: (steps,).
        sizes: (steps,) rows of each step's batch.
        epoch: counted from 1.
        lr: at the epoch's first step.

    Raises:
        Diverged: one is NaN or infinite.
    """
    read = losses.cpu().double()
    finite = read.isfinite()
    if not finite.all():
        first = int((~finite).int().argmax())
        check_finite("train/loss", float(read[first]), epoch, lr, first + 1)
    return float((read * sizes).sum() / sizes.sum())


@dataclass(frozen=True, eq=False)
class Notes:
    """What a recorder has noted so far, on the CPU.

    Attributes:
        curves: a row per epoch.
        examples: (epochs, …) as `TrialResult.per_example`.
        best_epoch: counted from 1.
        best_outputs: (rows, outputs) of the validation rows at the best epoch.
        weights: the network at the best epoch.
    """

    curves: tuple[dict[str, float], ...]
    examples: Tensor
    best_epoch: int
    best_outputs: Tensor
    weights: dict[str, Tensor]


class Recorder:
    """Takes notes after each epoch and says when patience is used up.

    Args:
        recipe: gives metric and patience.
        problem: what the outputs mean.
        val: the validation rows.
        on_epoch: told each epoch and its row of the curves.
    """

    def __init__(self, recipe: Recipe, problem: Problem, val: Rows, on_epoch: OnEpoch | None = None) -> None:
        self.val = val
        self.curves: list[dict[str, float]] = []
        self.best_epoch = 0
        self.weights: dict[str, Tensor] = {}
        self._examples: list[NDArray[np.generic]] = []
        self._best_outputs = torch.empty(0)
        self._recipe, self._problem, self._on_epoch = recipe, problem, on_epoch
        shown = "val/accuracy" if problem.task == "classification" else "val/mae"
        self._further = tuple(dict.fromkeys(name for name in (shown, recipe.metric) if name != "val/loss"))

    def after_epoch(self, row: dict[str, float], weights: Weights, outputs: Tensor) -> bool:
        """Completes the epoch's row; True when training should stop.

        Args:
            row: epoch (from 1), train/loss and lr.
            weights: gives a copy of the network as it is; asked if it is the best so far. Of equals the first is best.
            outputs: (rows, outputs) of the validation rows.

        Raises:
            Diverged: the validation loss is NaN or infinite.
        """
        epoch = int(row["epoch"])
        loss = measure(("val/loss",), outputs, self.val.y, self._problem)
        check_finite("val/loss", loss["val/loss"], epoch, row["lr"])
        row = row | loss | measure(self._further, outputs, self.val.y, self._problem)
        self.curves.append(row)
        self._examples.append(_per_example(outputs, self.val.y, self._problem))
        if self._is_best(row):
            self.best_epoch, self._best_outputs = epoch, outputs
            self.weights = weights()
        if self._on_epoch is not None:
            self._on_epoch(epoch, dict(row))
        return self.impatient

    @property
    def impatient(self) -> bool:
        """Whether patience is used up."""
        patience = self._recipe.patience_epochs
        return patience is not None and len(self.curves) - self.best_epoch >= patience

    def notes(self) -> Notes:
        """What has been noted after at least one epoch; later epochs leave it as it is."""
        weights = {name: value.cpu() for name, value in self.weights.items()}
        examples = torch.from_numpy(self.per_example())
        return Notes(tuple(map(dict, self.curves)), examples, self.best_epoch, self._best_outputs.cpu(), weights)

    def resume(self, notes: Notes) -> None:
        """Goes on from the notes of an earlier recorder."""
        self.curves = [dict(row) for row in notes.curves]
        self._examples = list(notes.examples.numpy())
        self.best_epoch, self.weights = notes.best_epoch, dict(notes.weights)
        self._best_outputs = notes.best_outputs.to(self.val.y.device)

    def _is_best(self, row: dict[str, float]) -> bool:
        if not self.best_epoch:
            return True
        metric = self._recipe.metric
        now, before = row[metric], self.curves[self.best_epoch - 1][metric]
        return now < before if METRICS[metric].direction == "minimize" else now > before

    def best(self) -> dict[str, float]:
        """Every metric of the task at the best epoch."""
        return measure(names(self._problem.task), self._best_outputs, self.val.y, self._problem)

    def per_example(self) -> NDArray[np.generic]:
        """(epochs, …) as `TrialResult.per_example` says."""
        return np.stack(self._examples)


def _per_example(outputs: Tensor, targets: Tensor, problem: Problem) -> NDArray[np.generic]:
    """Bit-packed hits, or squared errors in float16, cut off at its largest number."""
    if problem.task == "classification":
        return np.packbits((outputs.argmax(1) == targets).cpu().numpy())
    errors = (outputs.squeeze(1) - targets).square().cpu().numpy()
    return errors.clip(max=np.finfo(np.float16).max).astype(np.float16)
