"""One trial as a LightningModule with automatic optimisation."""

from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from trimtab.data.arrays import Problem
from trimtab.trial.batches import Batches, outputs_of
from trimtab.trial.metrics import data_loss
from trimtab.trial.recipe import Recipe, built_optimizer
from trimtab.trial.recorder import Recorder, check_finite
from trimtab.trial.schedules import is_constant


class Trial(pl.LightningModule):
    """A network, its loss, optimizer and schedule.

    It validates in `on_train_epoch_end`, in one pass over rows that lie on the device already: Lightning's validation
    loop costs 0.9 ms more per epoch (8 % of a digits trial), a callback 5–10 µs per step (2 CPU cores, Lightning 2.6).

    Args:
        model: the network.
        recipe: gives optimizer, schedule and horizon.
        problem: gives the loss.
        batches: the training rows.
        recorder: holds the validation rows; None in a refit.
    """

    def __init__(
        self, model: nn.Module, recipe: Recipe, problem: Problem, batches: Batches, recorder: Recorder | None
    ) -> None:
        super().__init__()
        self.model = model
        self.recipe, self.problem, self.batches, self.recorder = recipe, problem, batches, recorder
        weights = None if problem.class_weights is None else torch.tensor(problem.class_weights)
        self.register_buffer("class_weights", weights)
        self._losses: list[Tensor] = []
        self._lr = 0.0

    def __setattr__(self, name: str, value: Any) -> None:
        """Lightning notes the running hook 40 times per step; nn.Module's way to set it costs 40 µs of 600."""
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def training_step(self, dataloader_iter: Iterator[Any]) -> Tensor:
        """One batch's loss. Asking for the iterator spares batches that lie on the device 70 µs of transfer hooks."""
        (x, y), _, _ = next(dataloader_iter)
        loss = data_loss(self.model(x), y, self.problem, self.class_weights)  # type: ignore[arg-type]
        self._losses.append(loss.detach())  # read once per epoch: reading it here would stall a GPU
        return loss

    def configure_gradient_clipping(self, *args: Any, **kwargs: Any) -> None:
        """No recipe clips; asking Lightning every step whether to costs 6 µs."""

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The recipe's optimizer and, unless the rate is constant, its schedule by the step."""
        optimizer = built_optimizer(self.recipe, self.model.parameters())
        if is_constant(self.recipe.schedule):
            return optimizer
        total = self.recipe.horizon_epochs * len(self.batches)
        scheduler = LambdaLR(optimizer, lambda step: self.recipe.schedule(min(step / total, 1.0)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        """Notes the rate of the epoch's first step."""
        self._losses = []
        self._lr = float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_epoch_end(self) -> None:
        """Reads the losses, validates, and stops the Trainer when patience is used up."""
        epoch = self.current_epoch + 1
        row = {"epoch": epoch, "train/loss": self._train_loss(epoch), "lr": self._lr}
        if self.recorder is None:
            return
        with self.trainer.precision_plugin.forward_context():
            outputs = outputs_of(self.model, self.recorder.val.x)
        if self.recorder.after_epoch(row, self.model, outputs):
            self.trainer.should_stop = True

    def _train_loss(self, epoch: int) -> float:
        """Mean over the epoch's rows of the loss that was trained on, class weights and dropout included."""
        losses = torch.stack(self._losses).cpu().double()
        finite = losses.isfinite()
        if not finite.all():
            first = int((~finite).int().argmax())
            check_finite("train/loss", float(losses[first]), epoch, self._lr, first + 1)
        sizes = self.batches.sizes()
        return float((losses * sizes).sum() / sizes.sum())
