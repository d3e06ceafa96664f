"""The end of an epoch, for a trial of ours and for a LightningModule that a user wrote."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from trimtab.errors import ConfigError
from trimtab.trial.batches import Batches, outputs_of
from trimtab.trial.recorder import Recorder, train_loss


def validate(trainer: pl.Trainer, model: nn.Module, recorder: Recorder, row: dict[str, float]) -> None:
    """Runs the validation rows through the network, and stops the Trainer when patience is used up."""
    with trainer.precision_plugin.forward_context():
        outputs = outputs_of(model, recorder.val.x)
    if recorder.after_epoch(row, lambda: {k: v.detach().clone() for k, v in model.state_dict().items()}, outputs):
        trainer.should_stop = True


class Watch(pl.Callback):
    """What `Trial` does at the ends of epochs, for a user's own LightningModule.

    Args:
        batches: the training rows.
        recorder: holds the validation rows; None in a refit.
    """

    def __init__(self, batches: Batches, recorder: Recorder | None) -> None:
        self._batches, self._recorder = batches, recorder
        self._losses: list[Tensor] = []
        self._lr = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Notes the rate of the epoch's first step; 0 where the module moves its weights without an optimizer."""
        self._losses = []
        self._lr = float(trainer.optimizers[0].param_groups[0]["lr"]) if trainer.optimizers else 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keeps the loss that training_step returned."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if not isinstance(loss, Tensor):
            raise ConfigError(
                f"{type(pl_module).__name__}.training_step must return its loss, or a dictionary with 'loss', but "
                f"returned {loss!r}: curves and the check for divergence are made of it"
            )
        self._losses.append(loss.detach())

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reads the losses, validates by `forward`, and stops the Trainer when patience is used up."""
        epoch = trainer.current_epoch + 1
        loss = train_loss(torch.stack(self._losses), self._batches.sizes(), epoch, self._lr)
        if self._recorder is not None:
            row = {"epoch": epoch, "train/loss": loss, "lr": self._lr}
            validate(trainer, pl_module, self._recorder, row)
