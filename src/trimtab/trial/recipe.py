"""What a trial is made of besides data and seed, checked."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature

from torch import nn
from torch.optim import Optimizer

from trimtab.data.arrays import Arrays, Problem
from trimtab.errors import ConfigError, DataError
from trimtab.models.arguments import choice, whole
from trimtab.trial.augmentation import Augmentation
from trimtab.trial.objective import objective
from trimtab.trial.optimizers import Parameters
from trimtab.trial.regularisation import Regularisation, decay_groups, decayed, shrink
from trimtab.trial.schedules import Schedule

# The batch that a rate belongs to which is scaled with the batch.
LR_ROWS = 256

_UNREGULARISED, _AS_IT_IS = Regularisation(), Augmentation()


@dataclass(frozen=True)
class Recipe:
    """Everything a trial needs besides data and seed; the door builds it from the configuration.

    Attributes:
        model: (shape, outputs) → a network with torch's global generator as its source of weights. A LightningModule
            trains by its own training_step and configure_optimizers: optimizer, schedule, lr_scaling and regularisation
            do not apply to it.
        optimizer: parameters → their optimizer.
        schedule: progress in 0…1 of the horizon → factor on the learning rate, set before each step.
        batch_size: rows per step; `all` for every row, `auto` for the most that memory holds, found before training.
        patience_epochs: epochs without a better objective before stopping; None trains to the end.
        metric: what makes an epoch the best one, e.g. `val/loss`.
        horizon_epochs: epochs over which the schedule runs; equals `epochs` except in a refit.
        lr_scaling: `linear` and `sqrt` take the optimizer's rate as that of 256 rows and scale it with the batch.
        regularisation: penalties, noise and clipping.
        augmentation: changes each training batch.
    """

    model: Callable[[tuple[int, ...], int], nn.Module]
    optimizer: Callable[[Parameters], Optimizer]
    schedule: Schedule
    epochs: int
    batch_size: int | str
    patience_epochs: int | None
    metric: str
    horizon_epochs: int
    lr_scaling: str = "none"
    regularisation: Regularisation = _UNREGULARISED
    augmentation: Augmentation = _AS_IT_IS


@dataclass(frozen=True)
class Device:
    """Where a trial is computed.

    Attributes:
        accelerator: a name that Lightning knows: cpu, gpu, mps, auto …
        devices: 1; many small trials at once use more devices better than one on many.
        precision: a name that Lightning knows, e.g. 32-true, bf16-mixed.
        threads: CPU threads of torch while the trial runs.
    """

    accelerator: str = "auto"
    devices: int = 1
    precision: str = "32-true"
    threads: int = 1


def check_recipe(recipe: Recipe, problem: Problem) -> None:
    """Holds the plain numbers and the metric to their ranges.

    Raises:
        ConfigError: names the knob, its value and the rule.
    """
    whole("training.epochs", recipe.epochs)
    if recipe.batch_size not in ("all", "auto"):
        if isinstance(recipe.batch_size, str):
            raise ConfigError(f"training.batch_size must be a whole number, all or auto but is {recipe.batch_size!r}")
        whole("training.batch_size", recipe.batch_size)
    choice("training.lr_scaling", recipe.lr_scaling, ("none", "linear", "sqrt"))
    if recipe.patience_epochs is not None:
        whole("training.patience_epochs", recipe.patience_epochs)
    whole("horizon_epochs", recipe.horizon_epochs)
    objective(recipe.metric, problem.task)
    recipe.augmentation.check(problem.shape)
    _check_model(recipe, problem)
    if recipe.regularisation.label_smoothing and problem.task != "classification":
        raise ConfigError(
            f"regularisation.label_smoothing={recipe.regularisation.label_smoothing} needs classes, but the task is "
            f"{problem.task}; set it to 0"
        )


def _check_model(recipe: Recipe, problem: Problem) -> None:
    """By its signature: a TypeError from inside of the model is a bug and keeps its traceback."""
    try:
        signature(recipe.model).bind(problem.shape, problem.outputs)
    except (TypeError, ValueError) as e:
        raise ConfigError(
            f"the model must be callable as model(shape, outputs, …) with the settings of model.* as keywords: {e}; "
            "mend model.* or the model"
        ) from e


def check_device(device: Device) -> None:
    """Holds what Lightning does not check itself.

    Raises:
        ConfigError: names the knob, its value and the rule.
    """
    whole("engine.threads", device.threads)
    whole("engine.devices", device.devices)
    if device.devices > 1:
        raise ConfigError(
            f"engine.devices must be 1 but is {device.devices}: a trial runs on one device; "
            "run more trials at once with sweep.workers instead"
        )


def check_rows(name: str, rows: Arrays, problem: Problem, least: int) -> None:
    """Holds arrays to fit the problem and each other.

    Raises:
        DataError: names the part, the sizes and the rule.
    """
    if len(rows.x) != len(rows.y):
        raise DataError(f"the {name} part has {len(rows.x)} rows of x but {len(rows.y)} of y")
    if len(rows.x) < least:
        raise DataError(f"the {name} part must have at least {least} rows but has {len(rows.x)}")
    if rows.x.shape[1:] != problem.shape:
        wanted = ", ".join(map(str, problem.shape))
        raise DataError(f"the {name} part must be (rows, {wanted}) but is {rows.x.shape}")


def built_optimizer(recipe: Recipe, model: nn.Module, batch_rows: int) -> Optimizer:
    """The recipe's optimizer for this network, decay on what it should act on, at the batch's rate.

    Args:
        recipe: gives optimizer, regularisation and scaling.
        model: the network.
        batch_rows: rows of a full batch.

    Raises:
        ConfigError: it does not take its settings.
    """
    settings = recipe.regularisation
    try:
        optimizer = recipe.optimizer(model.parameters())
        if settings.decay_on != "all" and optimizer.defaults.get("weight_decay"):
            optimizer = recipe.optimizer(decay_groups(model, settings.decay_on))
    except (TypeError, ValueError) as e:
        raise ConfigError(f"the optimizer does not take its settings: {e}; mend optimizer.*") from e
    if optimizer.param_groups[0]["lr"] <= 0:
        raise ConfigError("optimizer.lr must be above 0 but is 0: nothing would be learnt; raise it")
    for group in optimizer.param_groups:
        group["lr"] *= lr_factor(recipe.lr_scaling, batch_rows)
    if settings.l1_proximal:
        chosen = decayed(model, settings.decay_on)
        optimizer.register_step_post_hook(lambda o, *_: shrink(o, chosen, settings.l1_proximal))
    return optimizer


def lr_factor(scaling: str, batch_rows: int) -> float:
    """What the rate of 256 rows is multiplied by: linear (Goyal et al. 2017), sqrt (Krizhevsky 2014) or 1."""
    if scaling == "none":
        return 1.0
    ratio = batch_rows / LR_ROWS
    return ratio if scaling == "linear" else math.sqrt(ratio)
