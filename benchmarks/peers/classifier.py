"""The LightningModule and the loaders that both peers with Lightning use, as Lightning's documentation has them."""

from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.works import Data, Settings, Work, network, optimizer

VAL_ROWS = 1024
"""Rows of a validation batch: all of them at once, here."""


class Classifier(pl.LightningModule):
    """A network of the work; metrics are logged once per epoch."""

    def __init__(self, work: Work, settings: Settings, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.save_hyperparameters(settings)
        self.settings = settings
        self.network = network(work, settings, shape)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Logs the mean of an epoch."""
        x, y = batch
        loss = F.cross_entropy(self.network(x), y)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        """Logs loss and accuracy."""
        x, y = batch
        outputs = self.network(x)
        self.log("val_loss", F.cross_entropy(outputs, y))
        self.log("val_accuracy", (outputs.argmax(1) == y).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The work's, at a constant rate."""
        return optimizer(self.settings, self.parameters())


def loaders(data: Data, settings: Settings) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """For training and validation; no worker processes, which would only cost where rows are in memory."""
    x, y, val_x, val_y = data.tensors
    train = DataLoader(TensorDataset(x, y), batch_size=settings["training.batch_size"], shuffle=True)
    return train, DataLoader(TensorDataset(val_x, val_y), batch_size=VAL_ROWS)
