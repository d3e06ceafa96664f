"""Which engine a study's trials get where a person leaves it open."""

from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from torch import nn

from trimtab.data.arrays import Problem
from trimtab.errors import ConfigError
from trimtab.population.members import obstacle
from trimtab.population.network import network
from trimtab.trial.recipe import Device, Recipe
from trimtab.trial.train import check

LARGE = 1_000_000
"""Parameters from which on a step is arithmetic, which stacking does not save."""


@dataclass(frozen=True)
class Choice:
    """An option of conf/engine, and why."""

    engine: str
    why: str


def choice(recipe: Recipe, problem: Problem, device: Device) -> Choice:
    """The engine for trials around this recipe."""
    if (why := obstacle(recipe, device)) is not None:
        return Choice("solo", why)
    models = _two(recipe, problem)
    if (why := _no_stack(models, problem)) is not None:
        return Choice("solo", why)
    return Choice("population", "small networks spend most of a trial on what a stack of them shares")


def _no_stack(models: list[nn.Module], problem: Problem) -> str | None:
    model = models[0]
    count = sum(p.numel() for p in model.parameters())
    if count > LARGE and not isinstance(model, pl.LightningModule):
        name = type(model).__name__
        return f"{name} has {count:,} parameters: its time is arithmetic, which stacking does not save"
    return _unmapped(models, problem)


def _two(recipe: Recipe, problem: Problem) -> list[nn.Module]:
    """Networks to try, without a trace in the process's random numbers."""
    with torch.random.fork_rng():
        return [recipe.model(problem.shape, problem.outputs) for _ in range(2)]


def _unmapped(models: list[nn.Module], problem: Problem) -> str | None:
    """Why a stack of these can't compute; None if it just did."""
    name = type(models[0]).__name__
    if isinstance(models[0], pl.LightningModule):
        return f"{name} is a LightningModule and trains itself"
    try:
        stack = network(models, torch.device("cpu"))
        weights = [stack.load(m) for m in range(2)]
        parameters = {name: torch.stack([w[name] for w in weights]) for name in weights[0]}
        stack.forward(parameters, torch.zeros(2, 2, *problem.shape), 0)
    except Exception as e:  # whatever a user's module does that vmap cannot
        return f"{name} can't be mapped over members: {' '.join(str(e).split())[:200]}"
    return None


def require_member(recipe: Recipe, problem: Problem, device: Device) -> None:
    """Holds a recipe to be one that can be trained in a stack.

    Raises:
        ConfigError: it can't, or a setting is out of its range.
    """
    if not check(recipe, problem, device):
        raise ConfigError(
            "the model is a LightningModule and trains by its own loss and optimizer: there is no optimizer.* of ours "
            "to turn; choose a plain nn.Module, e.g. model=mlp"
        )
    if (why := obstacle(recipe, device) or _unmapped(_two(recipe, problem), problem)) is not None:
        raise ConfigError(f"this tool trains many networks in one stack, and this one can't be in it: {why}")
