"""A member: one trial's recipe, read as the settings that a stack of trials takes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from trimtab.models.cnn import CNN
from trimtab.models.mlp import MLP
from trimtab.population.optimizers import KINDS
from trimtab.population.state import MemberState
from trimtab.trial import optimizers
from trimtab.trial.recipe import Device, Recipe, lr_factor
from trimtab.trial.recorder import OnEpoch

FACTORIES = {getattr(optimizers, kind): kind for kind in KINDS}
"""The factories of conf/optimizer, by which an optimizer's kind is known."""

OWN = ("dropout", "conv_dropout", "initialisation")
"""Settings of any network of ours that leave its shapes alone."""


@dataclass(frozen=True)
class Member:
    """One trial among many.

    Attributes:
        number: names it towards the caller.
        recipe: what is trained.
        seed: as of a trial alone.
        on_epoch: told each epoch and its row of the curves; an exception of it ends this member only.
        start: the state to go on from; its optimizer must be of the recipe's kind, its network of the recipe's shapes.
        on_pruned: given the member's state when `on_epoch` ends it by `Pruned`: another member may go on from there.
        on_losses: given (steps,) training losses after each epoch, before they are held to be finite.
    """

    number: int
    recipe: Recipe
    seed: int
    on_epoch: OnEpoch | None = None
    start: MemberState | None = None
    on_pruned: Callable[[MemberState], None] | None = None
    on_losses: Callable[[Tensor], None] | None = None

    @property
    def epochs_left(self) -> int:
        """To the last epoch of the recipe."""
        return self.recipe.epochs - (self.start.epoch if self.start else 0)

    @property
    def optimizer(self) -> tuple[str, dict[str, float]]:
        """Kind and hyperparameters, the rate scaled to the batch."""
        made = self.recipe.optimizer
        assert isinstance(made, partial)
        usual = {name: p.default for name, p in signature(made.func).parameters.items() if p.default is not p.empty}
        settings = {name: float(value) for name, value in {**usual, **made.keywords}.items()}
        settings["lr"] *= lr_factor(self.recipe.lr_scaling, int(self.recipe.batch_size))
        return FACTORIES[made.func], settings


def obstacle(recipe: Recipe, device: Device) -> str | None:
    """Why a recipe can't be a member; None if it can."""
    if device.precision != "32-true":
        return f"engine.precision={device.precision}: stacks compute in 32-true"
    make = recipe.model.func if isinstance(recipe.model, partial) else recipe.model
    if isinstance(make, type) and issubclass(make, pl.LightningModule):
        return f"{make.__name__} is a LightningModule and trains itself"
    if not isinstance(recipe.optimizer, partial) or recipe.optimizer.func not in FACTORIES:
        return "its optimizer is not one of conf/optimizer"
    if recipe.batch_size == "auto":
        return "training.batch_size=auto searches a batch that fills the memory with one trial"
    return None


def with_rows(member: Member, rows: int) -> Member:
    """The member with its batch as a number: `all`, and more rows than there are, are `rows`."""
    size = member.recipe.batch_size
    found = rows if size == "all" else min(int(size), rows)
    return replace(member, recipe=replace(member.recipe, batch_size=found))


def company(recipe: Recipe) -> tuple[Any, ...]:
    """What members must share to be in one stack: the batch size, and what padding can't make alike.

    Perceptrons share the kind of normalisation, other networks all that may change their shapes; what decay acts on is
    shared because one slice of the weights then serves all.
    """
    model = recipe.model
    shared = (recipe.batch_size, recipe.regularisation.decay_on)
    if not isinstance(model, partial):
        return (*shared, repr(model))
    name = f"{model.func.__module__}.{model.func.__qualname__}"
    if model.func is MLP and model.keywords.get("depth", 0) >= 1:
        return (*shared, name, model.keywords.get("normalisation", "none"))
    # Other networks than ours may leave the layers out at 0.
    dropping = [k for k in OWN if model.func is not CNN and "dropout" in k and model.keywords.get(k)]
    return (*shared, name, *dropping, *sorted((k, str(v)) for k, v in model.keywords.items() if k not in OWN))
