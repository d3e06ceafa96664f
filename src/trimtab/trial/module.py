"""One trial as a LightningModule with automatic optimisation."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from trimtab.data.arrays import Problem
from trimtab.models.dropout import keys, replace
from trimtab.trial import seeds
from trimtab.trial.batches import Batches
from trimtab.trial.metrics import data_loss
from trimtab.trial.recipe import Recipe, built_optimizer
from trimtab.trial.recorder import Recorder, train_loss
from trimtab.trial.regularisation import Fuzz, clip, decayed, noise, noise_variance, penalty
from trimtab.trial.schedules import Lull, Plateau, is_constant
from trimtab.trial.validation import validate


class Trial(pl.LightningModule):
    """A network, its loss, optimizer and schedule.

    It validates in `on_train_epoch_end`, in one pass over rows that lie on the device already: Lightning's validation
    loop costs 0.9 ms more per epoch (8 % of a digits trial), a callback 5–10 µs per step (2 CPU cores, Lightning 2.6).

    Args:
        model: the network.
        recipe: gives optimizer, schedule, regularisation and horizon.
        problem: gives the loss.
        batches: the training rows.
        recorder: holds the validation rows; None in a refit.
        seed: of the trial; gives the noise on weights and gradients.
    """

    def __init__(
        self, model: nn.Module, recipe: Recipe, problem: Problem, batches: Batches, recorder: Recorder | None, seed: int
    ) -> None:
        super().__init__()
        self.model = model
        self.recipe, self.problem, self.batches, self.recorder = recipe, problem, batches, recorder
        weights = None if problem.class_weights is None else torch.tensor(problem.class_weights)
        self.register_buffer("class_weights", weights)
        self._seed = seed
        self._losses: list[Tensor] = []
        self._lr = 0.0
        self._lull = Lull()
        self._prepare(recipe)

    def _prepare(self, recipe: Recipe) -> None:
        """What steps would otherwise ask for each time: a knob that is off costs an `if`."""
        settings = recipe.regularisation
        self._trained = [p for p in self.model.parameters() if p.requires_grad]
        self._penalised = decayed(self.model, settings.decay_on) if settings.l2 or settings.l1 else []
        self._smoothing = settings.label_smoothing
        self._clips = settings.clip_norm is not None or settings.clip_value is not None
        self._fuzz: Fuzz | None = None
        self._gradient_noise: torch.Generator | None = None
        self._drops = replace(self.model)
        self._noise = torch.tensor(seeds.signed(self._seed, "noise"))

    def __setattr__(self, name: str, value: Any) -> None:
        """Lightning notes the running hook 40 times per step; nn.Module's way to set it costs 40 µs of 600."""
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def on_fit_start(self) -> None:
        """Noise is drawn where the network lies, from streams of its own."""
        settings = self.recipe.regularisation
        if settings.weight_noise:
            source = seeds.generator(self._seed, "weight_noise", self.device)
            self._fuzz = Fuzz(self._trained, settings.weight_noise, source)
        if settings.gradient_noise:
            self._gradient_noise = seeds.generator(self._seed, "gradient_noise", self.device)

    def streams(self) -> dict[str, torch.Generator]:
        """What noise is drawn from, by name; dropout draws from nothing."""
        fuzz = None if self._fuzz is None else self._fuzz.generator
        found = {"weight_noise": fuzz, "gradient_noise": self._gradient_noise}
        return {name: generator for name, generator in found.items() if generator is not None}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what only `schedule=plateau` knows."""
        checkpoint["lull"] = asdict(self._lull)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The other way round."""
        self._lull = Lull(**checkpoint["lull"])

    def training_step(self, dataloader_iter: Iterator[Any]) -> Tensor:
        """One batch's loss. Asking for the iterator spares batches that lie on the device 70 µs of transfer hooks."""
        (x, y), _, _ = next(dataloader_iter)
        if self._fuzz is not None:
            self._fuzz.add()
        if self._drops:
            chosen = keys(self._noise, self.trainer.global_step, self._drops[-1].place + 1)
            for drop in self._drops:
                drop.key.copy_(chosen[drop.place])
        loss = data_loss(self.model(x), y, self.problem, self.class_weights, self._smoothing)  # type: ignore[arg-type]
        self._losses.append(loss.detach())  # read once per epoch: reading it here would stall a GPU
        if self._penalised:
            settings = self.recipe.regularisation
            loss = loss + penalty(self._penalised, settings.l2, settings.l1)
        return loss

    def configure_gradient_clipping(self, *args: Any, **kwargs: Any) -> None:
        """What happens between gradient and step; asking Lightning every step whether to clip costs 6 µs."""
        if self._fuzz is not None:
            self._fuzz.remove()
        if self._clips:
            clip(self._trained, self.recipe.regularisation.clip_norm, self.recipe.regularisation.clip_value)
        if self._gradient_noise is not None:
            self._add_gradient_noise(self._gradient_noise)

    def _add_gradient_noise(self, generator: torch.Generator) -> None:
        gradients = [p.grad for p in self._trained if p.grad is not None]
        variance = noise_variance(self.recipe.regularisation.gradient_noise, self.trainer.global_step)
        torch._foreach_add_(gradients, noise(gradients, variance**0.5, generator))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The recipe's optimizer and, unless the rate is constant, its schedule by the step."""
        optimizer = built_optimizer(self.recipe, self.model, self.batches.batch_size)
        if is_constant(self.recipe.schedule):
            return optimizer
        total = self.recipe.horizon_epochs * len(self.batches)
        scheduler = LambdaLR(optimizer, lambda step: self.recipe.schedule(min(step / total, 1.0)) * self._lull.factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        """Notes the rate of the epoch's first step."""
        self._losses = []
        self._lr = float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_epoch_end(self) -> None:
        """Reads the losses, validates, and stops the Trainer when patience is used up."""
        epoch = self.current_epoch + 1
        sizes = self.batches.sizes()[: len(self._losses)]  # the search for a batch size ends after three steps
        loss = train_loss(torch.stack(self._losses), sizes, epoch, self._lr)
        if isinstance(self.recipe.schedule, Plateau):
            self._slow_down(self.recipe.schedule, loss)
        if self.recorder is not None:
            row = {"epoch": epoch, "train/loss": loss, "lr": self._lr}
            validate(self.trainer, self.model, self.recorder, row)

    def _slow_down(self, plateau: Plateau, loss: float) -> None:
        before, self._lull = self._lull.factor, plateau.after_epoch(self._lull, loss)
        for group in self.trainer.optimizers[0].param_groups:  # set already for the next step, by the old factor
            group["lr"] *= self._lull.factor / before
