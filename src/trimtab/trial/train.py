"""Trains one recipe through a Lightning Trainer: `train` with validation, `refit` without; `predict` with the result.

The result depends on recipe, data and seed alone: not on what ran before in the process, nor on its random numbers.
On a CPU it is bitwise the same each time; elsewhere as far as the device's kernels are.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from trimtab.data.arrays import Arrays, Problem
from trimtab.errors import ConfigError, first_line
from trimtab.trial import seeds
from trimtab.trial.augmentation import Augmentation
from trimtab.trial.batch_size import with_batch_size
from trimtab.trial.batches import Batches, Rows, outputs_of
from trimtab.trial.checkpoint import Keeper, Kept
from trimtab.trial.module import Trial
from trimtab.trial.recipe import LR_ROWS, Device, Recipe, built_optimizer, check_device, check_recipe, check_rows
from trimtab.trial.recorder import OnEpoch, Recorder
from trimtab.trial.result import TrialResult, load_result, save_result
from trimtab.trial.session import interruptible, on_device, peak_memory_mb, session, threads
from trimtab.trial.validation import Watch

__all__ = ["Device", "Recipe", "TrialResult", "check", "load_result", "predict", "refit", "save_result", "train"]

_HERE = Device()
_NOTHING = Kept()


def train(
    recipe: Recipe,
    train: Arrays,
    val: Arrays,
    problem: Problem,
    seed: int,
    device: Device = _HERE,
    on_epoch: OnEpoch | None = None,
    kept: Kept = _NOTHING,
) -> TrialResult:
    """Trains until the last epoch or until patience is used up; returns the best epoch.

    Args:
        recipe: what is trained.
        train: rows to learn from.
        val: rows to compare epochs by; at least two.
        problem: what the data mean.
        seed: gives initial weights, batches, and the noise of each knob that adds some, each a stream of its own.
        device: where it runs.
        on_epoch: told each epoch and its row of the curves; what it raises ends the trial.
        kept: where the trial keeps its state, and goes on from what lies there.

    Raises:
        ConfigError: a setting is out of its range, or the device cannot be had.
        DataError: the arrays do not fit the problem or each other.
        Diverged: a loss became NaN or infinite.
    """
    _check(recipe, problem, device, train=train, val=val)
    recipe = with_batch_size(recipe, train, problem, seed, device)
    with session(recipe.epochs, device) as trainer:
        recorder = Recorder(recipe, problem, on_device(trainer, val), on_epoch)
        keeper = Keeper(kept, recorder, on_epoch)
        rows = on_device(trainer, train)
        model = _fit(trainer, recipe, rows, problem, seed, recorder, keeper)
        keeper.over()
        best = recorder.best()
        return TrialResult(
            value=best[recipe.metric],
            best_epoch=recorder.best_epoch,
            epochs=len(recorder.curves),
            curves=tuple(recorder.curves),
            best=best,
            per_example=recorder.per_example(),
            parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
            batch_size=int(recipe.batch_size),
            steps=trainer.global_step,
            weights={name: value.cpu() for name, value in recorder.weights.items()},
            seconds=keeper.seconds,
            peak_memory_mb=peak_memory_mb(trainer.strategy.root_device),
            stack_epochs=len(recorder.curves),
        )


def refit(recipe: Recipe, rows: Arrays, problem: Problem, seed: int, device: Device = _HERE) -> nn.Module:
    """Trains `recipe.epochs` epochs without validation, on the schedule of `recipe.horizon_epochs`.

    On the rows that `train` learnt from it follows the same path, bit by bit. Returns the network on the CPU.

    Raises:
        ConfigError: a setting is out of its range, or the device cannot be had.
        DataError: the arrays do not fit the problem or each other.
        Diverged: the training loss became NaN or infinite.
    """
    _check(recipe, problem, device, train=rows)
    recipe = with_batch_size(recipe, rows, problem, seed, device)
    with session(recipe.epochs, device) as trainer:
        return _fit(trainer, recipe, on_device(trainer, rows), problem, seed).cpu().eval()


def predict(model: nn.Module, x: ArrayLike, problem: Problem, device: Device = _HERE) -> NDArray[np.floating[Any]]:
    """(rows, outputs): probabilities, or predictions of the standardised target; where the model lies.

    Args:
        model: a trained network.
        x: (rows, *shape), preprocessed.
        problem: what the outputs mean.
        device: gives the threads.
    """
    given = torch.tensor(np.asarray(x)).to(next(model.parameters()))
    with threads(device.threads):
        outputs = outputs_of(model, given)
    if problem.task == "classification":
        outputs = outputs.softmax(1)
    return outputs.cpu().numpy()


def check(recipe: Recipe, problem: Problem, device: Device = _HERE) -> bool:
    """Whether the recipe can be trained at all, without training it.

    Returns:
        Whether its optimizer, schedule and regularisation apply: not to a LightningModule, which brings its own.

    Raises:
        ConfigError: a setting is out of its range, or the network does not make of rows what it should.
    """
    check_recipe(recipe, problem)
    check_device(device)
    model = recipe.model(problem.shape, problem.outputs)
    ours = not isinstance(model, pl.LightningModule)
    if ours:
        built_optimizer(recipe, model, LR_ROWS)
        _check_outputs(model, problem)
    with session(1, device):
        pass  # the Trainer knows whether accelerator and precision are to be had
    return ours


def _check_outputs(model: nn.Module, problem: Problem) -> None:
    """Two rows through a network that somebody else may have written."""
    given, wanted = (2, *problem.shape), (2, problem.outputs)
    name = f"model ({type(model).__name__})"
    try:
        made = outputs_of(model, torch.zeros(given))
    except Exception as e:
        raise ConfigError(
            f"{name} must make {wanted} of a batch of shape {given}, but fails: {first_line(e)}; mend its forward"
        ) from e
    if tuple(made.shape) != wanted:
        raise ConfigError(
            f"{name} must make {wanted} of a batch of shape {given}, one output per class or the one value, but makes "
            f"{tuple(made.shape)}; give its last layer `outputs` units"
        )


def _check(recipe: Recipe, problem: Problem, device: Device, train: Arrays, val: Arrays | None = None) -> None:
    check_recipe(recipe, problem)
    check_device(device)
    check_rows("training", train, problem, least=1)
    if val is not None:
        check_rows("validation", val, problem, least=2)


def _fit(
    trainer: pl.Trainer,
    recipe: Recipe,
    rows: Rows,
    problem: Problem,
    seed: int,
    recorder: Recorder | None = None,
    keeper: Keeper | None = None,
) -> nn.Module:
    """Trains; the network of the last epoch, where it was trained."""
    place = trainer.strategy.root_device
    if place.type == "cuda":
        torch.cuda.reset_peak_memory_stats(place)
    seeds.seed_global(seed, "weights", place)
    model = recipe.model(problem.shape, problem.outputs)
    augmenter = seeds.generator(seed, "augmentation")
    batches = Batches(rows, int(recipe.batch_size), seeds.generator(seed, "batches"), _augment(recipe, augmenter))
    if isinstance(model, pl.LightningModule):
        trainer.callbacks.append(Watch(batches, recorder))  # type: ignore[attr-defined]
        trained = model
    else:
        trained = Trial(model, recipe, problem, batches, recorder, seed)
    seeds.seed_global(seed, "noise", place)
    if keeper is not None:
        own = trained.streams if isinstance(trained, Trial) else dict
        keeper.streams = lambda: {"batches": batches.generator, "augmentation": augmenter, **own()}
        trainer.callbacks.append(keeper)  # type: ignore[attr-defined]
    with interruptible():
        trainer.fit(trained, batches, ckpt_path=keeper.start if keeper else None, weights_only=False)
    trained.trainer = None  # a network that is kept must not keep the Trainer
    return model


def _augment(recipe: Recipe, source: torch.Generator) -> Callable[[Tensor], Tensor] | None:
    """The recipe's augmentation; None where it does nothing."""
    if recipe.augmentation == Augmentation():
        return None
    return lambda x: recipe.augmentation(x, source)
