"""What a trial is made of besides data and seed, checked."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import nn
from torch.optim import Optimizer

from trimtab.data.arrays import Arrays, Problem
from trimtab.errors import ConfigError, DataError
from trimtab.models.arguments import whole
from trimtab.trial.objective import objective
from trimtab.trial.schedules import Schedule


@dataclass(frozen=True)
class Recipe:
    """Everything a trial needs besides data and seed; the door builds it from the configuration.

    Attributes:
        model: (features, outputs) → a network with torch's global generator as its source of weights.
        optimizer: parameters → their optimizer.
        schedule: progress in 0…1 of the horizon → factor on the learning rate, set before each step.
        patience_epochs: epochs without a better objective before stopping; None trains to the end.
        metric: what makes an epoch the best one, e.g. `val/loss`.
        horizon_epochs: epochs over which the schedule runs; equals `epochs` except in a refit.
    """

    model: Callable[[int, int], nn.Module]
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    schedule: Schedule
    epochs: int
    batch_size: int
    patience_epochs: int | None
    metric: str
    horizon_epochs: int


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
    whole("training.batch_size", recipe.batch_size)
    if recipe.patience_epochs is not None:
        whole("training.patience_epochs", recipe.patience_epochs)
    whole("horizon_epochs", recipe.horizon_epochs)
    objective(recipe.metric, problem.task)


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
    if rows.x.ndim != 2 or rows.x.shape[1] != problem.features:
        raise DataError(f"the {name} part must be (rows, {problem.features}) but is {rows.x.shape}")


def built_optimizer(recipe: Recipe, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The recipe's optimizer for these parameters.

    Raises:
        ConfigError: it does not take its settings.
    """
    try:
        optimizer = recipe.optimizer(parameters)
    except (TypeError, ValueError) as e:
        raise ConfigError(f"the optimizer does not take its settings: {e}; mend optimizer.*") from e
    if optimizer.param_groups[0]["lr"] <= 0:
        raise ConfigError("optimizer.lr must be above 0 but is 0: nothing would be learnt; raise it")
    return optimizer
